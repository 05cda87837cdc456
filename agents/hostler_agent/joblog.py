"""Writes and rotates a job's log: files named by their first offset, of which the newest two are
kept.

The files are `log.0`, then `log.536870912`, and so on. An offset counts all bytes ever written, and
no file is renamed.
"""

from __future__ import annotations

import os
from typing import Iterator, List, Optional, Tuple

_PREFIX = "log."
PIECE = 256 * 1024


def parts(folder: str) -> List[Tuple[int, int]]:
    """(offset of the first byte, size) of each file, oldest first."""
    found = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        if name.startswith(_PREFIX) and name[len(_PREFIX) :].isdigit():
            try:
                found.append((int(name[len(_PREFIX) :]), os.stat(_path(folder, name)).st_size))
            except OSError:
                continue  # rotation removed it just now
    return sorted(found)


def _path(folder: str, name: str) -> str:
    return os.path.join(folder, name)


class Writer:
    """Appends to the log, which keeps at most about `cap` bytes on disk."""

    def __init__(self, folder: str, cap: int) -> None:
        self._folder = folder
        self._half = max(cap // 2, 4096)
        there = parts(folder)
        self._base = there[-1][0] if there else 0
        self._size = there[-1][1] if there else 0
        self._descriptor = self._open()

    def _open(self) -> int:
        path = _path(self._folder, "%s%d" % (_PREFIX, self._base))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def write(self, data: bytes) -> None:
        """Append. Raises OSError when the disk is full."""
        view = memoryview(data)
        while view:
            if self._size >= self._half:
                self._rotate()
            count = os.write(self._descriptor, view[: self._half - self._size])
            self._size += count
            view = view[count:]

    def _rotate(self) -> None:
        os.close(self._descriptor)
        self._base += self._size
        self._size = 0
        self._descriptor = self._open()
        for base, _ in parts(self._folder)[:-2]:
            os.unlink(_path(self._folder, "%s%d" % (_PREFIX, base)))


class Reader:
    """Reads the log from a global offset on."""

    def __init__(self, folder: str, offset: int) -> None:
        self._folder = folder
        self.offset = offset
        """Offset of the next byte."""
        self._base: Optional[int] = None
        self._descriptor: Optional[int] = None

    def close(self) -> None:
        """Close the file that is open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def pieces(self) -> Iterator[Tuple[int, bytes]]:
        """(offset, bytes) of all unread output; offsets jump over the part that rotation
        removed."""
        while True:
            data = self._read()
            if data:
                yield self.offset, data
                self.offset += len(data)
            elif not self._next():
                return

    def _read(self) -> bytes:
        if self._descriptor is None or self._base is None:
            return b""
        return os.pread(self._descriptor, PIECE, self.offset - self._base)

    def _next(self) -> bool:
        """Open the file that holds the offset, or the first file after it; False: no such file."""
        there = parts(self._folder)
        if there and self.offset > there[-1][0] + there[-1][1]:
            self.offset = there[-1][0] + there[-1][1]  # the log is shorter than at an earlier read
        for base, size in there:
            if self.offset < base + size:
                if base == self._base:
                    return True
                self.close()
                try:
                    path = _path(self._folder, "%s%d" % (_PREFIX, base))
                    self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    return self._next()
                self._base = base
                self.offset = max(self.offset, base)
                return True
        return False
