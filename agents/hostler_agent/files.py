"""Lists, compares and reads files of process jobs and of folders of the host (`code = "here"`):
entries in a list, files that change meanwhile, what is new.

Only bulk agents use it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from hostler_agent import beneath, journal, left_out, placed
from hostler_agent.beneath import Root, shown
from hostler_agent.digests import new_sha256
from hostler_agent.folders import Folders, Refusal, check_relative
from hostler_agent.source import ArchiveSource
from hostler_agent.walk import Walk, bytes_used

MOST_ENTRIES = 100_000
MOST_NAMES = 32 * 1024 * 1024
_PIECE = 1024 * 1024

Pulse = Callable[[], None]
Entry = Tuple[str, str, int, float, Optional[str]]
"""Path, kind, size in bytes, mtime, SHA-256 (None: not known)."""


class Wanted(NamedTuple):
    """Which files of a folder are wanted; see `Select` of the daemon's model."""

    globs: Optional[left_out.Globs]
    skip: Tuple[bytes, ...]
    since: Optional[float]


class Entries:
    """A list of files that grows up to its limits."""

    def __init__(self) -> None:
        self._found: Dict[str, Entry] = {}
        self._names = 0
        self.hides = False
        """Whether an entry was left out, so that the list is incomplete."""

    def add(self, path: bytes, status: os.stat_result, sha256: Optional[str] = None) -> None:
        """Add a file, folder or link. If two names are displayed the same, the first one counts."""
        name = shown(path)
        if name in self._found:
            self.hides = True
        else:
            self._names += len(name)
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            self._found[name] = (name, kind_of(status.st_mode), size, status.st_mtime, sha256)

    def is_full(self) -> bool:
        """Whether the list has reached its limits."""
        return len(self._found) >= MOST_ENTRIES or self._names >= MOST_NAMES - 8192

    def sorted(self) -> List[Entry]:
        """The entries, by path."""
        return sorted(self._found.values())


def kind_of(mode: int) -> str:
    """One of "folder", "link" and "file"."""
    return "folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"


def rooted(source: ArchiveSource, folders: Folders) -> Root:
    """Open the working folder of a job, or the requested folder of the host. Raises Refusal."""
    here = source.here
    try:
        if here is not None:
            if not here.startswith("/") or "\0" in here:
                raise Refusal("%r is not an absolute path" % (here,), "InputError")
            real = os.path.realpath(here)
            return Root(real, beneath.open_folder(real))
        return _of_job(source.attempt_id, folders)
    except FileNotFoundError as error:
        raise Refusal("%s no longer exists" % (here or "the folder"), "NotFoundError") from (error)


def _of_job(attempt: str, folders: Folders) -> Root:
    job = load(attempt, folders)
    path = os.path.join(job.folder, "work")
    others = {}
    key = job.created.checkpoint_key
    if key is not None and key not in ("", ".", "..") and "/" not in key:
        with contextlib.suppress(OSError):
            # The job's working folder has a link to it.
            store = os.path.join(folders.checkpoints, key)
            others[store] = beneath.open_folder(folders.checkpoints, key)
    try:
        return Root(path, beneath.open_folder(folders.jobs, job.attempt_id, "work"), others)
    except BaseException:
        for descriptor in others.values():
            os.close(descriptor)
        raise


def load(attempt: str, folders: Folders) -> journal.Job:
    """Load the job of an attempt. Raises Refusal if there is none."""
    job = journal.load(folders.job(attempt))
    if job is None:
        raise Refusal("there is no job %s here" % attempt, "NotFoundError")
    return job


def listed(root: Root, path: bytes, recursive: bool, pulse: Pulse) -> Tuple[List[Entry], bool]:
    """List the entries at a path. Also return whether the list is incomplete. Raises Refusal."""
    entries = Entries()
    step = root.step(path)
    try:
        status = os.fstat(step)
        if not stat.S_ISDIR(status.st_mode):
            entries.add(os.path.basename(path), status)
            return entries.sorted(), False
        walk = Walk(
            lambda inner, *found: entries.add(inner, found[2]), lambda *_: None, pulse
        )  # fmt: skip
        walk.folder = entries.add
        walk.deep = recursive
        walk.enough = entries.is_full
        folder = beneath.reopened(step)
        try:
            walk.through(folder)
        finally:
            os.close(folder)
        return entries.sorted(), walk.truncated or entries.hides
    finally:
        os.close(step)


def opened(root: Root, path: bytes) -> int:
    """Open a plain file for reading. Raises Refusal."""
    step = root.step(path)
    try:
        status = os.fstat(step)
        if not stat.S_ISREG(status.st_mode):
            raise Refusal(
                "%s is a %s, not a plain file" % (shown(path), _word(status)), "InputError"
            )
        return beneath.reopened(step)
    except OSError as error:
        raise unreadable(error, path) from error
    finally:
        os.close(step)


def _word(status: os.stat_result) -> str:
    return "folder" if stat.S_ISDIR(status.st_mode) else "special file"


def pieces(descriptor: int, size: int, path: bytes) -> Iterator[bytes]:
    """Yield `size` bytes of an open file. Raises Refusal if the file has become shorter."""
    left = size
    while left:
        piece = os.read(descriptor, min(left, _PIECE))
        if not piece:
            text = "%s became shorter while it was read"
            raise Refusal(text % shown(path), "ConflictError")
        left -= len(piece)
        yield piece


def require_steady(
    descriptor: int, before: os.stat_result, path: bytes, sha256: str, pulse: Pulse
) -> None:
    """Raise Refusal if a file changed while it was read: a part of the data may then be older than
    the rest. Appended data, as in a log, is allowed."""
    now = os.fstat(descriptor)
    if (now.st_mtime_ns, now.st_size) == (before.st_mtime_ns, before.st_size):
        return
    os.lseek(descriptor, 0, os.SEEK_SET)
    digest = new_sha256()
    for piece in pieces(descriptor, before.st_size, path):
        digest.update(piece)
        pulse()
    if digest.hexdigest() != sha256:
        raise Refusal("%s changed while it was read" % shown(path), "ConflictError")


class Changes:
    """Finds new and changed files in a working folder."""

    def __init__(self, wanted: Wanted, known: Dict[bytes, placed.Placed], pulse: Pulse) -> None:
        self._wanted, self._known = wanted, known
        self.entries = Entries()
        self.walk = Walk(self._take, self._skips, pulse)
        self.walk.enough = self.entries.is_full

    def through(self, root: Root) -> None:
        """Search the whole folder."""
        self.walk.through(root.descriptor)
        self.walk.truncated |= self.entries.hides

    def _skips(self, path: bytes, name: bytes, folder: int) -> Optional[str]:
        if left_out.is_below(path, self._wanted.skip):
            return ""
        globs = self._wanted.globs
        if globs is not None and globs.may_match_below(path):
            return None
        why = left_out.folder_left_out(name, path == name)
        if why is None and left_out.is_environment(folder):
            why = left_out.ENVIRONMENTS
        # With globs, files that they do not match are not requested, so they are not reported as
        # left out.
        return why if globs is None else ""

    def _take(self, path: bytes, folder: int, name: bytes, status: os.stat_result) -> None:
        wanted = self._wanted
        if left_out.is_below(path, wanted.skip):
            return
        if wanted.globs is not None:
            if wanted.globs.matches(path):
                self.entries.add(path, status)
            return
        if wanted.since is not None:
            if max(status.st_mtime, status.st_ctime) < wanted.since - placed.COARSE:
                return
        elif self._is_as_placed(path, folder, name, status):
            return
        if left_out.may_be_core(name) and _is_elf(folder, name):
            self.walk.leave_out(left_out.CORES, status.st_size)
        else:
            self.entries.add(path, status)

    def _is_as_placed(self, path: bytes, folder: int, name: bytes, status: os.stat_result) -> bool:
        known = self._known.get(path)
        if known is None:
            return False
        if known.is_untouched(status):
            return True
        if stat.S_ISLNK(status.st_mode):
            return known.size < 0 and _target(folder, name) == known.sha256
        return known.size == status.st_size and self._digest(folder, name) == known.sha256

    def _digest(self, folder: int, name: bytes) -> Optional[str]:
        descriptor = None
        try:
            descriptor = beneath.open_plain(folder, name)
            if descriptor is None:
                return None
            digest = new_sha256()
            while True:
                piece = os.read(descriptor, _PIECE)
                if not piece:
                    return digest.hexdigest()
                digest.update(piece)
                self.walk.at_work()
        except OSError:
            return None  # it then counts as changed
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _target(folder: int, name: bytes) -> Optional[str]:
    try:
        return os.readlink(name, dir_fd=folder).decode("utf-8", "surrogateescape")
    except OSError:
        return None


def _is_elf(folder: int, name: bytes) -> bool:
    try:
        descriptor = beneath.open_plain(folder, name)
    except OSError:
        return False
    if descriptor is None:
        return False
    try:
        return os.read(descriptor, 4) == b"\x7fELF"
    except OSError:
        return False
    finally:
        os.close(descriptor)


def changes(source: ArchiveSource, wanted: Wanted, folders: Folders, pulse: Pulse) -> Changes:
    """New and changed files in the folder of a job, or of the host. Raises Refusal."""
    known: Dict[bytes, placed.Placed] = {}
    if source.here is None:
        job = load(source.attempt_id, folders)
        checkpoint = check_relative(job.created.checkpoint)
        if checkpoint:
            wanted = wanted._replace(skip=(*wanted.skip, os.fsencode(checkpoint)))
        folder = beneath.open_folder(folders.jobs, job.attempt_id)
        try:
            known = placed.read(folder) or {}
        finally:
            os.close(folder)
    found = Changes(wanted, known, pulse)
    root = rooted(source, folders)
    try:
        found.through(root)
    finally:
        root.close()
    return found


def unreadable(error: OSError, path: bytes) -> Refusal:
    """The exception for a file that cannot be read."""
    return Refusal("%s cannot be read: %s" % (shown(path), error.strerror), "InputError")


def measured(root: Root, pulse: Pulse) -> Tuple[int, int]:
    """Return the number of files in a folder, and the bytes that they take on the disk."""
    found = [0, 0]

    def take(path: bytes, folder: int, name: bytes, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode):
            found[0] += 1
            found[1] += bytes_used(status)

    Walk(take, lambda *_: None, pulse).through(root.descriptor)
    return found[0], found[1]
