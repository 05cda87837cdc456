"""Where each key of a TOML file stands, which tomllib does not tell.

Only files that tomllib accepted come here, so this reads structure and checks nothing.
"""

from __future__ import annotations

import bisect
import re
import tomllib

Path = tuple[str | int, ...]
"""Keys and list indices from the top of a file."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ATOM = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]+|[^\s,\]}#]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"""(?:"{0,2})'
    r"|'''(?:[^']|'(?!''))*'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)


def positions(text: str) -> dict[Path, int]:
    """Line (from 1) of every key and list item. What cannot be followed is left out."""
    finder = _Finder(text.replace("\r\n", "\n"))
    try:
        finder.read()
    except (RecursionError, LookupError, ValueError):
        # A line number is a help. Without it the problem is still named by its key.
        return finder.found
    return finder.found


class _Finder:
    def __init__(self, text: str) -> None:
        self.found: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._newlines = [m.start() for m in re.finditer("\n", text)]
        self._arrays: dict[Path, int] = {}  # arrays of tables -> index of the last one

    def read(self) -> None:
        table: Path = ()
        while self._skip_blank():
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._assignment(table)

    def _skip_blank(self) -> bool:
        self._at = self._after(_BLANK)
        return self._at < len(self._text)

    def _after(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError("not TOML")
        return match.end()

    def _note(self, path: Path, at: int) -> None:
        self.found.setdefault(path, bisect.bisect_left(self._newlines, at) + 1)

    def _header(self) -> Path:
        start = self._at
        repeated = self._text.startswith("[[", start)
        self._at += 2 if repeated else 1
        keys = self._key()
        self._at += 2 if repeated else 1
        path = self._resolve(keys[:-1], start) + keys[-1:]
        if repeated:
            self._note(path, start)
            self._arrays[path] = self._arrays.get(path, -1) + 1
        if path in self._arrays:
            path = (*path, self._arrays[path])
        self._note(path, start)
        return path

    def _resolve(self, keys: tuple[str, ...], at: int) -> Path:
        path: Path = ()
        for key in keys:
            path = (*path, key)
            self._note(path, at)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        return path

    def _key(self) -> tuple[str, ...]:
        parts: list[str] = []
        while True:
            self._at = self._after(_SPACES)
            quoted = self._text[self._at] in "\"'"
            end = self._after(_STRING if quoted else _BARE)
            token = self._text[self._at : end]
            parts.append(tomllib.loads(f"k={token}")["k"] if quoted else token)
            self._at = end
            self._at = self._after(_SPACES)
            if self._text[self._at] != ".":
                return tuple(parts)
            self._at += 1

    def _assignment(self, table: Path) -> None:
        start = self._at
        path = table
        for key in self._key():
            path = (*path, key)
            self._note(path, start)
        self._at += 1  # the equals sign
        self._at = self._after(_SPACES)
        self._value(path)

    def _value(self, path: Path) -> None:
        first = self._text[self._at]
        if first == "[":
            self._list(path)
        elif first == "{":
            self._inline_table(path)
        elif first in "\"'":
            self._at = self._after(_STRING)
        else:
            self._at = self._after(_ATOM)

    def _list(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._skip_blank() and self._text[self._at] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                index += 1
                continue
            self._note((*path, index), self._at)
            self._value((*path, index))
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._skip_blank() and self._text[self._at] != "}":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._assignment(path)
        self._at += 1
