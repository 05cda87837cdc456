"""Tar archives in and out of working folders: safely in, the same bytes each time out."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from typing import Iterator, List, NoReturn, Optional, Tuple

from hostler_agent.folders import Refusal

_PIECE = 256 * 1024
_LONGEST_NAME = 255


def extract(archive: str, target: str) -> None:
    """Unpack a tar file below `target`, which exists.

    Refused as a whole: absolute paths, "..", links that lead out, devices, fifos, compression (a
    small file may be huge then). Set-user-id bits and owners are dropped. What is there already is
    replaced, never followed if it is a link.
    Raises Refusal for a bad archive, OSError for a full disk.
    """
    root = os.path.realpath(target)
    try:
        with tarfile.open(archive, "r:") as tar:
            members = tar.getmembers()
            for member in members:
                _check(member)
            later: List[Tuple[str, tarfile.TarInfo]] = []
            for member in members:
                path = os.path.join(root, member.name)
                _make_parents(root, member.name)
                _put(tar, member, path, root)
                if member.isdir():
                    later.append((path, member))
            for path, member in reversed(later):
                os.chmod(path, member.mode & 0o777 | 0o700)
                os.utime(path, (member.mtime, member.mtime))
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise Refusal("the archive cannot be read: %s" % error, "InputError") from error


def _check(member: tarfile.TarInfo) -> None:
    parts = member.name.split("/")
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        text = "the archive holds %r..., a name that is too long"
        raise Refusal(text % member.name[:80], "InputError")
    if member.name.startswith("/") or ".." in parts or "\0" in member.name:
        raise Refusal("the archive holds %r, which leads out of it" % member.name, "InputError")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise Refusal("the archive holds %r, a special file" % member.name, "InputError")
    if member.issym() and not _stays_inside(member.name, member.linkname):
        _refuse_link(member)
    if member.islnk() and (member.linkname.startswith("/") or ".." in member.linkname.split("/")):
        _refuse_link(member)


def _stays_inside(name: str, target: str) -> bool:
    """Whether a link cannot lead out. ".." may only come first: after a name it would be resolved
    through whatever that name is, and links in links could climb out."""
    if not target or target.startswith("/") or "\0" in target:
        return False
    depth = len([part for part in name.split("/") if part not in ("", ".")]) - 1
    steps = [part for part in target.split("/") if part not in ("", ".")]
    climbs = [part == ".." for part in steps]
    up = climbs.index(False) if False in climbs else len(steps)
    return up <= depth and ".." not in steps[up:]


def _refuse_link(member: tarfile.TarInfo) -> NoReturn:
    text = "the archive holds the link %r, which leads out of it"
    raise Refusal(text % member.name, "InputError")


def _make_parents(root: str, name: str) -> None:
    """Make the folders above a member; a link in that place is not followed but refused."""
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
            raise Refusal("the archive puts %r below something that is no folder" % name)


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, root: str) -> None:
    there = _lstat(path)
    if member.isdir():
        if there is not None and not stat.S_ISDIR(there.st_mode):
            os.unlink(path)
            there = None
        if there is None:
            os.mkdir(path, 0o700)
        return
    if there is not None:
        if stat.S_ISDIR(there.st_mode):
            raise Refusal("the archive holds %r, where a folder is" % member.name, "InputError")
        os.unlink(path)
    if member.issym():
        os.symlink(member.linkname, path)
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
    elif member.islnk():
        os.link(_inside(root, member.linkname), path, follow_symlinks=False)
    else:
        _write(tar, member, path)


def _inside(root: str, name: str) -> str:
    path = os.path.join(root, name)
    if os.path.realpath(os.path.dirname(path)) != os.path.normpath(os.path.dirname(path)):
        raise Refusal("the archive links to %r through a link" % name, "InputError")
    there = _lstat(path)
    if there is None or not stat.S_ISREG(there.st_mode):
        raise Refusal("the archive links to %r, which is no earlier file" % name, "InputError")
    return path


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise Refusal("the archive is broken at %r" % member.name, "InputError")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, member.mode & 0o777 | 0o600)
    with source, open(descriptor, "wb") as target:
        while True:
            piece = source.read(_PIECE)
            if not piece:
                break
            target.write(piece)
        os.fchmod(target.fileno(), member.mode & 0o777 | 0o600)
    os.utime(path, (member.mtime, member.mtime))


def _lstat(path: str) -> Optional[os.stat_result]:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def stream(path: str) -> Iterator[bytes]:
    """The tar stream of a folder's content, or of one file, in GNU format.

    Names are sorted, owners and times to the second only, so that an unchanged folder gives the
    same bytes again. Links are kept as links; special files are left out. A file that shrinks
    while it is read is filled up with zeros. Raises OSError.
    """
    if os.path.isdir(path):
        yield from _folder(path, "")
    else:
        yield from _member(path, os.path.basename(path))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _folder(path: str, prefix: str) -> Iterator[bytes]:
    for name in sorted(os.listdir(path)):
        inner = os.path.join(path, name)
        yield from _member(inner, prefix + name)
        if os.path.isdir(inner) and not os.path.islink(inner):
            yield from _folder(inner, prefix + name + "/")


def _member(path: str, name: str) -> Iterator[bytes]:
    status = os.lstat(path)
    info = tarfile.TarInfo(name)
    info.mode = status.st_mode & 0o777
    info.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type = tarfile.SYMTYPE
        info.linkname = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        info.size = status.st_size
    else:
        return
    yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    if info.size:
        yield from _content(path, info.size)
        yield bytes(-info.size % tarfile.BLOCKSIZE)


def _content(path: str, size: int) -> Iterator[bytes]:
    left = size
    with open(path, "rb") as file:
        while left:
            piece = file.read(min(_PIECE, left)) or bytes(min(_PIECE, left))
            left -= len(piece)
            yield piece


class Skipped:
    """The pieces of a stream from byte `offset` on, while all of it is counted and hashed."""

    def __init__(self, pieces: Iterator[bytes], offset: int) -> None:
        self._pieces = pieces
        self._offset = offset
        self._digest = hashlib.sha256()
        self.size = 0
        """Bytes so far, those that were skipped included."""

    @property
    def sha256(self) -> str:
        """Of all bytes so far, in hex."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._digest.update(piece)
            start = max(0, self._offset - self.size)
            self.size += len(piece)
            if start < len(piece):
                yield piece[start:]
