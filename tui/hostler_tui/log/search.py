r"""What a search text of a log means: case, regular expressions, and which too slow ones are
taken literally. Pure.

A text without capitals finds both cases. It is a regular expression where it is a sound one, else
taken as it stands. One that repeats a group, as `(a|a)+`, or repeats many times in a row is not: it
may take for ever, and nothing can stop it. Words that end in a separator, `(\d+ )+`, may repeat.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass

_WORDS = re.compile(r"\((?:\?:)?(?:\\[dw]|\w)(?:[+*]?(?:\\[dw]|\w))*[+*]?[ ,;:=/-]\)[+*]", re.ASCII)
"""A repeated group that matches in one way only."""
_ESCAPED = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""One character, as an escape or a class."""
_REPEATS = re.compile(r"[+*{]")
_MOST_REPEATS = 3
"""The most repeats in one expression: each further one multiplies the time by the length of the
line."""
_SGR = re.compile(rb"\x1b\[[0-9;:]{0,40}m")


@dataclass(frozen=True, slots=True)
class Needle:
    """The search expression."""

    text: str
    raw: re.Pattern[bytes]
    shown: re.Pattern[str]
    """The same for the text on the screen, to highlight matches."""
    folds: bool
    """Both cases: blocks are made lower case first, which is far quicker than IGNORECASE."""


def needle_of(text: str) -> Needle:
    """The expression that a user typed."""
    folds = text == text.lower()
    try:
        if _may_take_for_ever(text):
            raise re.error("it may never end")
        shown = re.compile(text, re.IGNORECASE if folds else 0)
        raw = re.compile(text.encode(errors="replace"), re.MULTILINE)
    except (re.error, OverflowError):
        escaped = re.escape(text)
        shown = re.compile(escaped, re.IGNORECASE if folds else 0)
        raw = re.compile(escaped.encode(), re.MULTILINE)
    return Needle(text, raw, shown, folds)


def _may_take_for_ever(text: str) -> bool:
    bare = _ESCAPED.sub("x", _WORDS.sub("x+", text))
    is_group_repeated = any(f"){sign}" in bare for sign in "+*{")
    return is_group_repeated or len(_REPEATS.findall(bare)) > _MOST_REPEATS


def matching_lines(needle: Needle, block: bytes) -> array[int]:
    """Numbers, from 0, of the matching lines of a block. A block is whole lines."""
    if b"\x1b" in block:
        block = _SGR.sub(b"", block)
    if needle.folds:
        block = block.lower()
    found = array("Q")
    at = line = 0
    while at < len(block):
        match = needle.raw.search(block, at)
        if match is None or match.start() >= len(block):
            break
        line += block.count(b"\n", at, match.start())
        found.append(line)
        line += 1
        at = block.find(b"\n", match.start()) + 1
        if not at:
            break
    return found
