"""Patterns of `.dockerignore`: how they match, the largest file and the longest time. Pure.

The grammar of one pattern is that of `.hostlerignore`, whose regular expressions take a bounded
time whatever somebody writes.
"""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from hostler.base.errors import InputError
from hostler.packing.ignore import MOST_PATTERNS, pattern_of

FILE = ".dockerignore"
MOST_BYTES = 1024 * 1024
"""The file's largest size: no sensible file is larger."""
_MOST_FOLDERS = 1000
"""The most folders to remember. Paths mostly arrive folder by folder."""
_MOST_SECONDS = 30.0
"""Of processor time for all paths together: each pattern takes little, but there may be a thousand
for each of 200,000 paths, and others wait meanwhile."""


class DockerIgnore:
    """The paths that a list of patterns excludes; if several match, the last decides. Use it in the
    thread that made it."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises InputError if there are too many patterns."""
        # No more of them are compiled than count: it would take minutes.
        rules = (rule for line in lines if (rule := _rule(line)) is not None)
        self._rules = [*islice(rules, MOST_PATTERNS + 1)]
        if len(self._rules) > MOST_PATTERNS:
            raise InputError(
                f"{FILE} has more than {MOST_PATTERNS:,} patterns",
                remedy="name folders instead of single files",
            )
        self._folders: dict[str, frozenset[int]] = {}
        self._began = time.thread_time()

    def leaves_out(self, path: str) -> bool:
        """Whether a path (relative, with slashes) is left out, by itself or with its folder. Raises
        InputError where all of them took too long."""
        self._check_time()
        out, above = False, self._matching(path.rpartition("/")[0])
        for number, (regex, negated) in enumerate(self._rules):
            if out == negated and (number in above or regex.fullmatch(path)):
                out = not negated
        return out

    def _matching(self, folder: str) -> frozenset[int]:
        """The rules that match a folder or one that it lies in. Each is tried once for a folder,
        not for each file below."""
        if folder in self._folders:
            return self._folders[folder]
        found: frozenset[int] = frozenset()
        for part in reversed(tuple(lineage(folder))):
            if part not in self._folders:
                self._check_time()
                if len(self._folders) >= _MOST_FOLDERS:
                    self._folders.clear()
                own = {n for n, (regex, _) in enumerate(self._rules) if regex.fullmatch(part)}
                self._folders[part] = found | own if own else found
            found = self._folders[part]
        return found

    def _check_time(self) -> None:
        if time.thread_time() - self._began > _MOST_SECONDS:
            raise InputError(
                f"the patterns of {FILE} take over {_MOST_SECONDS:.0f} s for these files",
                remedy="use fewer patterns and fewer stars in them, or send fewer files",
            )


def lineage(path: str) -> Iterator[str]:
    """The path and each folder that contains it, the innermost first."""
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
