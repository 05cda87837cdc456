"""What tarfile reads of an untrusted archive: its headers, each checked before tarfile sees it.

Extended headers are where a small archive costs much. Up to Python 3.12.5 tarfile looks through
them by regular expressions that take a time and a memory quadratic in their size, and hold the
interpreter meanwhile: 60 KB stopped a daemon for half a minute, or took a gigabyte.
"""

from __future__ import annotations

import os
import re
import tarfile
from typing import BinaryIO

from hostler.base.units import KIB

_MOST_AT_ONCE = 64 * KIB
_MOST_OF_MEMBER = 256 * KIB
"""Bytes of all headers of one member."""
_MOST_GLOBAL = 100
"""Fields that hold for all members after them; tarfile copies them for each."""
_LONG_NUMBER = re.compile(rb"[0-9]{100,}")
_MOST_OF_NUMBERS = 100_000_000
"""Squares of the lengths of long numbers, together: what looking for them costs, about a second."""
_KIND, _SIZE = slice(156, 157), slice(124, 136)
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


class HeaderReader:
    """A file for tarfile, which reads headers by it and seeks past contents."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._left = _MOST_OF_MEMBER
        self._numbers = 0
        self._extended: bytes | None = None
        """The header whose fields come next."""

    def next_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        """As `tar.next()`, but nothing of it is kept. Raises what tarfile does."""
        self._left = _MOST_OF_MEMBER
        self._extended = None
        info = tar.next()
        tar.members.clear()  # type: ignore[attr-defined]
        if len(tar.pax_headers) > _MOST_GLOBAL:
            raise tarfile.ReadError("too many fields that are to hold for all members")
        return info

    def read(self, size: int = -1) -> bytes:
        """So many bytes. Raises ReadError for more than headers need, and for broken fields."""
        if size < 0 or size > _MOST_AT_ONCE or size > self._left:
            raise tarfile.ReadError("a header that is too large")
        self._left -= size
        data = self._raw.read(size)
        if self._extended is not None:
            self._check_fields(data, tarfile.nti(self._extended[_SIZE]))  # type: ignore[attr-defined]
            self._extended = None
        elif data[_KIND] in _EXTENDED:
            self._extended = data
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._raw.tell()

    def _check_fields(self, data: bytes, size: int) -> None:
        """Raises ReadError where they are not each "LENGTH name=value\\n", end to end."""
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
