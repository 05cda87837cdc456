"""Collects all problems of a file (100 at most) with the line of each key, which tomllib does not
give, and guesses the key that was meant. Errors of the readers of tables become problems with a
place and a hint.

Only files that tomllib accepted are searched for positions: that reads structure and checks
nothing.
"""

from __future__ import annotations

import bisect
import difflib
import re
import tomllib
from collections.abc import Iterable
from typing import TypeVar

from hostler.base.errors import InputError, Problem
from hostler.base.json_types import Json
from hostler.base.keys import keys_of, read_table
from hostler.base.several import faults_of
from hostler.base.text import clean_line, shown
from hostler.model.pipeline_file import PipelineTable, SharedKeys, StageTable
from hostler.model.pipelines import Resources
from hostler.spec import later

MAX_PROBLEMS = 100
_MAX_GUESSES = 30
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_OF_STAGE = re.compile(r"^stages\.[A-Za-z0-9_-]+\.(?:resources\.)?")

Path = tuple[str | int, ...]
"""Keys and list indices from the top of a file."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_ATOM = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]+|[^\s,\]}#]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"""(?:"{0,2})'
    r"|'''(?:[^']|'(?!''))*'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)


class Problems:
    """The problems of one file so far. Lines are looked up only if there is a problem."""

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

        Guesses cost time, so a file with many problems gets only a limited number.
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


def as_options(problems: Iterable[Problem]) -> list[Problem]:
    """Problems of a generated file, such as that of a single command: named by option (`gpus`),
    without a line."""
    return [
        Problem(_OF_STAGE.sub("", problem.path), problem.message, hint=problem.hint)
        for problem in problems
    ]


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


T = TypeVar("T")


def validate(
    table: type[T],
    values: Json,
    path: Path,
    problems: Problems,
    *,
    known: type | None = None,
) -> T | None:
    """The table as a value of the model, or None after noting its problems.

    `known` is the table whose keys are suggested for unknown ones, if that is a larger table.
    """
    try:
        return read_table(table, values)
    except ValueError as error:
        faults = faults_of(error, *path)
    told = [fault.place for fault in faults if problems.has(fault.place)]
    for fault in faults:
        if fault.unknown_in is not None:
            own = known if known and fault.unknown_in is table else fault.unknown_in
            _note_unknown(str(fault.place[-1]), own, fault.place, problems)
        elif fault.place not in told:  # a placeholder that was not filled says it all
            problems.add(fault.place, fault.message)
    return None


def _note_unknown(key: str, table: type, path: Path, problems: Problems) -> None:
    refused = later.KEYS.get(table, {})
    if key in refused:
        problems.add(path, refused[key])
        return
    hint = _elsewhere(key, table) or problems.guess(key, keys_of(table))
    problems.add(path, f"unknown key {shown(key)}", hint)


def _elsewhere(key: str, table: type) -> str:
    """The right place for a key that was written one table too high or too low."""
    if table is PipelineTable:
        return _of_a_stage(key)
    if issubclass(table, SharedKeys):
        if key in keys_of(Resources):
            return f"it belongs to `resources`: resources = {{ {key} = ... }}"
        if key in keys_of(StageTable):
            return f"`{key}` is each stage's own: it cannot be a default"
    if table is Resources and key in keys_of(StageTable):
        return f"`{key}` belongs to the stage itself, not to its resources"
    return ""


def _of_a_stage(key: str) -> str:
    """The right place for a stage's key that was written at the top of the file."""
    if key in keys_of(Resources):
        return "it belongs to `resources`, under [defaults.resources] for all stages"
    if key in keys_of(SharedKeys):
        return "it belongs under [defaults], or to a stage"
    return "it belongs to a stage, under [stages.NAME]" if key in keys_of(StageTable) else ""


def positions(text: str) -> dict[Path, int]:
    """Line (from 1) of every key and list item. Lines that cannot be read are omitted."""
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
