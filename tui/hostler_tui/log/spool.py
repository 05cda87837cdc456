"""Downloads a log into a private temporary file: how much of its end comes first, pause before a
retry, longest text copied, saving to a file.

The file has no name, so that it is gone when the view is, whatever ends it. Bytes lie in it at
their own offsets: the tail comes first, the rest behind it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from hostler.base.errors import HostlerError, NotFoundError
from hostler.base.units import format_size
from hostler.client import AsyncClient
from hostler_tui.log.index import Segment
from hostler_tui.log.text import plain_text

TAIL = 256 * 1024
"""Bytes that are fetched first."""
PIECE = 16 * 1024 * 1024
"""Bytes of the rest between two reads of new output."""
BATCH_S = 0.25
"""Seconds between two batches while little comes; the daemon is slowed down by not being read."""
LITTLE = 64 * 1024
RETRY_S = 2.0

MOST_COPIED = 8 * 1024 * 1024
"""Bytes; longer text has to be saved to a file."""
BLOCK = 1024 * 1024


class Spool:
    """The loaded bytes, and the starts of their lines."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="hostler-log-", buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()
        self.front = Segment()
        self.tail: Segment | None = None
        """The visible segment until all bytes before it are loaded."""

    @property
    def shown(self) -> Segment:
        """The lines that can be shown."""
        return self.front if self.tail is None else self.tail

    @property
    def part(self) -> float:
        """The loaded part of the bytes before the tail, 0 to 1."""
        return 1.0 if self.tail is None else self.front.end / self.tail.begin

    def write(self, segment: Segment, data: bytes) -> None:
        """The next bytes of a segment."""
        with self._lock:
            if self._file.closed:
                return
            rest, offset = memoryview(data), segment.end
            while rest:
                written = os.pwrite(self._file.fileno(), rest, offset)
                rest, offset = rest[written:], offset + written
        segment.feed(data)

    def read(self, begin: int, end: int) -> bytes:
        """Loaded bytes; b"" once closed. Safe in any thread."""
        parts = []
        with self._lock:
            while begin < end and not self._file.closed:
                data = os.pread(self._file.fileno(), end - begin, begin)
                if not data:
                    break
                parts.append(data)
                begin += len(data)
        return b"".join(parts)

    def begin_at(self, offset: int) -> None:
        """Show the bytes from an offset on until the rest is loaded."""
        self.tail = Segment(offset) if offset else None

    def join(self) -> int:
        """The rest is loaded: the number of lines before those that were shown."""
        tail, self.tail = self.tail, None
        return 0 if tail is None else self.front.join(tail)

    def close(self) -> None:
        """Release the space. May be called twice."""
        with self._lock:
            self._file.close()


class LogFetch:
    """Fetches one attempt's log into a spool, for as long as it grows.

    `state` is "opening", "missing" (the stage has not started), "fetching", "live", "ended",
    "away" (no daemon) or "failed"; `note` says more.
    """

    def __init__(
        self,
        client: AsyncClient,
        log: tuple[str, str, int | None],
        spool: Spool,
        tell: Callable[[int], object],
    ) -> None:
        self._client, self._log, self._spool, self._tell = client, log, spool, tell
        self._is_placed = False
        self.state, self.note = "opening", ""

    async def run(self) -> None:
        """Fetch to the end of the log; waits for an absent daemon."""
        while True:
            try:
                await self._fetch()
                self._become("ended")
                return
            except NotFoundError as error:
                self._become("missing", str(error))
            except HostlerError as error:
                self._become("away", str(error))
            except OSError as error:
                self._become("failed", f"cannot keep the log in {tempfile.gettempdir()}: {error}")
                return
            await asyncio.sleep(RETRY_S)

    def _become(self, state: str, note: str = "") -> None:
        self.state, self.note = state, note
        self._tell(0)

    async def _fetch(self) -> None:
        if not self._is_placed:
            size = await self._size()
            self._spool.begin_at(max(0, size - TAIL))
            self._is_placed = True
        if self._spool.tail is not None:
            await self._fetch_ends(self._spool.tail)
            self._tell(self._spool.join())
        self._become("live")
        await self._copy(self._spool.front, follow=True)

    async def _fetch_ends(self, tail: Segment) -> None:
        """Fetch everything before the tail, and meanwhile new output after it."""
        front = self._spool.front
        await self._copy(tail)
        self._become("fetching")
        while front.end < tail.begin:
            await self._copy(front, length=min(PIECE, tail.begin - front.end))
            await self._copy(tail)

    async def _size(self) -> int:
        run_id, stage, attempt = self._log
        log = await self._client.logs(run_id, stage, attempt=attempt, offset=0, length=0)
        await log.close()
        number = log.attempt.rpartition("-")[2]
        if number.isdigit():
            self._log = (run_id, stage, int(number))  # a later attempt is another log
        return log.size

    async def _copy(
        self, segment: Segment, *, follow: bool = False, length: int | None = None
    ) -> None:
        run_id, stage, attempt = self._log
        log = await self._client.logs(
            run_id, stage, attempt=attempt, offset=segment.end, follow=follow, length=length
        )
        came = 0
        try:
            async for data in log:
                self._spool.write(segment, data)
                self._tell(0)
                came += len(data)
                if len(data) < LITTLE:
                    if follow and came < LITTLE:
                        await asyncio.sleep(BATCH_S)
                    came = 0
        finally:
            await log.close()


def copy_of_lines(spool: Spool, numbers: Sequence[int]) -> str | None:
    """These lines as text, without colours; None where they are too long to copy."""
    shown, spans, size = spool.shown, [], 0
    for number in numbers:
        begin, end = shown.span(number)
        size += end - begin
        if size > MOST_COPIED:
            return None
        spans.append((begin, end))
    return "\n".join(plain_text(spool.read(begin, end)) for begin, end in spans)


def save_log(spool: Spool, path: Path) -> tuple[str, str]:
    """Write all loaded bytes to a new file; returns the notice, and its severity."""
    at, end = 0, spool.shown.end
    try:
        with path.open("xb") as file:
            while at < end:
                data = spool.read(at, min(end, at + BLOCK))
                if not data:
                    break
                file.write(data)
                at += len(data)
    except FileExistsError:
        return f"{path} exists already; choose another name", "error"
    except OSError as error:
        return f"cannot save the log to {path}: {error.strerror}", "error"
    return f"saved {format_size(at)} to {path}", "information"
