"""Reads the metrics file of a container through Docker's archive call, and decides when that is
safe; `metricpiece` cuts the answer."""

from __future__ import annotations

from typing import Iterator, Optional

from hostler_agent import inside, metricpiece
from hostler_agent.folders import Refusal
from hostler_agent.http import Connection, HttpError
from hostler_agent.json_values import Message
from hostler_agent.metricpiece import READ, Piece, Wanted

_TIMEOUT = 8.0
"""Seconds; less than the requester's timeout."""
_BLOCK = 512
_MOST_HEADERS = 64 * 1024


def metrics(path: Optional[str], ref: str, attempt_id: str, ask: Wanted) -> Piece:
    """Read new lines of the container's metrics file, as `metricpiece.piece` does; no lines if it
    is no plain file. Raises Refusal."""
    try:
        connection, found = inside.opened(path, ref, attempt_id, _TIMEOUT)
        try:
            return _piece(connection, found, ref, ask) or metricpiece.nothing(ask)
        finally:
            connection.close()
    except HttpError as error:
        if error.status == 404:
            return metricpiece.nothing(ask)
        raise Refusal("metrics cannot be read: %s" % error, "EngineError") from error


def _piece(connection: Connection, found: Message, ref: str, ask: Wanted) -> Optional[Piece]:
    if not _may_be_read(connection, found):
        return None
    inside.check_binds(connection, ref, found)
    inside.check_way(connection, ref, inside.METRICS)
    seen = inside.look(connection, ref, inside.METRICS)
    if not seen.plain:
        return None
    where = inside.archive(ref, inside.METRICS)

    def read(offset: int) -> bytes:
        return _content(connection.stream("GET", where), offset)

    return metricpiece.piece(ask, seen.size, seen.mtime, read)


def _may_be_read(connection: Connection, found: Message) -> bool:
    """Whether the file may be read now. A running stage could replace a folder by a link after the
    check. This is a danger only if folders of the host are mounted; the file is then read after the
    stage has ended."""
    if not inside.is_alive(found) or not inside.has_binds(found):
        return True
    return inside.is_guarded(found) or inside.serves_itself(connection)


def _content(pieces: Iterator[bytes], offset: int) -> bytes:
    """A piece of the first file of a tar, from `offset` on; b"" if the tar begins with anything
    else. Earlier data is dropped as it arrives."""
    tar, taken = _Stream(pieces), 0
    while taken < _MOST_HEADERS:
        head = tar.take(_BLOCK)
        if len(head) < _BLOCK or not head.strip(b"\0"):
            break
        size, kind = _size(head[124:136]), head[156:157]
        if kind in (b"0", b"\0"):
            tar.skip(min(offset, size))
            return tar.take(min(max(0, size - offset), READ))
        if kind not in (b"x", b"g", b"L", b"K"):
            break
        padded = (size + _BLOCK - 1) // _BLOCK * _BLOCK
        taken += _BLOCK + padded
        tar.skip(padded)
    return b""


def _size(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.strip(b" \0")
    try:
        return max(0, int(text, 8)) if text else 0
    except ValueError as error:
        raise HttpError("Docker's archive of the metrics is no tar") from error


class _Stream:
    """Reads or skips a requested number of bytes from pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def take(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        parts = []
        while size and self._fill():
            parts.append(self._held[:size])
            self._held = self._held[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Drop `size` bytes."""
        while size and self._fill():
            dropped = min(size, len(self._held))
            self._held = self._held[dropped:]
            size -= dropped

    def _fill(self) -> bool:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._held = piece
        return True
