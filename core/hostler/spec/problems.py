"""Collects everything that is wrong with a file, so that a person corrects it once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from hostler.base.errors import InputError, Problem
from hostler.base.text import clean_line, shown
from hostler.spec.positions import Path, positions

MAX_PROBLEMS = 100
_MAX_GUESSES = 30
_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Problems:
    """What is wrong in one file so far. Lines are looked up only when there is something to say."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text
        self._found: dict[tuple[str, str], tuple[Path, str]] = {}
        self._guesses = 0
        self._left_out = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """Note a problem; the same one at the same key is noted once."""
        key = (dotted(path), message)
        if key in self._found:
            return
        if len(self._found) >= MAX_PROBLEMS:
            self._left_out += 1
            return
        self._found[key] = (path, hint)

    def has(self, path: Path) -> bool:
        """Whether anything at or below that key is wrong."""
        return any(found[: len(path)] == path for found, _ in self._found.values())

    def paths(self, path: Path) -> frozenset[Path]:
        """The keys at or below that one at which something is wrong."""
        found = (at for at, _ in self._found.values())
        return frozenset(at for at in found if at[: len(path)] == path)

    def guess(self, word: object, known: Iterable[str]) -> str:
        """A hint with the nearest of the known words, "" where none is near.

        Guessing costs time, so a file that is wrong everywhere gets only so many.
        """
        if not isinstance(word, str) or len(word) > 64 or self._guesses >= _MAX_GUESSES:
            return ""
        self._guesses += 1
        names = list(known)
        if len(names) > 500:
            names = [name for name in names if name[:2] == word[:2]][:500]
        near = difflib.get_close_matches(word, names, 1, 0.6)
        return f"did you mean {shown(near[0])}?" if near else ""

    def raise_any(self, error: type[InputError]) -> None:
        """Raise `error` with all problems in the order of the file, if there are any."""
        if not self._found:
            return
        lines = positions(self._text)
        listed = [
            Problem(key, message, line=_line(lines, path), hint=hint)
            for (key, message), (path, hint) in self._found.items()
        ]
        listed.sort(key=lambda problem: problem.line or 0)
        if self._left_out:
            listed.append(Problem("", f"and {self._left_out} more problems"))
        count = len(self._found) + self._left_out
        raise error(
            f"{clean_line(self._file, 200)} cannot be used: "
            f"{count} problem{'s' if count != 1 else ''}",
            problems=listed,
        )


def dotted(path: Path) -> str:
    """A key path for people: `stages.train.inputs.data[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else f'"{part}"'
            text += f".{clean_line(name, 80)}" if text else clean_line(name, 80)
    return text


def _line(lines: dict[Path, int], path: Path) -> int | None:
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None
