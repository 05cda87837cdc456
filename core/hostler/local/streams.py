"""Sockets of this machine as `ports.ByteStream`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import IO

from hostler.base.errors import Unreachable
from hostler.base.text import last_words

_COMPLAINT = 4096
_PATIENCE = 1.0
_KILLED_WITHIN = 30.0
"""Seconds after SIGKILL: on a busy machine the end of a process is noticed late. One that is left
before stays a zombie."""


class SocketStream:
    """A connected Unix socket."""

    def __init__(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._host, self._reader, self._writer = host, reader, writer

    async def read(self, limit: int = 65536) -> bytes:
        """At least one byte, at most `limit`; b"" at the end. Raises Unreachable when cut."""
        try:
            return await self._reader.read(limit)
        except OSError as error:
            raise Unreachable(self._host, f"reading: {error.strerror or error}") from error

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow. Raises Unreachable when cut."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Unreachable(self._host, f"writing: {error.strerror or error}") from error

    async def close(self) -> None:
        """End it at once; may be called twice."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class ProcessStream(SocketStream):
    """A command of this machine: one socket is both its stdin and its stdout."""

    def __init__(
        self,
        host: str,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        process: asyncio.subprocess.Process,
        stderr: IO[bytes],
    ) -> None:
        super().__init__(host, *streams)
        self._process, self._stderr = process, stderr

    @property
    def complaint(self) -> str:
        """What the command said on stderr and how it ended; "" when it said nothing."""
        parts = [last_words(self._said(), 500)]
        status = self._process.returncode
        if status:
            parts.append(
                f"exit status {status}"
                if status > 0
                else f"ended by signal {signal.Signals(-status).name}"
            )
        return "; ".join(part for part in parts if part)

    async def read(self, limit: int = 65536) -> bytes:
        """As of a socket, but that the command has ended, however it did, is just the end."""
        try:
            return await self._reader.read(limit)
        except ConnectionError:
            return b""

    async def close(self) -> None:
        """End it at once: EOF on its stdin, then TERM and KILL if it does not end by itself. What
        it started in sessions of their own goes on."""
        try:
            await super().close()
            for send in (None, signal.SIGTERM):
                self._signal(send)
                if await self._ended(_PATIENCE):
                    return
            self._signal(signal.SIGKILL)
            await self._ended(_KILLED_WITHIN)
        except asyncio.CancelledError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
            raise
        finally:
            self._stderr.close()

    def _signal(self, send: signal.Signals | None) -> None:
        if send is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(send)

    async def _ended(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    def _said(self) -> str:
        if self._stderr.closed:
            return ""
        size = self._stderr.seek(0, 2)
        self._stderr.seek(max(0, size - _COMPLAINT))
        return self._stderr.read(_COMPLAINT).decode("utf-8", "replace").strip()


async def connect_socket(host: str, path: str) -> SocketStream:
    """Connect to a Unix socket. Raises OSError."""
    reader, writer = await asyncio.open_unix_connection(path)
    return SocketStream(host, reader, writer)


async def wrap_socket(
    sock: socket.socket,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connected Unix socket as asyncio's streams, which then own it."""
    return await asyncio.open_unix_connection(sock=sock)
