"""Walks a folder by descriptor, without following links or entering other file systems: at most
500,000 entries, 200 folders deep."""

from __future__ import annotations

import os
import stat
import time
from typing import Callable, Dict, List, Optional

from hostler_agent import beneath, left_out

MOST_SEEN = 500_000
"""Entries examined in one walk. Only the names of one folder at a time are in memory."""
MOST_DEEP = 200
_MOST_PATH = 4095
_MOST_COUNTED = 50_000
"""Limit of entries in left-out folders whose bytes are added up."""
_PULSE = 5.0

Take = Callable[[bytes, int, bytes, os.stat_result], None]
"""Called for each file and link: its path, the descriptor of its folder, its name, its status."""


class Walk:
    """One walk through a folder. `skips` returns why a folder is left out, by its path, name and
    descriptor; None: it is not left out."""

    def __init__(
        self,
        take: Take,
        skips: Callable[[bytes, bytes, int], Optional[str]],
        pulse: Callable[[], None] = lambda: None,
    ) -> None:
        self._take, self._skips, self._pulse = take, skips, pulse
        self._told = time.monotonic()
        self._seen, self._counted = 0, 0
        self._device, self._careful = 0, True
        self.left_out: Dict[str, int] = {}
        self.truncated = False
        self.enough: Callable[[], bool] = lambda: False
        """Called often. True ends the walk."""
        self.folder: Callable[[bytes, os.stat_result], None] = lambda path, status: None
        """Called for each folder that is not left out."""
        self.deep = True
        """Whether the walk enters folders."""

    def through(self, folder: int, depth: int = 0) -> None:
        """Walk through an open folder at this depth. Raises OSError if the folder itself cannot be
        read."""
        self._device = os.fstat(folder).st_dev
        self._careful = beneath.has_mounts(folder)
        names = self._names(folder)
        self._each(folder, b"", names, depth)

    def leave_out(self, why: str, size: int) -> None:
        """Add a size to the bytes that were left out for this reason."""
        self.left_out[why] = self.left_out.get(why, 0) + size

    def _miss(self, why: str) -> None:
        """Record a folder that was not read, so that it does not count as empty."""
        self.leave_out(why, 0)
        self.truncated = True

    def at_work(self) -> None:
        """Send a sign of life every few seconds during the walk."""
        now = time.monotonic()
        if now - self._told > _PULSE:
            self._told = now
            self._pulse()

    def _names(self, folder: int) -> List[bytes]:
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self._seen += 1
                if self._seen > MOST_SEEN:
                    self.truncated = True
                    break
                found.append(os.fsencode(entry.name))
        return sorted(found)

    def _each(self, folder: int, above: bytes, names: List[bytes], depth: int) -> None:
        for name in names:
            self.at_work()
            if self._seen > MOST_SEEN or self.enough():
                self.truncated = True
                return
            try:
                status = self._status(folder, name)
            except beneath.Elsewhere:
                self.leave_out(left_out.ELSEWHERE, 0)
                continue
            except OSError:
                continue  # removed meanwhile
            self._one(folder, above + name, name, status, depth)

    def _status(self, folder: int, name: bytes) -> os.stat_result:
        if self._careful:
            return beneath.status_of(folder, name)
        return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def _one(
        self, folder: int, path: bytes, name: bytes, status: os.stat_result, depth: int
    ) -> None:
        if len(path) > _MOST_PATH:
            self.leave_out(left_out.TOO_DEEP, _size(status))
            self.truncated = True
        elif stat.S_ISDIR(status.st_mode):
            self._folder(folder, path, name, depth)
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            if status.st_dev != self._device and _is_mount(folder, name):
                self.leave_out(left_out.ELSEWHERE, _size(status))
            else:
                self._take(path, folder, name, status)
        else:
            self.leave_out(left_out.SPECIAL, 0)

    def _folder(self, above: int, path: bytes, name: bytes, depth: int) -> None:
        if depth >= MOST_DEEP:
            self._miss(left_out.TOO_DEEP)
            return
        try:
            folder = beneath.enter(above, name)
        except beneath.Elsewhere:
            self.leave_out(left_out.ELSEWHERE, 0)
            return
        except OSError:
            self._miss(left_out.UNREADABLE)
            return
        try:
            self._inside(folder, path, name, depth)
        except OSError:
            self._miss(left_out.UNREADABLE)
        finally:
            os.close(folder)

    def _inside(self, folder: int, path: bytes, name: bytes, depth: int) -> None:
        why = self._skips(path, name, folder)
        if why is not None:
            if why:
                self.leave_out(why, self._bytes_of(folder, depth + 1))
            return
        self.folder(path, os.fstat(folder))
        if self.deep:
            self._each(folder, path + b"/", self._names(folder), depth + 1)

    def _bytes_of(self, folder: int, depth: int) -> int:
        """Bytes of the files in a left-out folder, up to a limit of entries."""
        inner = Walk(lambda *_: None, lambda *_: None, self.at_work)
        total = [0]

        def take(path: bytes, folder: int, name: bytes, status: os.stat_result) -> None:
            total[0] += _size(status)
            self._counted += 1

        inner._take = take
        inner.enough = lambda: self._counted >= _MOST_COUNTED
        if not inner.enough():
            inner.through(folder, depth)
        return total[0]


def _is_mount(folder: int, name: bytes) -> bool:
    """Whether something is mounted there. Another device number does not prove it: on overlayfs,
    files and folders have different ones."""
    try:
        step = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return True
    try:
        return beneath.mount_of(step) != beneath.mount_of(folder)
    finally:
        os.close(step)


def _size(status: os.stat_result) -> int:
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def bytes_used(status: os.stat_result) -> int:
    """Bytes that a file takes on the disk: holes of a sparse file take none."""
    return min(status.st_size, status.st_blocks * 512)
