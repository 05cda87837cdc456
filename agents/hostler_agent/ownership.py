"""Rewrites a tar stream so that every entry belongs to one user, before Docker unpacks it.

Docker gives each entry the owner that the tar names, and archives in the cache name none. Standard
library only, without `tarfile`: headers are changed in place, so that the length stays the same.
"""

from __future__ import annotations

import re
from typing import Iterable, Iterator, Optional

from hostler_agent.folders import Refusal

_BLOCK = 512
_PAX_CAP = 1024 * 1024
_SIZE = re.compile(rb"(?:^|\n)\d+ size=(\d+)(?=\n)")
# Links, devices, folders and FIFOs have no content, even if their header has a size.
_EMPTY = (b"1", b"2", b"3", b"4", b"5", b"6")


def owned(pieces: Iterable[bytes], uid: int, gid: int) -> Iterator[bytes]:
    """The tar of `pieces`, all of its entries owned by `uid` and `gid`.

    Raises Refusal if it is not a tar.
    """
    tar = _Blocks(pieces)
    size: Optional[int] = None
    while True:
        head = tar.take(_BLOCK)
        if len(head) < _BLOCK or not head.strip(b"\0"):
            break
        kind = head[156:157]
        stated = _stated_size(head) if size is None else size
        size = None
        yield _patched(head, uid, gid)
        if kind in (b"x", b"g"):
            if stated > _PAX_CAP:
                raise Refusal("the archive has a header of %d bytes" % stated, "InputError")
            body = tar.take(_padded(stated))
            match = _SIZE.search(body[:stated])
            size = int(match.group(1)) if match and kind == b"x" else None
            yield body
        elif kind not in _EMPTY:
            yield from tar.through(_padded(stated))
    yield head
    yield from tar.rest()


class _Blocks:
    """Reads a requested number of bytes from pieces of any size."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._data = b""

    def take(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        while len(self._data) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._data += piece
        data, self._data = self._data[:size], self._data[size:]
        return data

    def through(self, size: int) -> Iterator[bytes]:
        """Yield `size` bytes, as they arrive."""
        while size:
            if not self._data:
                self._data = next(self._pieces, b"")
                if not self._data:
                    return
            piece, self._data = self._data[:size], self._data[size:]
            size -= len(piece)
            yield piece

    def rest(self) -> Iterator[bytes]:
        """Yield all remaining bytes."""
        yield self._data
        yield from self._pieces


def _padded(size: int) -> int:
    return (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _stated_size(head: bytes) -> int:
    field = head[124:136]
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError as error:
        raise Refusal("the archive is not a tar file", "InputError") from error


def _patched(head: bytes, uid: int, gid: int) -> bytes:
    head = head[:108] + _number(uid) + _number(gid) + head[124:]
    head = head[:265] + bytes(64) + head[329:]
    total = sum(head[:148]) + 8 * ord(" ") + sum(head[156:])
    return head[:148] + b"%06o\0 " % total + head[156:]


def _number(value: int) -> bytes:
    if value < 8**7:
        return b"%07o\0" % value
    return b"\x80" + value.to_bytes(7, "big")
