"""Unpacks tar archives safely into working folders (refuses names and links that lead out, bad
times, too many bytes), and packs reproducible ones."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from typing import (
    BinaryIO,
    Callable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
)

from hostler_agent.archive_limits import MOST_BYTES, MOST_ENTRIES
from hostler_agent.folders import Refusal
from hostler_agent.tarcheck import (
    UNREADABLE,
    BadArchive,
    bad_member,
    check_count,
    check_kind,
    check_link,
    clean_path,
    members,
)

_PIECE = 256 * 1024
_DEEPEST = 200
_LATEST = 2.0**40
"""The largest distance of a file's time from 1970, in seconds."""


class Caps(NamedTuple):
    """Limits of an archive: a larger one is refused."""

    entries: int = MOST_ENTRIES
    size: int = MOST_BYTES


Record = Callable[[str, str, str], None]
"""Called for each unpacked file and link: its name, its path, and its SHA-256 or the link's
target."""


def extract(
    archive: str, target: str, caps: Optional[Caps] = None, record: Optional[Record] = None
) -> None:
    """Unpack a tar file below `target`, which must exist.

    The whole archive is refused, before anything is written, if it contains an absolute path, "..",
    a link that leads out, a device, a fifo or a sparse file, if it is compressed (a small file may
    be huge when unpacked), or if it exceeds `caps`. Set-user-id bits and owners are dropped.
    Existing files are replaced; existing links are never followed. Raises Refusal for a bad
    archive, OSError for a full disk.
    """
    root = os.path.realpath(target)
    try:
        with open(archive, "rb") as raw:
            _check_all(raw, caps or Caps())
            _unpack(raw, root, record)
    except BadArchive as error:
        raise Refusal(str(error), "InputError") from error
    except UNREADABLE as error:
        raise Refusal("the archive cannot be read: %s" % error, "InputError") from error


def _check_all(raw: BinaryIO, caps: Caps) -> None:
    seen, files, size = 0, 0, 0
    folders: Set[str] = set()
    for member in members(raw):
        path = _check(member)
        seen += 1
        files += 0 if member.isdir() else 1
        size += member.size if member.isreg() else 0
        _add_folders(path if member.isdir() else os.path.dirname(path), folders)
        check_count(max(seen, files + len(folders)), caps.entries)
        if size > caps.size:
            text = "the archive holds more than %.4g GiB when unpacked"
            raise BadArchive(text % (caps.size / 1024**3))


def _add_folders(path: str, folders: Set[str]) -> None:
    """Add a folder and those above it."""
    while path and path not in folders:
        folders.add(path)
        path = os.path.dirname(path)


def _unpack(raw: BinaryIO, root: str, record: Optional[Record]) -> None:
    later: List[Tuple[str, int, float]] = []
    for member in members(raw):
        path = os.path.join(root, member.name)
        _make_parents(root, member.name)
        content = _put(raw, member, path, root, record is not None)
        if record is not None and not member.isdir():
            record(member.name, path, content)
        if record is not None and member.islnk():
            record(member.linkname, _inside(root, member.linkname), content)  # its ctime changed
        if member.isdir():
            later.append((path, member.mode, member.mtime))
    for path, mode, mtime in reversed(later):
        os.chmod(path, mode & 0o777 | 0o700)
        os.utime(path, (mtime, mtime))


def _check(member: tarfile.TarInfo) -> str:
    """Return the path of a member that may be unpacked. Raises BadArchive for any other."""
    path = clean_path(member.name)
    check_kind(path, member)
    if not abs(member.mtime) < _LATEST:
        raise bad_member(member.name, "with an invalid time")
    if member.issym():
        check_link(path, member)
    if member.islnk():
        clean_path(member.linkname)
    return path


def _make_parents(root: str, name: str) -> None:
    """Make the folders above a member. A link in the place of a folder is refused."""
    at = root
    for part in os.path.dirname(name).split("/"):
        if part in ("", "."):
            continue
        at = os.path.join(at, part)
        try:
            mode = os.lstat(at).st_mode
        except FileNotFoundError:
            os.mkdir(at, 0o755)
            continue
        if not stat.S_ISDIR(mode):
            raise Refusal("the archive puts %r below something that is not a folder" % name)


def _put(raw: BinaryIO, member: tarfile.TarInfo, path: str, root: str, hashed: bool) -> str:
    """Write a member. Returns the target of a symlink, the SHA-256 of a file if `hashed`, else
    ""."""
    there = _lstat(path)
    if member.isdir():
        if there is not None and not stat.S_ISDIR(there.st_mode):
            os.unlink(path)
            there = None
        if there is None:
            os.mkdir(path, 0o700)
        return ""
    if there is not None:
        if stat.S_ISDIR(there.st_mode):
            raise Refusal("the archive holds %r, where a folder is" % member.name, "InputError")
        os.unlink(path)
    if member.issym():
        os.symlink(member.linkname, path)
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
        return member.linkname
    digest = hashlib.sha256() if hashed else None
    if member.islnk():
        os.link(_inside(root, member.linkname), path, follow_symlinks=False)
        if digest is not None:
            _add_file(digest, path)
    else:
        _write(raw, member, path, digest)
    return digest.hexdigest() if digest is not None else ""


def _add_file(digest: hashlib._Hash, path: str) -> None:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        while True:
            piece = file.read(_PIECE)
            if not piece:
                return
            digest.update(piece)


def _inside(root: str, name: str) -> str:
    path = os.path.join(root, name)
    if os.path.realpath(os.path.dirname(path)) != os.path.normpath(os.path.dirname(path)):
        raise Refusal("the archive links to %r through a link" % name, "InputError")
    there = _lstat(path)
    if there is None or not stat.S_ISREG(there.st_mode):
        raise Refusal("the archive links to %r, which is no earlier file" % name, "InputError")
    return path


def _write(
    raw: BinaryIO, member: tarfile.TarInfo, path: str, digest: Optional[hashlib._Hash]
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, member.mode & 0o777 | 0o600)
    left = member.size
    raw.seek(member.offset_data)
    with open(descriptor, "wb") as target:
        while left:
            piece = raw.read(min(_PIECE, left))
            if not piece:
                raise Refusal("the archive is broken at %r" % member.name, "InputError")
            target.write(piece)
            if digest is not None:
                digest.update(piece)
            left -= len(piece)
        os.fchmod(target.fileno(), member.mode & 0o777 | 0o600)
    os.utime(path, (member.mtime, member.mtime))


def _lstat(path: str) -> Optional[os.stat_result]:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def stream(step: int, name: str) -> Iterator[bytes]:
    """Yield the tar stream, in GNU format, of an opened folder's content, or of one file called
    `name`.

    An unchanged folder gives the same bytes again: names are sorted, owners are omitted, and times
    have whole seconds. Links stay links and are never followed; special files are left out. Raises
    OSError, and Refusal for a mount inside or a file that becomes shorter.
    """
    from hostler_agent import beneath

    if stat.S_ISDIR(os.fstat(step).st_mode):
        folder = beneath.reopened(step)
        try:
            yield from _folder(folder, "", 0)
        finally:
            os.close(folder)
    elif stat.S_ISREG(os.fstat(step).st_mode):
        yield from _file(beneath.reopened(step), name)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _folder(folder: int, prefix: str, depth: int) -> Iterator[bytes]:
    from hostler_agent import beneath

    for name in sorted(os.listdir(folder)):
        status = beneath.status_of(folder, os.fsencode(name))
        if stat.S_ISDIR(status.st_mode):
            if depth >= _DEEPEST:
                raise Refusal("%s: folders in folders that are too deep" % prefix[:80])
            yield _head(prefix + name, status, tarfile.DIRTYPE)
            inner = beneath.enter(folder, os.fsencode(name))
            try:
                yield from _folder(inner, prefix + name + "/", depth + 1)
            finally:
                os.close(inner)
        elif stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=folder)
            yield _head(prefix + name, status, tarfile.SYMTYPE, target)
        elif stat.S_ISREG(status.st_mode):
            plain = beneath.open_plain(folder, os.fsencode(name))
            if plain is not None:
                yield from _file(plain, prefix + name)


def _head(name: str, status: os.stat_result, kind: bytes, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.mode, info.mtime = status.st_mode & 0o777, int(status.st_mtime)
    info.size = status.st_size if kind == tarfile.REGTYPE else 0
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _file(descriptor: int, name: str) -> Iterator[bytes]:
    """Yield a file's header and content, then close it."""
    try:
        status = os.fstat(descriptor)
        yield _head(name, status, tarfile.REGTYPE)
        left = status.st_size
        while left:
            piece = os.read(descriptor, min(_PIECE, left))
            if not piece:
                text = "%s became shorter while it was read"
                raise Refusal(text % name.encode("utf-8", "replace").decode(), "ConflictError")
            left -= len(piece)
            yield piece
        yield bytes(-status.st_size % tarfile.BLOCKSIZE)
    finally:
        os.close(descriptor)


class Skipped:
    """Yields a stream from byte `offset` on; counts and hashes all of it. Calls `pulse` for each
    skipped piece."""

    def __init__(self, pieces: Iterator[bytes], offset: int, pulse: Callable[[], None]) -> None:
        self._pieces, self._pulse = pieces, pulse
        self._offset = offset
        self._digest = hashlib.sha256()
        self.size = 0
        """Bytes so far, including skipped ones."""

    @property
    def sha256(self) -> str:
        """SHA-256 of all bytes so far, in hex."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._digest.update(piece)
            start = max(0, self._offset - self.size)
            self.size += len(piece)
            if start < len(piece):
                yield piece[start:]
            else:
                self._pulse()
