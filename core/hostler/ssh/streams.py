"""Channels of an SSH connection as `ports.ByteStream`: buffer sizes, and a command's output on
stderr."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import asyncssh

from hostler.base.errors import Unreachable
from hostler.base.text import clean_line, last_words
from hostler.ssh.faults import lost_reason

_HIGH, _LOW = 1024 * 1024, 256 * 1024
"""Bytes received before they are read: above the first number, the other side pauses; below the
second, it continues."""
_COMPLAINT = 4096
_CLOSE_PATIENCE = 1.0


class ChannelStream:
    """One channel. asyncssh calls the protocol methods; other code calls the rest."""

    def __init__(self, host: str, silence: float, released: Callable[[], None] = lambda: None):
        self._host, self._silence, self._released = host, silence, released
        self._channel: Any = None
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._paused = False
        self._ended = False
        self._lost = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()
        self._stderr = b""
        self._exit = ""

    @property
    def attached(self) -> bool:
        """Whether its channel exists or has existed."""
        return self._channel is not None

    @property
    def complaint(self) -> str:
        """The command's stderr, and how the command ended; "" if it wrote nothing."""
        said = self._stderr.decode("utf-8", "replace").strip()
        return "; ".join(part for part in (last_words(said, 500), self._exit) if part)

    async def read(self, limit: int = 65536) -> bytes:
        """At least one byte, at most `limit`; b"" at the end. Raises Unreachable when cut."""
        while not self._chunks:
            if self._error is not None:
                raise Unreachable(self._host, lost_reason(self._error, self._silence))
            if self._ended or self._lost:
                return b""
            self._news.clear()
            await self._news.wait()
        chunk = self._take(limit)
        self._held -= len(chunk)
        if self._paused and self._held < _LOW:
            self._paused = False
            self._channel.resume_reading()
        return chunk

    def _take(self, limit: int) -> bytes:
        """All received bytes, at most `limit`. A packet may be as small as one line."""
        taken = [self._chunks.popleft()]
        size = len(taken[0])
        while self._chunks and size < limit:
            taken.append(self._chunks.popleft())
            size += len(taken[-1])
        chunk = taken[0] if len(taken) == 1 else b"".join(taken)
        if size > limit:
            self._chunks.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        return chunk

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow. Raises Unreachable when cut."""
        self._check_open()
        try:
            self._channel.write(data)
        except OSError as error:
            raise Unreachable(self._host, "the channel is closed") from error
        await self._writable.wait()
        self._check_open()

    async def close(self) -> None:
        """Close it at once; may be called twice."""
        if self._channel is None or self._lost:
            return
        self._channel.abort()
        try:
            async with asyncio.timeout(_CLOSE_PATIENCE):
                await self._gone.wait()
        except TimeoutError:
            return

    def connection_made(self, chan: Any) -> None:
        """The channel exists."""
        self._channel = chan

    def session_started(self) -> None:
        """The command runs."""

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Output on stdout or stderr."""
        if datatype is not None:
            self._stderr = (self._stderr + data)[-_COMPLAINT:]
            return
        self._chunks.append(data)
        self._held += len(data)
        if not self._paused and self._held > _HIGH:
            self._paused = True
            self._channel.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        """No more output. True: the other side still reads input."""
        self._ended = True
        self._news.set()
        return True

    def exit_status_received(self, status: int) -> None:
        """How the command ended."""
        self._exit = f"exit status {status}" if status else ""

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """The command was ended by a signal."""
        self._exit = f"ended by signal {clean_line(signal, 20)}"

    def pause_writing(self) -> None:
        """The other side is slow."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The other side has caught up."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed; `exc` is set if the connection was lost."""
        self._lost, self._error = True, exc
        self._news.set()
        self._writable.set()
        self._gone.set()
        self._released()

    def _check_open(self) -> None:
        if self._lost:
            raise Unreachable(self._host, lost_reason(self._error, self._silence))


class ExecSession(ChannelStream, asyncssh.SSHClientSession[bytes]):
    """A command's stdin and stdout."""


class DockerSession(ChannelStream, asyncssh.SSHUNIXSession[bytes]):
    """A connection to a Unix socket of the host."""
