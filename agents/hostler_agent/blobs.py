"""The host's cache of blobs by SHA-256: resumes uploads; removes the oldest blobs over the budget,
agents unused for 7 days and environments unused for 30."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import time
from typing import Dict, Iterable, Iterator, List, Tuple

from hostler_agent import mounts
from hostler_agent.folders import Folders, Refusal, remove_tree

_PIECE = 1024 * 1024
_NAME = re.compile(r"[0-9a-f]{64}(\..+)?")
OLD_AGENT = 7 * 86400.0
OLD_VENV = 30 * 86400.0


def size(folders: Folders, digest: str) -> Dict[str, int]:
    """Bytes already received, and whether the blob is complete."""
    path = folders.blob(digest)
    for name, complete in ((path, True), (path + ".part", False)):
        with contextlib.suppress(FileNotFoundError):
            return {"size": os.stat(name).st_size, "complete": complete}
    return {"size": 0, "complete": False}


class Incoming:
    """Receives a blob. An upload that was interrupted continues where it stopped."""

    def __init__(self, folders: Folders, digest: str, total: int) -> None:
        os.makedirs(folders.blobs, 0o700, exist_ok=True)
        self._path = folders.blob(digest)
        self._part = self._path + ".part"
        self._digest = digest
        self._total = total
        self.complete = os.path.exists(self._path)
        """Whether the whole blob is here already, so that no data is needed."""
        self.offset = total if self.complete else 0
        self._file = None if self.complete else open(self._part, "ab")
        if self._file is not None:
            self.offset = self._file.tell()
            if self.offset > total:
                self._file.truncate(0)
                self.offset = 0

    def write(self, data: bytes) -> None:
        """Append data. Raises Refusal if the blob exceeds its announced size, OSError if the disk
        is full."""
        if self._file is None:
            return
        self.offset += len(data)
        if self.offset > self._total:
            raise Refusal("received more bytes than the %d announced" % self._total, "InputError")
        self._file.write(data)

    def close(self) -> None:
        """Close the file. The received bytes stay for the next upload."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(self) -> None:
        """Verify the blob and move it to its place. Raises Refusal if its digest or size is
        wrong."""
        self.close()
        if self.complete:
            os.utime(self._path)
            return
        if self.offset != self._total:
            text = "received %d of %d bytes"
            raise Refusal(text % (self.offset, self._total), "Unreachable")
        if _digest(self._part) != self._digest:
            os.unlink(self._part)
            raise Refusal("the received data is not blob %s: it was damaged" % self._digest)
        os.rename(self._part, self._path)


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            piece = file.read(_PIECE)
            if not piece:
                return digest.hexdigest()
            digest.update(piece)


def collect(folders: Folders, keep: Iterable[str], most: int, version: str) -> Dict[str, int]:
    """Remove blobs that are not in `keep`, oldest first, until at most `most` bytes remain. Also
    remove agents and virtual environments that were unused for long. Returns the freed bytes of
    blobs."""
    kept = set(keep)
    files = [
        (s.st_mtime, s.st_size, n) for n, s in cached(folders.blobs) if stat.S_ISREG(s.st_mode)
    ]
    blobs = [b for b in files if b[2].split(".")[0] not in kept]
    total = sum(b[1] for b in files)
    freed = 0
    for _, length, name in sorted(blobs):
        if total - freed <= most:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folders.blobs, name))
            freed += length
    _remove_old(os.path.join(folders.base, "agent"), OLD_AGENT, "stamp", "", version)
    _remove_old(folders.venvs, OLD_VENV, ".hostler-ready", ".lock")
    return {"freed": freed}


def cached(folder: str) -> List[Tuple[str, os.stat_result]]:
    """Entries of a cache folder whose names have Hostler's form, with their status. Links in it are
    not followed. The folder itself may be a link that a person made, to a folder that also has
    other files."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(filter(_NAME.fullmatch, os.listdir(folder))):
            with contextlib.suppress(FileNotFoundError):
                found.append((name, os.lstat(os.path.join(folder, name))))
    return found


def _remove_old(folder: str, age: float, stamp: str, lock: str, current: str = "") -> None:
    """Remove folders that were not used for `age` seconds. A process that uses one holds a lock on
    the file with the folder's name plus `lock`, or on the folder itself if `lock` is ""."""
    for name, status in cached(folder):
        path = os.path.join(folder, name)
        mark = os.path.join(path, stamp)
        if name == current or not stat.S_ISDIR(status.st_mode) or _age(path, mark) <= age:
            continue
        with contextlib.suppress(BlockingIOError), locked(path + lock, not lock):
            if _age(path, mark) > age and not mounts.any_in(path):
                discard(path, stamp)


def discard(path: str, stamp: str) -> None:
    """Remove a folder of a cache, and first its stamp, which says that it is complete."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(path, stamp))  # a partly removed folder must not count as complete
    remove_tree(path)


@contextlib.contextmanager
def locked(path: str, folder: bool) -> Iterator[None]:
    """Lock the file or the folder exclusively. Raises BlockingIOError if it is in use."""
    flags = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _age(path: str, stamp: str) -> float:
    """Seconds since the folder's last use, by the time of its stamp; without a stamp, since the
    folder changed; 0 if it is gone."""
    for name in (stamp, path):
        with contextlib.suppress(FileNotFoundError):
            return time.time() - os.stat(name).st_mtime
    return 0.0
