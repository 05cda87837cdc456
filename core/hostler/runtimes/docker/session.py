"""A session of a build by BuildKit: the connection over which dockerd requests the files, logins
and secrets of the build; `session_calls` answers.

The connection is reversed: dockerd is the client. It can request only the content of one `Offer`,
and nothing else of the daemon's machine.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hostler.base.errors import EngineError, Unreachable
from hostler.ports import ByteStream, HostLink
from hostler.runtimes.docker.session_calls import METHODS, Calls, Offer

_HEAD_CAP = 64 * 1024


@dataclass(frozen=True, slots=True)
class Session:
    """A running session."""

    name: str
    _host: str
    _serving: asyncio.Future[None]

    def check(self) -> None:
        """Raises the error that ended the session: InputError or StateError if files cannot be
        read, Unreachable if its connection was cut."""
        if not self._serving.done():
            return
        self._serving.result()
        raise Unreachable(self._host, "Docker closed the session of the build")


@asynccontextmanager
async def session(link: HostLink, offer: Offer, key: str = "") -> AsyncIterator[Session]:
    """A session that runs until the end of the block. `key`: equal only for builds with equal
    files; under one key BuildKit compares only sizes and times, and all times are equal here."""
    name = uuid.uuid4().hex
    stream = await link.open_docker()
    try:
        await _turn_round(link.host, stream, name, key)
        serving = asyncio.ensure_future(Calls(stream, offer).serve())
        try:
            yield Session(name, link.host, serving)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    finally:
        await stream.close()


async def _turn_round(host: str, stream: ByteStream, name: str, key: str) -> None:
    lines = [
        "POST /session HTTP/1.1", "Host: docker", "Connection: Upgrade", "Upgrade: h2c",
        f"X-Docker-Expose-Session-Uuid: {name}", "X-Docker-Expose-Session-Name: hostler",
        f"X-Docker-Expose-Session-Sharedkey: {key}",
        *(f"X-Docker-Expose-Session-Grpc-Method: {method}" for method in METHODS),
    ]  # fmt: skip
    await stream.write("\r\n".join((*lines, "", "")).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # One byte at a time, because the bytes after the head already belong to HTTP/2.
        data = await stream.read(1)
        if not data:
            raise Unreachable(host, "Docker closed the connection without an answer")
        head += data
        if len(head) > _HEAD_CAP:
            raise EngineError(host, "Docker's answer is not HTTP")
    if not head.startswith((b"HTTP/1.1 101", b"HTTP/1.0 101")):
        said = head.split(b"\r\n", 1)[0].decode("utf-8", "replace")
        raise EngineError(host, f"Docker opens no session for a build: {said}")
