"""Streams one file of a run to a reader, who may be slow: two at a time from each host, one for
each user, and files that change meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from hostler.base.errors import AgentError, StateError
from hostler.daemon.context import Context
from hostler.daemon.turns import Turns
from hostler.model.files import Where, host_etag
from hostler.ports import ArchiveSource, FileStream, HostLink
from hostler.store.saved import SavedReader

_Queue = asyncio.Queue[bytes | BaseException | None]

_PIECES = 4
"""Pieces of a host's file that wait for their reader."""
_AT_ONCE = 2
"""Lists and files that are read from a host at a time."""
_CHANGES = "a process writes to it: try again, or wait until its stage has ended"


class FileReader(Protocol):
    """An open file of a run."""

    size: int
    where: Where
    etag: str
    """Differs for each version of the file."""
    sha256: str | None
    """Digest of the whole file; for a file on a host known only once it was read to its end."""

    def pages(self, begin: int, end: int) -> AsyncIterator[bytes]:
        """Bytes from `begin` to `end`. Raises HostlerError if they cannot be read."""

    async def close(self) -> None:
        """Close the file; may be called twice."""


class SavedFileReader:
    """A file of the content store."""

    def __init__(self, reader: SavedReader) -> None:
        self.where = Where.SAVED
        self._reader = reader
        self.size = reader.size
        self.sha256: str | None = reader.sha256
        self.etag = f'"{reader.sha256}"'

    def pages(self, begin: int, end: int) -> AsyncIterator[bytes]:
        """Bytes from `begin` to `end`."""
        return self._reader.pages(begin, end)

    async def close(self) -> None:
        """Close the file. It may be called twice."""
        self._reader.close()


class Turn:
    """One reader's turn at a host."""

    def __init__(self, waiting: Mapping[str, int], host: str, least: float) -> None:
        self._waiting, self._host, self._least = waiting, host, least
        self._began = asyncio.get_running_loop().time()
        self._ends: float | None = None

    def begin(self) -> None:
        """The first byte has come. The host reads a file from its start up to the position of this
        turn. The turn lasts at least as long as that took, else two readers of large files would
        make no progress."""
        if self._ends is None:
            now = asyncio.get_running_loop().time()
            self._ends = now + max(self._least, now - self._began)

    @property
    def is_over(self) -> bool:
        """Whether the turn's time is over and others wait."""
        over = self._ends is not None and asyncio.get_running_loop().time() > self._ends
        return over and self._waiting[self._host] > 0


class HostTurns:
    """Allows two lists or files at a time from each host (an SSH connection has few sessions), one
    for each user: a slow stage delays only its own reader."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._users = Turns()
        self._hosts: dict[str, asyncio.Semaphore] = {}
        self._waiting: Counter[str] = Counter()

    @property
    def patience(self) -> float:
        """Seconds that a reader may read nothing and still keep its turn."""
        return self._context.timings.reader_patience

    @contextlib.asynccontextmanager
    async def of(self, host: str, uid: int) -> AsyncIterator[Turn]:
        """Wait for a user's turn at the host, and hold it."""
        free = self._hosts.setdefault(host, asyncio.Semaphore(_AT_ONCE))
        async with contextlib.AsyncExitStack() as stack:
            self._waiting[host] += 1
            try:
                await stack.enter_async_context(self._users.of((host, uid)))
                await stack.enter_async_context(free)
            finally:
                self._waiting[host] -= 1
            yield Turn(self._waiting, host, self._context.timings.reader_turn)


@dataclass(frozen=True, slots=True)
class _Entered:
    """A file that is open on its host, and its turn."""

    stack: contextlib.AsyncExitStack
    turn: Turn
    stream: FileStream


class HostFileReader:
    """A file on a host. Its reader may take hours without delaying others."""

    sha256: str | None = None

    def __init__(
        self,
        link: HostLink,
        source: ArchiveSource,
        where: Where,
        turns: HostTurns,
        uid: int,
        hold: AbstractContextManager[None] | None = None,
    ) -> None:
        self.where = where
        self._held = contextlib.ExitStack()
        if hold is not None:
            self._held.enter_context(hold)
        self.size, self.etag = 0, ""
        self._link, self._source, self._turns, self._uid = link, source, turns, uid
        self._pump: asyncio.Task[None] | None = None
        self._first: _Entered | None = None

    async def open(self) -> None:
        """Get its size. Raises NotFoundError, InputError, or a HostError."""
        self._first = await self._enter(0)
        self.size, self.etag = self._version(self._first.stream)

    async def pages(self, begin: int, end: int) -> AsyncIterator[bytes]:
        """Bytes from `begin` to `end`. Raises StateError if the file changes meanwhile."""
        queue: _Queue = asyncio.Queue(_PIECES)
        self._pump = asyncio.create_task(self._fill(queue, begin, end), name="file of a host")
        try:
            while (piece := await queue.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            await self._stop()

    async def close(self) -> None:
        """Stop reading; from now on the file may be removed."""
        await self._stop()
        self._held.close()

    async def _stop(self) -> None:
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
            await asyncio.wait((pump,))
        first, self._first = self._first, None
        if first is not None:
            await first.stack.aclose()

    async def _fill(self, queue: _Queue, begin: int, end: int) -> None:
        try:
            while begin < end or (end == self.size and self.sha256 is None):
                begin = await self._take_turn(queue, begin, end)
            await queue.put(None)
        except Exception as error:
            await queue.put(error)  # the reader gets the error

    async def _take_turn(self, queue: _Queue, begin: int, end: int) -> int:
        """Read from the host until the reader is slow or others want a turn; returns the
        position."""
        late: bytes | None = None
        entered = await self._first_or(begin)
        stream, turn = entered.stream, entered.turn
        async with entered.stack:
            self._check_version(stream)
            async for data in stream:
                turn.begin()
                if begin + len(data) > self.size:
                    raise AgentError(self._link.host, "it sent more bytes than the file has")
                data = data[: end - begin]
                begin += len(data)
                if not await _put_within(queue, data, self._turns.patience):
                    late = data
                    break
                if (begin >= end and end < self.size) or turn.is_over:
                    break
            else:
                self._end(stream, begin)
        if late is not None:
            await queue.put(late)
        return begin

    async def _first_or(self, begin: int) -> _Entered:
        """The stream that is open since the size was read, if it begins there."""
        first, self._first = self._first, None
        if first is not None and begin == 0:
            return first
        if first is not None:
            await first.stack.aclose()
        return await self._enter(begin)

    async def _enter(self, offset: int) -> _Entered:
        """Wait for the host's turn, and open the file there."""
        async with contextlib.AsyncExitStack() as stack:
            turn = await stack.enter_async_context(self._turns.of(self._link.host, self._uid))
            stream = await stack.enter_async_context(self._opened(offset))
            return _Entered(stack.pop_all(), turn, stream)

    @contextlib.asynccontextmanager
    async def _opened(self, offset: int) -> AsyncIterator[FileStream]:
        stream = self._link.read_file(self._source, offset)
        try:
            await stream.begin()
            yield stream
        finally:
            await stream.aclose()

    def _check_version(self, stream: FileStream) -> None:
        if self._version(stream) != (self.size, self.etag):
            raise StateError(f"{self._source.path} changed while it was read", remedy=_CHANGES)

    def _version(self, stream: FileStream) -> tuple[int, str]:
        if stream.size is None or stream.mtime is None:
            raise AgentError(self._link.host, "it did not send the size of the file")
        return stream.size, host_etag(stream.size, stream.mtime)

    def _end(self, stream: FileStream, came: int) -> None:
        if came != self.size or stream.sha256 is None:
            raise StateError(f"{self._source.path} ended early: it changes", remedy=_CHANGES)
        self.sha256 = stream.sha256


async def _put_within(queue: _Queue, data: bytes, seconds: float) -> bool:
    """Whether the reader took the piece within that time."""
    try:
        async with asyncio.timeout(seconds):
            await queue.put(data)
    except TimeoutError:
        return False
    return True
