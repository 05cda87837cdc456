"""Finding lines in blocks of a log. Pure.

A text without capitals finds both cases. It is a regular expression where it is a sound one, else
taken as it stands; one that repeats what ends in a repetition, as `(a+)+`, is not: it may take for
ever, and nothing can stop it.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass

_FOR_EVER = re.compile(r"(?<!\\)[+*}]\??\)+[+*{]")
_SGR = re.compile(rb"\x1b\[[0-9;:]{0,40}m")


@dataclass(frozen=True, slots=True)
class Needle:
    """What is looked for."""

    text: str
    raw: re.Pattern[bytes]
    shown: re.Pattern[str]
    """The same for the text on the screen, to mark it."""
    folds: bool
    """Both cases: blocks are made lower case first, which is far quicker than IGNORECASE."""


def needle_of(text: str) -> Needle:
    """From what a person typed."""
    folds = text == text.lower()
    try:
        if _FOR_EVER.search(text):
            raise re.error("it may take for ever")
        shown = re.compile(text, re.IGNORECASE if folds else 0)
        raw = re.compile(text.encode(errors="replace"), re.MULTILINE)
    except (re.error, OverflowError):
        escaped = re.escape(text)
        shown = re.compile(escaped, re.IGNORECASE if folds else 0)
        raw = re.compile(escaped.encode(), re.MULTILINE)
    return Needle(text, raw, shown, folds)


def matching_lines(needle: Needle, block: bytes) -> array[int]:
    """Numbers, from 0, of the lines of a block that match. A block is whole lines."""
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
