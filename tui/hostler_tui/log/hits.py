"""Finds the matches of a search in a growing log, in blocks from its end, and the next or
previous one; log/search.py matches a line."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable

from hostler_tui.log.index import Segment
from hostler_tui.log.search import Needle, matching_lines
from hostler_tui.log.spool import Spool

BLOCK = 1024 * 1024
"""Bytes searched at once: Python cannot do other work meanwhile."""


MOST = 4 * BLOCK
"""The most bytes that are held for a search."""
OVERLAP = 4096
"""Bytes of a long line that are searched twice, so that matches across the border are found."""


class Hits:
    """Numbers of matching lines, ascending."""

    def __init__(self, needle: Needle) -> None:
        self.needle = needle
        self.lines = array("Q")
        self.upto = 0
        """Lines before this one have been searched."""

    def add(self, lines: array[int], upto: int) -> None:
        """Add the result of a search of the lines from `self.upto` on."""
        self.lines.extend(lines)
        self.upto = upto

    def place_of(self, line: int) -> int:
        """The number of hits before a line."""
        return bisect_left(self.lines, line)

    def next(self, line: int, by: int) -> int | None:
        """The next matching line after, or before, another; wraps around at the end. None: there is
        none."""
        if not self.lines:
            return None
        place = self.place_of(line)
        if by > 0 and place < len(self.lines) and self.lines[place] == line:
            place += 1
        place += -1 if by < 0 else 0
        return self.lines[place % len(self.lines)]


def search(
    spool: Spool,
    needle: Needle,
    first: int,
    last: int,
    *,
    first_hit: Callable[[int], object] = lambda line: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> array[int]:
    """Matching lines of `first` to `last`, looked for from the end on; `first_hit` is called with
    the last of them as soon as it is known. For a thread: nothing here touches a widget."""
    segment, parts, told = spool.shown, [], False
    for begin, end in reversed(list(segment.blocks(first, last, BLOCK))):
        if is_cancelled():
            return array("Q")
        found = _in_block(spool, segment, needle, begin, end)
        parts.append(found)
        if found and not told:
            first_hit(found[-1])
            told = True
    whole = array("Q")
    for part in reversed(parts):
        whole.extend(part)
    return whole


def _in_block(spool: Spool, segment: Segment, needle: Needle, begin: int, end: int) -> array[int]:
    first, last = segment.starts[begin], segment.span(end - 1)[1]
    if last - first <= MOST:
        found = matching_lines(needle, spool.read(first, last))
        return array("Q", (begin + line for line in found))
    lines = (number for number in range(begin, end) if _has(spool, needle, *segment.span(number)))
    return array("Q", lines)


def _has(spool: Spool, needle: Needle, begin: int, end: int) -> bool:
    """Whether a line matches, whatever its length: a progress bar may write gigabytes into one
    line."""
    while begin < end:
        upto = min(end, begin + MOST)
        if matching_lines(needle, spool.read(begin, upto)):
            return True
        begin = upto if upto == end else upto - OVERLAP
    return False
