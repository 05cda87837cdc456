"""Checks an untrusted tar file as it is read: which names, kinds, links and headers are refused,
and in which words.

The daemon and the agent both read archives only through this module; each turns BadArchive into an
error of its own. Compressed archives are refused, because a small file may be huge when unpacked.
Extended headers can make a small archive expensive: up to Python 3.12.5, tarfile searches them by
regular expressions whose time and memory grow with the square of their size, and other threads must
wait. 60 KB stopped a daemon for half a minute, or took a gigabyte.
"""

from __future__ import annotations

import os
import re
import tarfile
from typing import BinaryIO, Iterator, Optional

from hostler_agent.archive_limits import excess, is_too_long

UNREADABLE = (
    tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, RecursionError,
)  # fmt: skip
"""Exceptions that tarfile raises for crafted headers."""
_MOST_AT_ONCE = 64 * 1024
_MOST_OF_MEMBER = 256 * 1024
"""Limit of all headers of one member, in bytes."""
_MOST_GLOBAL = 100
"""Limit of fields that apply to all later members: tarfile copies them for each."""
_LONG_NUMBER = re.compile(rb"[0-9]{100,}")
_MOST_OF_NUMBERS = 100_000_000
"""Limit of the sum of the squared lengths of long numbers: to find these takes about a second."""
_KIND, _SIZE = slice(156, 157), slice(124, 136)
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_HEADER, _FIELDS, _NAME, _CONTENTS = "header", "fields", "name", "contents"
"""The part of a member that tarfile reads next. Contents may look like a header but are none."""


class BadArchive(Exception):
    """An archive that is refused because of its content."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def bad_member(name: str, why: str, remedy: str = "") -> BadArchive:
    """The refusal of one member, by its name in the archive."""
    shown = repr(name[:200]) + ("..." if len(name) > 200 else "")
    return BadArchive("the archive holds %s, %s" % (shown, why), remedy)


def members(raw: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield all members in order, and keep none. Raises `UNREADABLE`, also if the file ends
    early."""
    raw.seek(0)
    reader = _HeaderReader(raw)
    with tarfile.open(fileobj=reader, mode="r:") as tar:  # type: ignore[call-overload]
        reached = -1
        while True:
            info = reader.next_member(tar)
            if info is None:
                break
            # Negative sizes in headers would make tarfile loop.
            if tar.offset <= reached or info.size < 0:
                raise tarfile.ReadError("sizes that lead backwards")
            reached = tar.offset
            yield info
        # tarfile also stops at an invalid header; only a block of zeros is the end.
        raw.seek(tar.offset)
        if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends early, or a header is broken")


def clean_path(name: str) -> str:
    """The name without "." and doubled slashes. Raises BadArchive if it leads out."""
    if name.startswith("/"):
        raise bad_member(name, "an absolute name, which leads out")
    if "\0" in name:
        raise bad_member(name, "a name with a NUL")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise bad_member(name, 'a name with "..", which leads out')
    too_long = excess(parts)
    if too_long:
        raise bad_member(name, too_long)
    return "/".join(parts)


def check_kind(path: str, info: tarfile.TarInfo) -> None:
    """Raises BadArchive for everything except plain files, folders and links."""
    if not path and not info.isdir():
        raise bad_member(info.name, "a file without a name")
    if info.issparse():
        raise bad_member(info.name, "a sparse file")
    if not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
        raise bad_member(info.name, "a special file: a device, FIFO or unknown kind of entry")


def check_link(path: str, info: tarfile.TarInfo) -> None:
    """Raises BadArchive for a symlink that leads out of the tree in which it lies at `path`."""
    if is_too_long(len(os.fsencode(info.linkname))):
        raise bad_member(info.name, "a link with a target that is too long")
    if not link_stays_inside(path, info.linkname):
        why = "a link that leads out, to %r" % info.linkname[:100]
        raise bad_member(info.name, why, "make the link relative")


def link_stays_inside(path: str, target: str) -> bool:
    """Whether a symlink at `path` (relative to the tree) cannot lead out of the tree.

    ".." may only come first: after a name the kernel would resolve that name first, and links in
    links could lead out. Parents of `path` must be real folders.
    """
    if not target or target.startswith("/") or "\0" in target:
        return False
    steps = [part for part in target.split("/") if part not in ("", ".")]
    up = next((at for at, part in enumerate(steps) if part != ".."), len(steps))
    return up <= path.count("/") and ".." not in steps[up:]


def check_count(count: int, most: int) -> None:
    """Raises BadArchive for more than `most` members, or folders that occur only in the paths of
    members."""
    if count > most:
        raise BadArchive("the archive holds more than %s files and folders" % format(most, ","))


class RangeReader:
    """Reads a part of a file. Raises ReadError if the file ends before that part does."""

    def __init__(self, raw: BinaryIO, offset: int, size: int) -> None:
        self._raw = raw
        self._at = offset
        self._left = size

    def read(self, limit: int = -1) -> bytes:
        """At most `limit` bytes; b"" at the end of the part."""
        wanted = self._left if limit < 0 else min(limit, self._left)
        if wanted == 0:
            return b""
        self._raw.seek(self._at)
        data = self._raw.read(wanted)
        if not data:
            raise tarfile.ReadError("unexpected end of data")
        self._at += len(data)
        self._left -= len(data)
        return data


class _HeaderReader:
    """A file for tarfile, which reads headers from it and seeks past contents."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.seek, self.tell = raw.seek, raw.tell
        self._left = _MOST_OF_MEMBER
        self._numbers = 0
        self._next = _HEADER
        self._size = 0
        """Size of the extended fields that come next, in bytes."""

    def next_member(self, tar: tarfile.TarFile) -> Optional[tarfile.TarInfo]:
        """Like `tar.next()`, but keeps nothing. Raises the same exceptions as tarfile."""
        self._left = _MOST_OF_MEMBER
        self._next = _HEADER
        info = tar.next()
        tar.members.clear()  # type: ignore[attr-defined]
        if len(tar.pax_headers) > _MOST_GLOBAL:
            raise tarfile.ReadError("too many fields that are to hold for all members")
        return info

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes. Raises ReadError if headers are too long, or fields are invalid."""
        if size < 0 or size > _MOST_AT_ONCE or size > self._left:
            raise tarfile.ReadError("a header that is too large")
        self._left -= size
        data = self._raw.read(size)
        if size != 1:  # tarfile checks for a byte before the next header
            self._see(data)
        return data

    def _see(self, data: bytes) -> None:
        if self._next == _FIELDS:
            self._check_fields(data, self._size)
        if self._next in (_FIELDS, _NAME):
            self._next = _HEADER
        elif self._next == _HEADER:
            self._next = self._after(data)

    def _after(self, header: bytes) -> str:
        """The part that follows a header."""
        if header[_KIND] in _EXTENDED:
            self._size = tarfile.nti(header[_SIZE])  # type: ignore[attr-defined]
            return _FIELDS
        return _NAME if header[_KIND] in _LONG_NAMES else _CONTENTS

    def _check_fields(self, data: bytes, size: int) -> None:
        """Raises ReadError unless the data consists of fields "LENGTH name=value\\n" without
        gaps."""
        at = 0
        while at < min(size, len(data)) and data[at]:
            length = data[at : at + 8].partition(b" ")[0]
            end = at + int(length) if length.isdigit() else at
            field = data[at:end]
            if not field.endswith(b"\n") or b"=" not in field[len(length) + 1 :]:
                raise tarfile.ReadError("a broken extended header")
            at = end
        self._numbers += sum(len(number) ** 2 for number in _LONG_NUMBER.findall(data))
        if self._numbers > _MOST_OF_NUMBERS:
            raise tarfile.ReadError("extended headers with too long numbers")
