"""Speaks to HAProxy's master over a Unix socket of its host, one line and one answer (at most 64
MiB) at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hostler.base.errors import EngineError, Unreachable
from hostler.ports import ByteStream, HostLink

_MOST = 64 * 1024 * 1024
WORKER = "@1"


class RuntimeSocket:
    """An open connection. An answer ends with an empty line; an empty answer is only that line."""

    def __init__(self, host: str, stream: ByteStream, answer_within: float) -> None:
        self._host, self._stream, self._within = host, stream, answer_within

    async def ask(self, line: str) -> str:
        """The answer of the master. Raises EngineError, Unreachable."""
        if "\n" in line or "\0" in line:
            raise ValueError("a command is one line")
        try:
            async with asyncio.timeout(self._within):
                await self._stream.write(line.encode("ascii") + b"\n")
                return await self._answer()
        except TimeoutError as error:
            text = f"the gateway does not answer within {self._within:g} s"
            raise Unreachable(self._host, text) from error

    async def ask_worker(self, line: str, pid: int | None = None) -> str:
        """The answer of the worker that accepts connections, or of the given worker."""
        return await self.ask(f"{WORKER if pid is None else f'@!{pid}'} {line}")

    async def _answer(self) -> str:
        data = bytearray()
        while data != b"\n" and not data.endswith(b"\n\n"):
            piece = await self._stream.read()
            if not piece:
                if data:
                    break
                raise EngineError(self._host, "the gateway ended the connection")
            data += piece
            if len(data) > _MOST:
                raise EngineError(self._host, "the gateway's answer is too long")
        return data.decode("utf-8", "replace").strip("\n")


@asynccontextmanager
async def opened(link: HostLink, path: str, answer_within: float) -> AsyncIterator[RuntimeSocket]:
    """A connection, closed at the end. Raises EngineError if nothing listens, Unreachable."""
    try:
        async with asyncio.timeout(answer_within):
            stream = await link.open_socket(path)
    except TimeoutError as error:
        raise Unreachable(link.host, f"nothing answers at {path}") from error
    try:
        yield RuntimeSocket(link.host, stream, answer_within)
    finally:
        await stream.close()


async def reload(link: HostLink, path: str, within: float) -> tuple[bool, str]:
    """Reload the configuration: whether it was loaded, and HAProxy's message."""
    async with opened(link, path, within) as socket:
        said = await socket.ask("reload")
    return said.startswith("Success=1"), said.partition("--\n")[2]
