"""Which part of a file an HTTP Range request means: single ranges only, and what a range beyond
the end gets. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?|bytes=-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes from `begin` up to, not including, `end`."""

    begin: int
    end: int
    is_whole: bool = False


def part_of(
    size: int, etag: str, wanted: str | None, if_range: str | None, *, at_end: bool = False
) -> Part | None:
    """The part of a file that a request asks for; None: it begins at the end of the file (unless
    `at_end` allows that) or after it.

    As in HTTP, an invalid range, one of several parts, or one of another version of the file means
    the whole file.
    """
    whole = Part(0, size, is_whole=True)
    match = _RANGE.fullmatch(wanted.strip()) if wanted else None
    if match is None or (if_range is not None and if_range != etag):
        return whole
    first, last, tail = match.groups()
    if tail is not None:
        return Part(max(0, size - int(tail)), size) if int(tail) and size else None
    begin = int(first)
    end = size if last is None else min(size, int(last) + 1)
    if last is not None and int(last) < begin:
        return whole
    return Part(begin, end) if begin < size or (at_end and begin == size) else None
