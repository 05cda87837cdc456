"""Writes downloaded files below one folder through `.part` files: free space, other programs'
locks, never through a symbolic link.

Each arrives as `.NAME.part-KEY` beside its place, private to its owner, and is renamed when it is
whole. The folder may be one that others may write to, too: nothing of theirs is opened or followed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from hostler.base.errors import ConflictError, HostlerError, InputError
from hostler.base.text import clean_line
from hostler.base.units import format_size

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PART = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EXDEV)
_CHUNK = 1024 * 1024
_TRIES = 5
_OTHER_DISK = "free some space, or name a folder on another disk with -o"


class There(StrEnum):
    """What exists at the target path of a file."""

    NOTHING = "nothing"
    SAME = "same"
    """The same file: it need not be fetched."""
    OTHER = "other"
    """Another file or link, which may be replaced on request."""
    IN_THE_WAY = "in the way"
    """A folder, a device or the like, which is never replaced."""


class Target:
    """The folder for the files. It is made for the first file."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._made: list[tuple[str, ...]] = []

    def there(self, parts: Sequence[str], size: int, sha256: str | None, link: str | None) -> There:
        """What exists at a path now. Raises InputError if a link or file is on the way to it."""
        try:
            with self._entered(parts, make=False) as (folder, name):
                return _there(folder, name, size, sha256, link)
        except FileNotFoundError:
            return There.NOTHING

    def may_be(self, parts: Sequence[str], size: int) -> bool:
        """Whether a plain file of that size exists there."""
        with self._entered(parts, make=False) as (folder, name):
            found = _lstat(folder, name)
        return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == size

    def require_room(self, size: int) -> None:
        """Raise HostlerError where the disk has less than `size` bytes free."""
        at = self.folder.absolute()
        while not at.exists() and at != at.parent:
            at = at.parent
        _require_room(size, at, str(self.folder))

    def unusable(self, error: OSError) -> HostlerError:
        """The error for a target folder that cannot be written to."""
        is_full = error.errno in _FULL
        return HostlerError(
            f"{clean_line(str(self.folder), 300)} cannot be written to: {error.strerror or error}",
            remedy=_OTHER_DISK if is_full else "name another folder with -o",
        )

    @contextlib.contextmanager
    def part(self, parts: Sequence[str], key: str) -> Iterator[Part]:
        """The partial file; `key` names its version. Renamed when it is finished; otherwise kept,
        to resume later."""
        with self._entered(parts, make=True) as (folder, name):
            part = Part(folder, name, key, self._told(parts))
            try:
                yield part
            finally:
                part.close()

    def make_link(self, parts: Sequence[str], to: str, *, replace: bool) -> None:
        """Create a symbolic link. Raises ConflictError if the path was created meanwhile."""
        with self._entered(parts, make=True) as (folder, name):
            if replace:
                _unlink_unless_folder(folder, name)
            try:
                os.symlink(to, name, dir_fd=folder)
            except FileExistsError:
                raise _came_meanwhile(self._told(parts)) from None

    def tidy(self) -> None:
        """Remove folders that were made here and stayed empty."""
        for parts in reversed(self._made):
            with contextlib.suppress(OSError, InputError):
                if parts:
                    with self._entered(parts, make=False) as (folder, name):
                        os.rmdir(name, dir_fd=folder)
                else:
                    self.folder.rmdir()

    @contextlib.contextmanager
    def _entered(self, parts: Sequence[str], *, make: bool) -> Iterator[tuple[int, str]]:
        """The folder of a file, open, and the file's name."""
        at = self._open_root(make)
        try:
            for depth, part in enumerate(parts[:-1]):
                at = self._step(at, parts[: depth + 1], part, make)
            yield at, parts[-1]
        finally:
            os.close(at)

    def _open_root(self, make: bool) -> int:
        if make and not self.folder.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._made.append(())
        try:
            return os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError:
            raise InputError(
                f"{self.folder} is not a folder", remedy="name the target folder"
            ) from None

    def _step(self, at: int, way: Sequence[str], part: str, make: bool) -> int:
        """Open the folder below; closes the one above on success."""
        while True:
            try:
                below = os.open(part, _FOLDER, dir_fd=at)
            except FileNotFoundError:
                if not make:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=at)
                    self._made.append(tuple(way))
                continue
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                told = self._told(way)
                kind = "a link" if _is_link(at, part) else "not a folder"
                raise InputError(
                    f"{told} is {kind}; files cannot be written there",
                    remedy="move it away, or name another folder with -o",
                ) from None
            os.close(at)
            return below

    def _told(self, parts: Sequence[str]) -> str:
        return clean_line(str(self.folder.joinpath(*parts)), 300)


class Part:
    """A partial file, held by one program at a time."""

    def __init__(self, folder: int, name: str, key: str, told: str) -> None:
        self._folder, self._final, self._told = folder, name, told
        self.name = _part_name(name, key)
        self._file = self._open()
        self._sha256 = hashlib.sha256()
        self.size = 0
        while data := os.read(self._file, _CHUNK):
            self._sha256.update(data)
            self.size += len(data)

    @property
    def digest(self) -> str:
        """SHA-256 of the present bytes."""
        return self._sha256.hexdigest()

    def expect(self, size: int) -> None:
        """The file is larger than listed. Raises HostlerError if the disk has no space for it."""
        _require_room(size - self.size, self._file, self._told)

    def write(self, data: bytes) -> None:
        """Add bytes. On a full disk the partial file is removed, and HostlerError is raised."""
        rest = memoryview(data)
        try:
            while rest:
                written = os.write(self._file, rest)
                self._sha256.update(rest[:written])
                self.size += written
                rest = rest[written:]
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.discard()
            raise HostlerError(
                f"{self._told} cannot be written: {error.strerror}",
                remedy=_OTHER_DISK,
            ) from error

    def restart(self) -> None:
        """Start again: these bytes belong to another version."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._sha256, self.size = hashlib.sha256(), 0

    def finish(self, mode: int | None, *, replace: bool) -> None:
        """Rename it to its final name. Raises ConflictError if that path was created meanwhile."""
        runs = 0o111 if mode is not None and mode & 0o100 else 0
        os.fchmod(self._file, (0o666 | runs) & ~_umask())
        at = {"src_dir_fd": self._folder, "dst_dir_fd": self._folder}
        if replace:
            os.replace(self.name, self._final, **at)  # noqa: PTH105 (Path knows no descriptors)
            return
        try:
            os.link(self.name, self._final, follow_symlinks=False, **at)
        except FileExistsError:
            raise _came_meanwhile(self._told) from None
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if _lstat(self._folder, self._final) is not None:
                raise _came_meanwhile(self._told) from None
            os.rename(self.name, self._final, **at)  # noqa: PTH104
            return
        os.unlink(self.name, dir_fd=self._folder)

    def discard(self) -> None:
        """Remove it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self._folder)

    def close(self) -> None:
        """Release it."""
        os.close(self._file)

    def _open(self) -> int:
        for _ in range(_TRIES):
            try:
                file = os.open(self.name, _PART, 0o600, dir_fd=self._folder)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EACCES):
                    raise
                if _lstat(self._folder, self.name) is None:
                    raise  # the folder is closed to us
                raise self._foreign() from None
            try:
                if self._holds(file):
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)  # it got its name, or was removed, between the two
        raise ConflictError(f"{self._told} is locked by other programs that fetch it")

    def _holds(self, file: int) -> bool:
        """Whether only this program has it, and it still has this name."""
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            raise self._foreign()
        os.fchmod(file, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"{self._told} is being fetched by another program", remedy="wait for it"
            ) from None
        except OSError:
            pass  # a file system without locks
        named = _lstat(self._folder, self.name)
        return named is not None and (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino)

    def _foreign(self) -> InputError:
        beside = clean_line(str(Path(self._told).with_name(self.name)), 300)
        return InputError(
            f"{beside} already exists and does not belong to you",
            remedy="remove it, or name another folder with -o",
        )


def _require_room(size: int, at: Path | int, told: str) -> None:
    free = os.statvfs(at)
    room = free.f_bavail * free.f_frsize
    if size > room:
        raise HostlerError(
            f"the files need {format_size(size)}, and the disk of {told} has "
            f"{format_size(room)} free",
            remedy=_OTHER_DISK,
        )


def _there(folder: int, name: str, size: int, sha256: str | None, link: str | None) -> There:
    found = _lstat(folder, name)
    if found is None:
        return There.NOTHING
    if stat.S_ISLNK(found.st_mode):
        same = link is not None and os.readlink(name, dir_fd=folder) == link
        return There.SAME if same else There.OTHER
    if not stat.S_ISREG(found.st_mode):
        return There.IN_THE_WAY
    if link is not None or sha256 is None or found.st_size != size:
        return There.OTHER
    return There.SAME if _hash(folder, name) == sha256 else There.OTHER


def _hash(folder: int, name: str) -> str | None:
    try:
        with os.fdopen(os.open(name, _READ, dir_fd=folder), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # it cannot be read: then it is not known to be the same


def _lstat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_link(folder: int, name: str) -> bool:
    found = _lstat(folder, name)
    return found is not None and stat.S_ISLNK(found.st_mode)


def _unlink_unless_folder(folder: int, name: str) -> None:
    found = _lstat(folder, name)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)


def _part_name(name: str, key: str) -> str:
    short = os.fsdecode(os.fsencode(name)[:200])  # a name has 255 bytes at most
    return f".{short}.part-{key}"


def _came_meanwhile(told: str) -> ConflictError:
    return ConflictError(
        f"{told} was created during the download", remedy="check it; --force replaces it"
    )


def _umask() -> int:
    """Read, not set and set back: other threads create files, too."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022
