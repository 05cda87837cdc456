"""Offsets of a log's lines, found as its bytes arrive from both ends. Pure.

A log is fetched from both ends: its tail first, so that there is something to see, then all before
it. Each end is a segment; they become one when the gap between them is closed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate, islice


class Segment:
    """A range of bytes of a log, from byte `begin` up to `end`, and the starts of its lines."""

    def __init__(self, begin: int = 0) -> None:
        self.begin = self.end = begin
        self.starts = array("Q")
        self._at_start = True
        """Whether the next byte begins a line."""

    def __len__(self) -> int:
        return len(self.starts)

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        if not data:
            return
        if self._at_start:
            self.starts.append(self.end)
        self.starts.extend(_after_newlines(data, self.end))
        self.end += len(data)
        self._at_start = data.endswith(b"\n")
        if self._at_start:
            self.starts.pop()  # a line exists once it has a byte

    def span(self, number: int) -> tuple[int, int]:
        """The bytes of a line, including its newline."""
        last = number + 1 >= len(self.starts)
        return self.starts[number], self.end if last else self.starts[number + 1]

    @property
    def whole(self) -> int:
        """The number of complete lines."""
        return len(self.starts) - (not self._at_start)

    def join(self, after: Segment) -> int:
        """Take the segment that begins where this one ends; how many lines are before it now.

        A line cut in two by the border becomes one.
        """
        assert after.begin == self.end
        before = len(self.starts)
        starts = after.starts
        if not self._at_start and starts:
            starts, before = starts[1:], before - 1
        self.starts.extend(starts)
        if after.end > after.begin:
            self.end, self._at_start = after.end, after._at_start
        return before

    def blocks(self, first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
        """Ranges of lines of about `size` bytes each that make up lines `first` to `last`."""
        while first < last:
            goal = self.starts[first] + size
            upto = min(last, max(first + 1, bisect_left(self.starts, goal, first + 1, last)))
            yield first, upto
            first = upto


def _after_newlines(data: bytes, base: int) -> Iterator[int]:
    """The offset after each newline."""
    lengths = [len(part) + 1 for part in data.split(b"\n")]
    lengths.pop()  # what follows the last newline ends with none
    return islice(accumulate(lengths, initial=base), 1, None)
