"""Decides what `hostler host clean` removes here (blobs, virtual environments, old agents) and what
forbids it, and removes unneeded checkpoint folders.

Caches are removed only on request, and only while no job of the login and no agent of another
daemon runs. Checkpoint folders of process jobs outlive their jobs; they are removed when no run
needs them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from typing import Dict, Iterable, Iterator, List, Tuple

from hostler_agent import blobs, journal, mounts, setups
from hostler_agent.folders import Folders
from hostler_agent.json_values import Outgoing
from hostler_agent.machine import boot_id
from hostler_agent.processes import Proc

MOST_NAMED = 1000
"""Limit of the names in the answer, for each kind; the count includes all."""
_AGENT_LOCK = "serve-"


class Found:
    """Things of one kind that are removed, or would be: their number, bytes and names."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.count = 0
        self.bytes = 0
        self.names: List[str] = []

    def add(self, name: str, size: int) -> None:
        """Count one more, and list its name."""
        self.count += 1
        self.bytes += size
        if len(self.names) < MOST_NAMED:
            self.names.append(name)

    def to_wire(self) -> Outgoing:
        """Return them as one entry of the answer."""
        return {
            "what": self.what, "count": self.count, "bytes": min(self.bytes, 2**62),
            "names": self.names,
        }  # fmt: skip


class Cleaner:
    """One cleaning. With `dry_run` nothing is removed."""

    def __init__(self, folders: Folders, version: str, daemon_id: str, dry_run: bool) -> None:
        self._folders = folders
        self._version = version
        self._daemon_id = daemon_id
        self._dry_run = dry_run
        self._proc = Proc()
        self._boot = boot_id()

    def busy(self) -> str:
        """Why caches must stay: a process that may use them; "" if there is none."""
        for name, path in _entries(self._folders.jobs):
            job = journal.load(path)
            if job is not None and job.running(self._proc, self._boot):
                return "job %s is running" % name
            setup = None if job is None else setups.load(job)
            if setup is not None and setup.running(self._proc, self._boot):
                return "the setup of job %s is running" % name
        own = "%s%s.lock" % (_AGENT_LOCK, self._daemon_id)
        for name, path in _entries(self._folders.base):
            if name.startswith(_AGENT_LOCK) and name.endswith(".lock") and name != own:
                if _is_locked(path):
                    daemon = name[len(_AGENT_LOCK) : -len(".lock")]
                    return "an agent of another daemon (%s) is running" % daemon
        return ""

    def caches(self) -> List[Found]:
        """Remove unused blobs, virtual environments and agents of other versions; return them."""
        found = [Found("blob"), Found("venv"), Found("agent")]
        for name, status in blobs.cached(self._folders.blobs):
            if stat.S_ISREG(status.st_mode):
                found[0].add(name, status.st_size)
                if not self._dry_run:
                    _unlink(os.path.join(self._folders.blobs, name))
        agents = os.path.join(self._folders.base, "agent")
        self._unused(found[1], self._folders.venvs, ".hostler-ready", ".lock", "")
        self._unused(found[2], agents, "stamp", "", self._version)
        return found

    def _unused(self, found: Found, folder: str, stamp: str, lock: str, current: str) -> None:
        for name, status in blobs.cached(folder):
            path = os.path.join(folder, name)
            if name == current or not stat.S_ISDIR(status.st_mode):
                continue
            with contextlib.suppress(BlockingIOError), blobs.locked(path + lock, not lock):
                if mounts.any_in(path):
                    continue  # it stays, and its size is not read
                found.add(name, _size(path))
                if not self._dry_run:
                    blobs.discard(path, stamp)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _entries(folder: str) -> Iterator[Tuple[str, str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(folder)):
            yield name, os.path.join(folder, name)


def _is_locked(path: str) -> bool:
    """Whether a process holds the lock file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _size(folder: str) -> int:
    """Bytes of all files below a folder; links are not followed."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_size
    return total


def sweep_checkpoints(
    folders: Folders, prefix: str, keep: Iterable[str], dry_run: bool = False
) -> Dict[str, int]:
    """Remove the folders of one daemon (they begin with its prefix) that are not in `keep`; with
    `dry_run` only count them."""
    kept, removed = set(keep), 0
    try:
        names = os.listdir(folders.checkpoints)
    except OSError:
        return {"removed": 0}
    for name in names:
        if name.startswith(prefix) and name not in kept:
            path = os.path.join(folders.checkpoints, name)
            if mounts.any_in(path):
                continue  # a stage has a mount there, whose files would be removed too
            if not dry_run:
                shutil.rmtree(path, ignore_errors=True)
            removed += dry_run or not os.path.lexists(path)
    return {"removed": removed}
