"""Patterns of `.dockerignore`: they begin at the root, and `!` counts in any folder. Pure.

The grammar of one pattern is that of `.hostlerignore`, whose regular expressions take a bounded
time whatever somebody writes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator

from hostler.base.errors import InputError
from hostler.packing.ignore import MOST_PATTERNS, pattern_of

FILE = ".dockerignore"
MOST_BYTES = 1024 * 1024
"""Of the file: no sensible one is longer."""


class DockerIgnore:
    """Which paths a list of patterns leaves out; of several that match, the last decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises InputError where there are too many."""
        self._rules = [rule for line in lines if (rule := _rule(line)) is not None]
        if len(self._rules) > MOST_PATTERNS:
            raise InputError(
                f"{FILE} has {len(self._rules):,} patterns, more than {MOST_PATTERNS:,}",
                remedy="name folders instead of single files",
            )

    def leaves_out(self, path: str) -> bool:
        """Whether a path (relative, with slashes) is left out, by itself or with its folder."""
        out = False
        for regex, negated in self._rules:
            if out == negated and any(map(regex.fullmatch, lineage(path))):
                out = not negated
        return out


def lineage(path: str) -> Iterator[str]:
    """The path and each folder that it lies in, the innermost first."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _rule(line: str) -> tuple[re.Pattern[str], bool] | None:
    """None for a comment, an empty line, and `.`, which Docker passes over as well."""
    text = line.strip()
    if not text or line.startswith("#"):
        return None
    negated = text.startswith("!")
    path = posixpath.normpath("/" + text.removeprefix("!").strip().lstrip("/"))
    regex = pattern_of(path) if path != "/" else None
    return None if regex is None else (regex, negated)
