"""The list of files that were unpacked into a job's working folder, and the quick check that none
of them has changed since.

A line is [path, size, SHA-256, ctime in ns, inode]. For a link, size is -1, and its target replaces
the hash. If several lines name one path, the last one counts.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from typing import BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Tuple

from hostler_agent.journal import Job

NAME = "placed.json"
_LITTLE = 256 * 1024
_MOST_LINE = 32 * 1024
_MOST_LINES = 1_000_000
COARSE = 0.1
"""Seconds by which the times of files may lag behind the clock: the kernel sets them once per
tick."""
_FEW, _SOON = 2000, 0.02
"""Limits of the check after the end of a job: entries and seconds."""


class Placed(NamedTuple):
    """The state of a file when it was placed."""

    size: int
    sha256: str
    ctime_ns: int
    inode: int

    def is_untouched(self, status: os.stat_result) -> bool:
        """Whether the file cannot have been written since: any write changes the ctime."""
        if stat.S_ISLNK(status.st_mode) != (self.size < 0):
            return False
        same = (status.st_ctime_ns, status.st_ino) == (self.ctime_ns, self.inode)
        return same and (self.size < 0 or status.st_size == self.size)


class Writer:
    """Appends lines to the list. `below`: the folder of the archive, relative to the working
    folder."""

    def __init__(self, job: str, below: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = open(os.open(os.path.join(job, NAME), flags, 0o600), "w", encoding="ascii")
        self._below = below

    def close(self) -> None:
        """Write all lines to the file and close it."""
        self._file.close()

    def add(self, name: str, path: str, content: str) -> None:
        """Add the file or link at `path`. `content`: the hash of a file, or the target of a
        link."""
        status = os.lstat(path)
        size = -1 if stat.S_ISLNK(status.st_mode) else status.st_size
        inside = os.path.normpath(os.path.join(self._below, name))
        # Encoded so that agents with any locale read the same bytes.
        text = os.fsencode(inside).decode("utf-8", "surrogateescape")
        line = [text, size, content, status.st_ctime_ns, status.st_ino]
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


def read(folder: int, most: Optional[int] = None) -> Optional[Dict[bytes, Placed]]:
    """Read the list from the open folder of a job; None if it is longer than `most` bytes. The job
    can write anything there, so invalid lines are ignored."""
    from hostler_agent import beneath

    try:
        descriptor = beneath.open_plain(folder, NAME.encode())
    except OSError:
        descriptor = None
    if descriptor is None:
        return {}
    with open(descriptor, "rb") as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            return None
        return dict(_lines(file))


def _lines(file: BinaryIO) -> Iterator[Tuple[bytes, Placed]]:
    for _ in range(_MOST_LINES):
        line = file.readline(_MOST_LINE)
        if not line:
            return
        try:
            path, size, content, ctime, inode = json.loads(line)
            found = Placed(int(size), str(content), int(ctime), int(inode))
            yield str(path).encode("utf-8", "surrogateescape"), found
        except (ValueError, TypeError, RecursionError):
            continue


def unchanged(job: Job) -> Optional[int]:
    """0 if a short check shows that no file in the job's folder is new or changed; None:
    unknown."""
    here = job.created.here
    try:
        if here and job.started is not None and job.started.at is not None:
            return _unchanged_there(here, job.started.at)
        return None if here else _unchanged_here(job)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _unchanged_here(job: Job) -> Optional[int]:
    from hostler_agent import beneath, mounts

    until = time.monotonic() + _SOON
    if mounts.any_in(job.folder):
        return None  # a mounted file system may never answer
    folder = beneath.open_folder(job.folder)
    try:
        known = read(folder, _LITTLE)
        work = beneath.enter(folder, b"work")
    finally:
        os.close(folder)
    try:
        checkpoint = job.created.checkpoint.encode()
        quick = _Quick(known or {}, checkpoint, until, None)
        return 0 if known is not None and quick.is_still(work) else None
    finally:
        os.close(work)


def _unchanged_there(here: str, since: float) -> Optional[int]:
    """Like `_unchanged_here`, for a folder of the host, where nothing was placed. Its file server
    may hang. So a thread checks it, and the caller waits only a short time; while that thread
    hangs, no other starts."""
    if not _looking.acquire(blocking=False):
        return None
    found: List[Optional[int]] = []

    def look() -> None:
        from hostler_agent import beneath

        try:
            folder = beneath.open_folder(os.path.realpath(here))
            try:
                quick = _Quick({}, b"", time.monotonic() + _SOON, since)
                found.append(0 if quick.is_still(folder) else None)
            finally:
                os.close(folder)
        except OSError:
            pass  # a valid request gets the reason later
        finally:
            _looking.release()

    looker = threading.Thread(target=look, daemon=True, name="unchanged")
    looker.start()
    looker.join(3 * _SOON)
    return found[0] if found else None


_looking = threading.Lock()


class _Quick:
    """Checks files until one is new, or the time is over. With `since`, a file that was written
    later is new; without it, a file that differs from its placed state."""

    def __init__(
        self, known: Dict[bytes, Placed], checkpoint: bytes, until: float, since: Optional[float]
    ) -> None:
        self._known, self._checkpoint, self._until = known, checkpoint, until
        self._since = since
        self._left = _FEW

    def is_still(self, folder: int, above: bytes = b"") -> bool:
        """Whether the check has found no new file in the open folder."""
        from hostler_agent import beneath, left_out

        for name in self._names(folder):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            path = above + name
            if self._left < 0 or time.monotonic() > self._until:
                return False
            if path == self._checkpoint:
                continue
            if not stat.S_ISDIR(status.st_mode):
                if self._is_new(path, status):
                    return False
            elif left_out.folder_left_out(name, not above) is None:
                inner = beneath.enter(folder, name)
                try:
                    if not self.is_still(inner, path + b"/"):
                        return False
                finally:
                    os.close(inner)
        return self._left >= 0  # unknown, if there were too many names

    def _is_new(self, path: bytes, status: os.stat_result) -> bool:
        if self._since is not None:
            return max(status.st_mtime, status.st_ctime) >= self._since - COARSE
        known = self._known.get(path)
        return known is None or not known.is_untouched(status)

    def _names(self, folder: int) -> List[bytes]:
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self._left -= 1
                if self._left < 0:
                    break
                found.append(os.fsencode(entry.name))
        return found
