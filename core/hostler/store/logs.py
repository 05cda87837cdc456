"""All logs of a state folder, `logs/RUN/ATTEMPT.log`: append-only files that have neither gap nor
duplicate after a crash, open for writing once, read by anybody.

Beside `ATTEMPT.log` lies `ATTEMPT.pos` with two slots, written in turn: the follower's position,
and how long the log was just then. The log is written first. A process that is killed in between
leaves a log that is too long, and opening it again cuts it to what the newer intact slot says. A
power cut may take the end of the log; a slot whose end is not there does not count, and what is
missing is read again from the position of the other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from hostler.base.errors import InputError, StateError
from hostler.base.units import format_size
from hostler.store.faults import disk_faults
from hostler.store.files import private_folder
from hostler_agent.json_values import Json

_SLOT = 1024
_TAIL = 4096
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_to_json = json.JSONEncoder(separators=(",", ":")).encode

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_BLOCK = 64 * 1024
_TAIL_LIMIT = 16 * 1024 * 1024
_LOOK_AGAIN_S = 1.0


class _State(NamedTuple):
    """What a slot says."""

    number: int
    size: int
    tail_crc: int
    capped: bool
    position: dict[str, Json]


_EMPTY = _State(0, 0, 0, False, {})


class LogFile:
    """A log that is being written. Implements `ports.LogSink`. Belongs to the loop's thread.

    The files are made by the first byte: many a stage says nothing.
    """

    def __init__(self, path: Path, cap: int, on_change: Callable[[], None]) -> None:
        self.path = path
        self._cap = cap
        self._on_change = on_change
        self._closed = False
        self._synced = 0
        """Number of the last state that survives a power cut."""
        self._files: tuple[int, int] | None = None
        self._state, self._tail = _EMPTY, b""
        with disk_faults(path):
            if path.exists():
                self._files = self._recover()
        self._synced = self._state.number

    @property
    def position(self) -> Mapping[str, Json]:
        """What `append` was last given: empty at the start."""
        return self._state.position

    @property
    def size(self) -> int:
        """Bytes in the file, all of them recorded."""
        return self._state.size

    @property
    def is_closed(self) -> bool:
        """Nothing will be appended through this object any more."""
        return self._closed

    def append(self, data: bytes, position: Mapping[str, Json]) -> None:
        """Write bytes and the position just after them, as one step for whoever opens it next.

        Over the cap, data is left out with a note, and only the position advances.
        Raises StateError when the disk is full or failing: nothing was appended then.
        """
        if self._closed:
            raise StateError(f"{self.path} is closed", remedy="the attempt has ended")
        if self._state.capped:
            kept = b""
        elif self._state.size + len(data) > self._cap:
            kept = data[: self._cap - self._state.size] + _note(self._cap)
        else:
            kept = data
        capped = self._state.capped or kept is not data
        with disk_faults(self.path):
            self._write(kept, dict(position), capped)
        self._on_change()

    @property
    def is_synced(self) -> bool:
        """Nothing was appended since the last `sync`."""
        return self._synced == self._state.number

    def sync(self) -> None:
        """Make everything appended survive a power cut. Blocks; safe to call in a thread."""
        number = self._state.number
        if self._files is not None:
            with disk_faults(self.path):
                for descriptor in self._files:
                    os.fdatasync(descriptor)
        self._synced = number

    def close(self) -> None:
        """Nothing more will come; followers of the file are notified. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._files is not None:
            _close(self._files)
        self._on_change()

    def _write(self, data: bytes, position: dict[str, Json], capped: bool) -> None:
        before = self._state
        if self._files is None:
            self._files = _open(self.path)
        log, slots = self._files
        try:
            offset, rest = before.size, memoryview(data)
            while rest:
                written = os.pwrite(log, rest, offset)
                offset, rest = offset + written, rest[written:]
            tail = (self._tail + data)[-_TAIL:] if len(data) < _TAIL else data[-_TAIL:]
            state = _State(before.number + 1, offset, zlib.crc32(tail), capped, position)
            os.pwrite(slots, _encode(state), state.number % 2 * _SLOT)
        except BaseException:
            os.ftruncate(log, before.size)
            raise
        self._state, self._tail = state, tail

    def _recover(self) -> tuple[int, int]:
        files = _open(self.path)
        try:
            self._state, self._tail = _recover(*files)
        except BaseException:
            _close(files)
            raise
        return files


def _open(path: Path) -> tuple[int, int]:
    """Descriptors of the log and of its slots."""
    log = os.open(path, _FLAGS, 0o600)
    try:
        return log, os.open(path.with_suffix(".pos"), _FLAGS, 0o600)
    except BaseException:
        os.close(log)
        raise


def _close(files: tuple[int, int]) -> None:
    for descriptor in files:
        os.close(descriptor)


def _note(cap: int) -> bytes:
    size = format_size(cap)
    return f"\n[hostler] this log is longer than {size}: the rest was left out\n".encode()


def _recover(log: int, slots: int) -> tuple[_State, bytes]:
    """The newest slot whose log is really there; the log is cut to its length."""
    size = os.fstat(log).st_size
    stored = os.pread(slots, 2 * _SLOT, 0)
    found = [_decode(stored[:_SLOT]), _decode(stored[_SLOT:])]
    for state in sorted(filter(None, found), key=lambda slot: slot.number, reverse=True):
        if state.size > size:
            continue
        length = min(state.size, _TAIL)
        tail = os.pread(log, length, state.size - length)
        if zlib.crc32(tail) == state.tail_crc:
            os.ftruncate(log, state.size)
            return state, tail
    os.ftruncate(log, 0)
    return _EMPTY, b""


def _encode(state: _State) -> bytes:
    text = _to_json(state).encode()
    line = b"%08x %s" % (zlib.crc32(text), text)
    if len(line) >= _SLOT:
        raise ValueError(f"a log position of {len(text)} bytes is too long")
    return line.ljust(_SLOT - 1) + b"\n"


def _decode(slot: bytes) -> _State | None:
    checksum, _, text = slot.rstrip().partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        return _State(*json.loads(text))
    except (ValueError, TypeError):
        return None


class LogStore:
    """Opens logs for writing, reads them by byte offset, follows them while they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)
        self._open: dict[Path, LogFile] = {}
        self._changed: dict[Path, asyncio.Event] = {}

    def path(self, run_id: str, attempt_id: str) -> Path:
        """Where the log of an attempt is or would be. Raises InputError for a hostile name."""
        return self._folder / _checked(run_id) / f"{_checked(attempt_id)}.log"

    def open(self, run_id: str, attempt_id: str, cap: int) -> LogFile:
        """The log for appending; the same object as long as it is open."""
        path = self.path(run_id, attempt_id)
        there = self._open.get(path)
        if there is not None and not there.is_closed:
            return there
        private_folder(path.parent)
        opened = LogFile(path, cap, lambda: self._wake(path))
        self._open[path] = opened
        return opened

    def size(self, run_id: str, attempt_id: str) -> int:
        """Bytes that can be read now; 0 where there is no log."""
        path = self.path(run_id, attempt_id)
        opened = self._open.get(path)
        if opened is not None and not opened.is_closed:
            return opened.size
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, run_id: str, attempt_id: str, offset: int = 0, limit: int = _BLOCK) -> bytes:
        """At most `limit` bytes from byte `offset`; b"" at the end and where there is no log."""
        path = self.path(run_id, attempt_id)
        room = min(limit, self.size(run_id, attempt_id) - offset)
        if room <= 0 or offset < 0:
            return b""
        with disk_faults(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                return os.pread(descriptor, room, offset)
            finally:
                os.close(descriptor)

    def tail_offset(self, run_id: str, attempt_id: str, lines: int) -> int:
        """Where the last `lines` lines begin; at most 16 MiB before the end."""
        end = self.size(run_id, attempt_id)
        if lines <= 0:
            return end
        lowest = max(0, end - _TAIL_LIMIT)
        begin, newlines = end, 0
        while begin > lowest:
            start = max(lowest, begin - _BLOCK)
            block = self.read(run_id, attempt_id, start, begin - start)
            for index in _newlines_from_end(block):
                # The newline that ends the last line begins no other.
                if start + index == end - 1:
                    continue
                newlines += 1
                if newlines == lines:
                    return start + index + 1
            begin = start
        return lowest

    def tail(self, run_id: str, attempt_id: str, lines: int) -> bytes:
        """The last lines, raw."""
        offset = self.tail_offset(run_id, attempt_id, lines)
        return self.read(run_id, attempt_id, offset, _TAIL_LIMIT)

    async def follow(
        self, run_id: str, attempt_id: str, offset: int, is_over: Callable[[], bool]
    ) -> AsyncIterator[tuple[int, bytes]]:
        """(offset, bytes) from `offset` on as they come, until `is_over()` and all was given.

        A slow reader costs nothing: every piece is read from the file when it is asked for.
        """
        path = self.path(run_id, attempt_id)
        while True:
            over = is_over()
            data = self.read(run_id, attempt_id, offset)
            if data:
                yield offset, data
                offset += len(data)
            elif over:
                return
            else:
                # Nothing can be appended between the read above and here: one thread, no await.
                changed = self._changed.setdefault(path, asyncio.Event())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN_S):
                        await changed.wait()

    def run_ids(self) -> set[str]:
        """Runs of which there are logs, or at least a folder."""
        with disk_faults(self._folder):
            return {folder.name for folder in os.scandir(self._folder)}

    def sizes(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Run id -> bytes of its logs on disk, of these of which there are any."""
        return {run_id: size for run_id in run_ids if (size := self._size_of(run_id))}

    def _size_of(self, run_id: str) -> int:
        folder = self._folder / _checked(run_id)
        with disk_faults(folder), contextlib.suppress(FileNotFoundError):
            return sum(file.stat().st_size for file in folder.iterdir())
        return 0

    def remove_run(self, run_id: str) -> None:
        """Delete the logs of a run; those that do not exist are no error."""
        folder = self._folder / _checked(run_id)
        for path in [path for path in self._open if path.parent == folder]:
            self._open.pop(path).close()
        with disk_faults(folder), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def close(self) -> None:
        """Close every open log. May be called twice."""
        for log in list(self._open.values()):
            log.close()
        self._open.clear()

    def _wake(self, path: Path) -> None:
        opened = self._open.get(path)
        if opened is not None and opened.is_closed:
            del self._open[path]
        changed = self._changed.pop(path, None)
        if changed is not None:
            changed.set()


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is not the name of a run or attempt")
    return name


def _newlines_from_end(block: bytes) -> list[int]:
    found, index = [], block.rfind(b"\n")
    while index >= 0:
        found.append(index)
        index = block.rfind(b"\n", 0, index)
    return found
