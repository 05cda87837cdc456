"""One attempt's log file: append-only, without gaps or duplicates after a crash. Bytes over its
size limit (`log_size`) are left out with a note.

Beside `ATTEMPT.log` lies `ATTEMPT.pos` with two slots, which are written in turn. A slot has the
position in the source of the output, and the length of the log at that position. The log is written
first. If the process is killed between the two writes, the log is too long; opening it again cuts
it to the length in the newer intact slot. A power cut may remove the end of the log. A slot with a
greater length is then ignored, and the missing bytes are read again from the position of the other
slot.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from hostler.base.errors import StateError
from hostler.base.units import format_size
from hostler.store.faults import disk_faults
from hostler_agent.json_values import Json

_SLOT = 1024
_TAIL = 4096
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_to_json = json.JSONEncoder(separators=(",", ":")).encode


class _State(NamedTuple):
    """The content of a slot."""

    number: int
    size: int
    tail_crc: int
    capped: bool
    position: dict[str, Json]


_EMPTY = _State(0, 0, 0, False, {})


class LogFile:
    """A log that is being written. Implements `ports.LogSink`. Belongs to the thread of the event
    loop.

    The first byte creates the files, since many stages write no output.
    """

    def __init__(self, path: Path, cap: int, on_change: Callable[[], None]) -> None:
        self.path = path
        self._cap = cap
        self._on_change = on_change
        self._closed = False
        self._synced = 0
        """Number of the last state that would survive a power cut."""
        self._files: tuple[int, int] | None = None
        self._state, self._tail = _EMPTY, b""
        with disk_faults(path):
            if path.exists():
                self._files = self._recover()
        self._synced = self._state.number

    @property
    def position(self) -> Mapping[str, Json]:
        """The last position given to `append`: empty at the start."""
        return self._state.position

    @property
    def size(self) -> int:
        """Bytes in the file; their position is stored."""
        return self._state.size

    @property
    def is_closed(self) -> bool:
        """Whether this object is closed and appends nothing."""
        return self._closed

    def append(self, data: bytes, position: Mapping[str, Json]) -> None:
        """Write bytes and the position just after them, as one step for the next reader.

        If the log is at its limit, the bytes are left out with a note, and only the position
        advances. Raises StateError if the disk is full or has errors; then nothing was appended.
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

    def note(self, text: str) -> None:
        """Write a line from Hostler itself. The position, at which the output continues, does not
        change. Raises StateError."""
        begin = b"" if self._tail[-1:] in (b"", b"\n") else b"\n"
        LogFile.append(self, begin + f"[hostler] {text}\n".encode(), self._state.position)

    def finish(self) -> None:
        """Called when the workload has ended and all of its output was appended."""

    @property
    def is_synced(self) -> bool:
        """Whether nothing was appended since the last `sync`."""
        return self._synced == self._state.number

    def sync(self) -> None:
        """Make all appended bytes survive a power cut. Blocks; may be called in a thread."""
        number = self._state.number
        if self._files is not None:
            with disk_faults(self.path):
                for descriptor in self._files:
                    os.fdatasync(descriptor)
        self._synced = number

    def close(self) -> None:
        """Close the files and notify followers: no more bytes are appended. May be called twice."""
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
    """File descriptors of the log and of its slots."""
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
    """The newest slot whose part of the log exists completely; the log is cut to its length."""
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
