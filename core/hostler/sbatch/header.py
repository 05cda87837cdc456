"""Reads the `#SBATCH` lines of a batch script and its interpreter, recognises a file as one, and
words the errors of a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from hostler.base.errors import InputError
from hostler.base.text import shown
from hostler.sbatch.options import FLAGS, SHORT, long_name

_ENDINGS = (".sbatch", ".slurm")
_DIRECTIVE = "#SBATCH"
_HAS_DIRECTIVE = re.compile(rb"^#SBATCH\s", re.MULTILINE)
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""")
_PIECE = re.compile(r"""\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\\"']+)""")
_SPACE = re.compile(r"\s*")
_LONGEST = 64 * 1024
_ESCAPE = re.compile(r'\\(["\\$`])')


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a header."""

    name: str
    """The long name, without the dashes."""
    value: str
    line: int
    """From 1; 0: a word of a command."""

    @property
    def place(self) -> str:
        """The start of an error message."""
        return f"line {self.line}: " if self.line else ""


def is_batch_script(name: str, head: bytes) -> bool:
    """Whether a file is a batch script: by its extension, or by a `#!` and a `#SBATCH` line before
    the first command. A program that only writes batch scripts has none there."""
    if PurePath(name).suffix.lower() in _ENDINGS:
        return True
    if not head.startswith(b"#!") or _HAS_DIRECTIVE.search(head) is None:
        return False
    return next(_directives(head.decode("utf-8", "replace")), None) is not None


def interpreter_of(text: str) -> tuple[str, ...]:
    """The interpreter of the script, from its first line. Raises InputError if the line names
    none."""
    first = text.split("\n", 1)[0]
    words = first[2:].split(maxsplit=1) if first.startswith("#!") else []
    if not words:
        raise InputError(
            "the first line of a batch script is #! and the path of an interpreter",
            remedy="Begin the file with #!/bin/bash",
        )
    if first.endswith("\r"):
        raise InputError(
            "the script has the line ends of Windows (\\r\\n), which its interpreter cannot read",
            remedy="Convert it: sed -i 's/\\r$//' FILE",
        )
    return tuple(word.strip() for word in words)


def options_of(text: str) -> list[Option]:
    """All options before the first command, in their order. Raises InputError, which names the
    line."""
    found: list[Option] = []
    for number, line in _directives(text):
        try:
            found += [Option(name, value, number) for name, value in _options(_words(line))]
        except ValueError as error:
            raise InputError(f"line {number}: {error}", remedy=remedy_for(line)) from None
    return found


def command_options(words: Iterable[str]) -> list[Option]:
    """The options of an sbatch command. Raises InputError."""
    try:
        return [Option(name, value, 0) for name, value in _options(list(words))]
    except ValueError as error:
        raise InputError(str(error), remedy="Correct the options of sbatch") from None


def late_lines(text: str) -> list[int]:
    """The numbers of `#SBATCH` lines after the first command, which have no effect."""
    lines = text.split("\n")
    end = next((at for at, line in enumerate(lines) if _is_command(line)), len(lines))
    return [at + 1 for at in range(end, len(lines)) if _is_directive(lines[at])]


_LOOKED_AT = 500
"""Characters: what a host sends may make each search as slow as it is long, twice over."""
_PLACEHOLDER = re.compile(r"\{{1,2}[^{}]*\}{1,2}|<[^<>]*>")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]")


def remedy_for(text: str) -> str:
    """The remedy for a line, or a value, that cannot be read."""
    text = text[:_LOOKED_AT]
    if match := _PLACEHOLDER.search(text):
        return f"Replace {shown(match[0])} by its value: this file is a template of a batch script"
    if _VARIABLE.search(text):
        return "Write the value itself: sbatch sets no variables in #SBATCH lines"
    return "Correct the #SBATCH line, or remove it"


def _directives(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if _is_command(line):
            return
        if _is_directive(line):
            yield number, line[len(_DIRECTIVE) :]


def _is_command(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _is_directive(line: str) -> bool:
    return line.startswith(_DIRECTIVE) and line[len(_DIRECTIVE) :][:1].isspace()


def _words(line: str) -> list[str]:
    """The words of a line, without quotes, up to a comment. Raises ValueError for an open quote."""
    if len(line) > _LONGEST:
        raise ValueError("the line is longer than 64 KiB")
    words: list[str] = []
    at = _behind_space(line, 0)
    while at < len(line) and line[at] != "#":
        match = _WORD.match(line, at)
        end = match.end() if match is not None else at
        if match is None or not (line[end : end + 1].isspace() or end == len(line)):
            raise ValueError(f"{shown(line[at:])} has a quote that does not end")
        words.append(_PIECE.sub(_bare, match[0]))
        at = _behind_space(line, end)
    return words


def _behind_space(line: str, at: int) -> int:
    match = _SPACE.match(line, at)
    return match.end() if match is not None else at


def _bare(match: re.Match[str]) -> str:
    if match[2] is not None:
        return _ESCAPE.sub(r"\1", match[2])
    return match[1] or match[3] or match[4] or ""


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    left = iter(words)
    for word in left:
        name, value = _long(word) if word.startswith("--") else _short(word)
        if value is None and name not in FLAGS:
            value = next(left, None)
            if value is None:
                raise ValueError(f"--{name} has no value")
        yield name, value or ""


def _long(word: str) -> tuple[str, str | None]:
    given, equals, value = word[2:].partition("=")
    name = long_name(given) if given else None
    if name is None:
        raise ValueError(f"{shown(word)} is no option of sbatch that Hostler knows")
    return name, value if equals else None


def _short(word: str) -> tuple[str, str | None]:
    name = SHORT.get(word[1:2]) if word.startswith("-") else None
    if name is None:
        raise ValueError(f"{shown(word)} is no option of sbatch that Hostler knows")
    return name, word[2:] or None
