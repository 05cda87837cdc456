"""Lines out of bytes that arrive in pieces."""

from __future__ import annotations

MOST_OF_LINE = 1024 * 1024
"""Bytes. A longer line of a log is given in pieces of about that size."""


class Lines:
    """Cuts what arrives into lines; each byte is looked at once, however long a line is."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.waiting = 0
        """Bytes of the line whose end has not arrived."""

    def feed(self, part: bytes) -> list[bytes]:
        """The lines that end in this part, without their newline."""
        first, *more = part.split(b"\n")
        self._parts.append(first)
        self.waiting += len(first)
        if not more:
            return []
        found = [self.rest(), *more[:-1]]
        self._parts, self.waiting = [more[-1]], len(more[-1])
        return found

    def rest(self) -> bytes:
        """What there is of the last line, taken out."""
        found = b"".join(self._parts)
        self._parts, self.waiting = [], 0
        return found
