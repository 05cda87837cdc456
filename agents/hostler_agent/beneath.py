"""Opens paths step by step by descriptor below a folder that a stage may change meanwhile; refuses
links that lead out, and more than 40 links.

Each step is opened with O_PATH, which follows no link and has no effect, and then checked. Links
are resolved here, within the folder; a link that leads out is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Dict, List, Optional, Tuple

from hostler_agent import mounts
from hostler_agent.folders import Refusal, check_relative

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MOST_LINKS = 40
_MOST_HELD = 200_000
"""Names kept in memory from folders that were read."""
LOST = b"\xef\xbf\xbd"
"""U+FFFD in UTF-8. It replaces each byte of a displayed name that is not UTF-8."""


def shown(name: bytes) -> str:
    """Return a path as valid text: U+FFFD replaces bytes that are not UTF-8."""
    return name.decode("utf-8", "replace")


def as_bytes(path: object) -> bytes:
    """Return a requested relative path as bytes; "" is the folder itself. Raises Refusal."""
    clean = check_relative(path or "")
    try:
        return clean.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refusal("%r is not a path" % (path,), "InputError") from None


def open_folder(path: str, *below: str) -> int:
    """Open a folder, then the folders `below`, each inside the one before; links among these are
    refused. Raises OSError."""
    descriptor = os.open(path, _FOLDER & ~os.O_NOFOLLOW)
    for name in below:
        try:
            inner = os.open(name, _FOLDER, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


class Elsewhere(OSError):
    """Something is mounted at the path, perhaps by a stage. Its file system may hang, so it is not
    accessed."""


def mount_of(descriptor: int) -> str:
    """The mount that holds an open file. The file itself is not accessed."""
    with open("/proc/self/fdinfo/%d" % descriptor) as file:
        return next((line for line in file if line.startswith("mnt_id:")), "")


def enter(descriptor: int, name: bytes) -> int:
    """Open a folder inside a folder for reading; links and mounts are refused. Raises OSError."""
    step = os.open(name, _STEP | os.O_DIRECTORY, dir_fd=descriptor)
    try:
        _check_mount(step, descriptor)
        return os.open("/proc/self/fd/%d" % step, _FOLDER & ~os.O_NOFOLLOW)
    finally:
        os.close(step)


def _check_mount(step: int, folder: int) -> None:
    if mount_of(step) != mount_of(folder):
        raise Elsewhere(errno.EXDEV, "lies on another file system than the folder")


def status_of(folder: int, name: bytes) -> os.stat_result:
    """The status of an entry of a folder. Raises Elsewhere, without accessing the entry, if
    something is mounted on it: a stage's file system may never answer. Raises OSError."""
    step = os.open(name, _STEP, dir_fd=folder)
    try:
        _check_mount(step, folder)
        return os.fstat(step)
    finally:
        os.close(step)


def has_mounts(folder: int) -> bool:
    """Whether something may be mounted in an open folder. Only then is `status_of` needed, which
    takes several times as long as `stat`."""
    try:
        path = os.readlink("/proc/self/fd/%d" % folder)
        return path == "/" or mounts.any_in(path)
    except OSError:
        return True


def make(job: str, path: str) -> None:
    """Make a folder in the working folder of a job, and the folders above it. Nothing is made below
    a link or a file. Raises OSError."""
    folder = open_folder(job, "work")
    try:
        for name in filter(None, os.fsencode(path).split(b"/")):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=folder)
            try:
                inner = enter(folder, name)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    return
                raise
            os.close(folder)
            folder = inner
    finally:
        os.close(folder)


def reopened(step: int) -> int:
    """Open the plain file or folder of an O_PATH descriptor for reading. Raises OSError."""
    return os.open("/proc/self/fd/%d" % step, _READ)


def open_plain(folder: int, name: bytes) -> Optional[int]:
    """Open a plain file in an open folder for reading; None for any other entry. Raises OSError."""
    step = os.open(name, _STEP, dir_fd=folder)
    try:
        _check_mount(step, folder)
        return reopened(step) if stat.S_ISREG(os.fstat(step).st_mode) else None
    finally:
        os.close(step)


class Root:
    """An open folder, below which paths are opened. `others`: more folders, absolute path ->
    descriptor, that links may lead to; their content counts as below the root."""

    def __init__(self, path: str, descriptor: int, others: Optional[Dict[str, int]] = None) -> None:
        self.descriptor = descriptor
        self._roots = {os.fsencode(path): descriptor}
        for other, opened in (others or {}).items():
            self._roots[os.fsencode(other)] = opened

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in self._roots.values():
            os.close(descriptor)
        self._roots = {}

    def step(self, path: bytes) -> int:
        """Return an O_PATH descriptor of the entry at a path; links within the root are followed.
        The caller closes it. Raises Refusal ("NotFoundError", "InputError")."""
        return _Steps(self, self._roots).go(path)


class _Steps:
    def __init__(self, root: Root, roots: Dict[bytes, int]) -> None:
        self._root, self._roots = root, roots
        self._open: List[int] = [os.dup(root.descriptor)]
        self._links = 0

    def go(self, path: bytes) -> int:
        left = path.split(b"/")
        try:
            while left:
                left = self._step(left.pop(0), left, path)
            return self._open.pop()
        except Elsewhere as error:
            raise Refusal("%s %s" % (shown(path), error.strerror), "InputError") from error
        except OSError as error:
            raise Refusal("%s: %s" % (shown(path), error.strerror)) from error
        finally:
            self._drop()

    def _drop(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def _step(self, name: bytes, left: List[bytes], path: bytes) -> List[bytes]:
        """Take one step; return the remaining steps."""
        if name in (b"", b"."):
            return left
        if name == b"..":
            if len(self._open) == 1:
                raise _out(path)
            os.close(self._open.pop())
            return left
        step = self._enter(name, path)
        status = os.fstat(step)
        if stat.S_ISLNK(status.st_mode):
            try:
                target = os.readlink(b"", dir_fd=step)
            finally:
                os.close(step)
            return self._follow(target, path) + left
        self._open.append(step)
        return left

    def _enter(self, name: bytes, path: bytes) -> int:
        step = self._opened(name, path)
        try:
            _check_mount(step, self._open[-1])
        except BaseException:
            os.close(step)
            raise
        return step

    def _opened(self, name: bytes, path: bytes) -> int:
        try:
            return os.open(name, _STEP, dir_fd=self._open[-1])
        except (FileNotFoundError, NotADirectoryError):
            known = real_name(self._open[-1], name)
            if known == name:
                text = "there is no %s in the folder"
                raise Refusal(text % shown(path), "NotFoundError") from None
            return os.open(known, _STEP, dir_fd=self._open[-1])

    def _follow(self, target: bytes, path: bytes) -> List[bytes]:
        """Return the steps of a link's target."""
        self._links += 1
        if self._links > _MOST_LINKS:
            raise Refusal("%s: too many links" % shown(path), "InputError")
        if not target.startswith(b"/"):
            return target.split(b"/")
        for root, descriptor in self._roots.items():
            if target == root or target.startswith(root + b"/"):
                self._drop()
                self._open.append(os.dup(descriptor))
                return target[len(root) :].split(b"/")
        raise _out(path)


def _out(path: bytes) -> Refusal:
    return Refusal("%s leads out of the folder" % shown(path), "InputError")


def real_name(folder: int, name: bytes) -> bytes:
    """Return the real name of the entry that is displayed as `name`: only a name that is not UTF-8
    differs."""
    return Names().real(folder, name)


class Names:
    """Finds real names by displayed names, for many lookups: each folder is read once."""

    def __init__(self) -> None:
        self._folders: Dict[Tuple[int, int], Dict[bytes, bytes]] = {}
        self._held = 0

    def real(self, folder: int, name: bytes) -> bytes:
        """Like `real_name`."""
        if LOST not in name or _is_there(folder, name):
            return name
        status = os.fstat(folder)
        key = (status.st_dev, status.st_ino)
        if key not in self._folders:
            if self._held > _MOST_HELD:
                self._folders, self._held = {}, 0
            self._folders[key] = _odd_names(folder)
            self._held += len(self._folders[key])
        return self._folders[key].get(name) or name


def _odd_names(folder: int) -> Dict[bytes, bytes]:
    """Names in a folder that are not UTF-8: displayed name -> real name, or b"" if several names
    are displayed the same."""
    found: Dict[bytes, bytes] = {}
    try:
        readable = reopened(folder)
    except OSError:
        return found
    try:
        with os.scandir(readable) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                seen = shown(name).encode()
                if seen != name:
                    found[seen] = b"" if seen in found else name
    except OSError:
        pass
    finally:
        os.close(readable)
    return found


def _is_there(folder: int, name: bytes) -> bool:
    try:
        os.close(os.open(name, _STEP, dir_fd=folder))
        return True
    except OSError:
        return False
