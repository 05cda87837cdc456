"""Sends the files of a build as BuildKit requests them (its fsutil protocol): the names, then the
contents that BuildKit lacks.

The protocol is that of tonistiigi/fsutil. The sender sends a message for each file, folder and link
in the order of a walk, then an empty one. The receiver requests contents by the numbers of files in
that order, until it has enough.
"""

from __future__ import annotations

import asyncio
import stat
import struct
from collections import deque
from collections.abc import Callable, Sequence

from hostler.packing.dockerignore import lineage
from hostler.runtimes.docker.context import Piece
from hostler.runtimes.docker.protobuf import BadMessage, fields, number_of, written, written_number

_STAT, _REQUEST, _DATA, _FIN, _ERROR = range(5)
_TYPE, _OF, _ID, _CONTENT = 1, 2, 3, 4
_PATH, _MODE, _SIZE, _LINK = 1, 2, 5, 7
_KINDS = {"folder": 1 << 31, "link": 1 << 27, "file": 0}
_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}
"""Bits of file modes as Go writes them."""
_CHUNK = 256 * 1024
_MESSAGE_CAP = 64 * 1024
_LONGEST_PATH = 4096
_SPECIAL = frozenset("*?[]\\!")
_FRAME = struct.Struct(">BI")


class BadRequest(Exception):
    """The receiver violated the protocol."""


class FileSender:
    """Sends some files in one call. `told` is called with the number of sent bytes of contents."""

    def __init__(self, pieces: Sequence[Piece], told: Callable[[int], None]) -> None:
        self._walk = sorted(pieces, key=_place)
        self._told = told
        self._named = 0
        self._lacking = {n: each for n, each in enumerate(self._walk) if each.entry.kind == "file"}
        self._asked: deque[tuple[int, Piece, int]] = deque()
        """Number of a file, the file, and how many of its bytes were sent."""
        self._taken, self._ready = bytearray(), bytearray()
        self._has_enough = self._has_said_so = False

    @property
    def is_over(self) -> bool:
        """Whether all messages were sent."""
        return self._has_said_so and not self._ready

    def feed(self, data: bytes) -> None:
        """Handle data from the receiver. Raises BadRequest."""
        self._taken += data
        while len(self._taken) >= _FRAME.size:
            packed, size = _FRAME.unpack_from(self._taken)
            if packed or size > _MESSAGE_CAP:
                raise BadRequest
            end = _FRAME.size + size
            if len(self._taken) < end:
                return
            message = bytes(self._taken[_FRAME.size : end])
            del self._taken[:end]
            self._hear(message)

    async def take(self, most: int) -> bytes:
        """Up to `most` bytes to send now; empty: wait for data from the receiver first."""
        if not self._ready:
            await self._prepare()
        data = bytes(self._ready[:most])
        del self._ready[:most]
        return data

    def _hear(self, message: bytes) -> None:
        try:
            found = dict(fields(message))
        except BadMessage as error:
            raise BadRequest from error
        kind = number_of(found.get(_TYPE))
        if kind == _REQUEST:
            number = number_of(found.get(_ID))
            piece = self._lacking.pop(number, None) if number < self._named else None
            if piece is None:
                raise BadRequest
            self._asked.append((number, piece, 0))
        elif kind == _FIN:
            self._has_enough = True
        else:
            raise BadRequest

    async def _prepare(self) -> None:
        if self._named <= len(self._walk):
            self._name_some()
        elif self._asked:
            self._told(await asyncio.to_thread(self._read_some))
        elif self._has_enough and not self._has_said_so:
            self._say(written_number(_TYPE, _FIN))
            self._has_said_so = True

    def _name_some(self) -> None:
        for piece in self._walk[self._named :]:
            self._say(written(_OF, _described(piece)))
            self._named += 1
            if len(self._ready) >= _CHUNK:
                return
        self._say(b"")
        self._named += 1

    def _read_some(self) -> int:
        done = 0
        while self._asked and len(self._ready) < _CHUNK:
            number, piece, at = self._asked.popleft()
            data = piece.read(_CHUNK, at)
            done, at = done + len(data), at + len(data)
            self._say_content(number, data)
            if at < piece.entry.size:
                self._asked.appendleft((number, piece, at))
            elif data:
                self._say_content(number, b"")
        return done

    def _say_content(self, number: int, data: bytes) -> None:
        content = written(_CONTENT, data) if data else b""
        self._say(written_number(_TYPE, _DATA) + written_number(_ID, number) + content)

    def _say(self, message: bytes) -> None:
        self._ready += _FRAME.pack(0, len(message)) + message


def followed(pieces: Sequence[Piece], paths: Sequence[bytes]) -> Sequence[Piece]:
    """The files that the Dockerfile copies: those at these paths, their content, and their folders.
    Returns all files if patterns or links make this unclear, since additional files do no harm."""
    wanted = {path.decode("utf-8", "replace").strip("/") for path in paths}
    if not wanted or any(map(_is_odd, wanted)):
        return pieces
    above = {folder for path in wanted for folder in lineage(path)}
    found = [
        each for each in pieces if each.name in above or not wanted.isdisjoint(lineage(each.name))
    ]
    has_links = any(each.entry.kind == "link" for each in found)
    return pieces if has_links else found


def _is_odd(path: str) -> bool:
    return path in ("", ".") or len(path) > _LONGEST_PATH or bool(_SPECIAL & set(path))


def _place(piece: Piece) -> list[bytes]:
    """The sort key: a folder comes before its content, and its content before the next folder."""
    return [part.encode("utf-8", "surrogateescape") for part in piece.name.split("/")]


def _described(piece: Piece) -> bytes:
    """A file's description without owner and time: root and the epoch are sent."""
    entry = piece.entry
    mode = entry.mode & 0o777 | _KINDS[entry.kind]
    mode |= sum(to for bit, to in _BITS.items() if entry.mode & bit)
    said = written(_PATH, piece.name.encode("utf-8", "surrogateescape"))
    said += written_number(_MODE, mode)
    if entry.kind == "file":
        said += written_number(_SIZE, entry.size)
    elif entry.kind == "link":
        said += written(_LINK, entry.target.encode("utf-8", "surrogateescape"))
    return said
