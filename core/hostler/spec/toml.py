"""Parses TOML text: too large (1 MiB), too deep or malformed text becomes a problem with its line
number.
"""

from __future__ import annotations

import math
import re
import tomllib

from hostler.base.errors import InputError, Problem
from hostler.base.json_types import Json, JsonTable
from hostler.base.text import clean_line
from hostler.spec.problems import Path, Problems

MAX_TEXT = 1024 * 1024
"""In characters; a bigger file is refused unread."""
MAX_DEPTH = 12

# tomllib walks the whole key again for each line under a header: a key of 100,000 parts would take
# hours. Nothing here has more than a handful.
_LONG_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')[ \t]*\.[ \t]*){16}"
)
_WHERE = re.compile(r" \(at line (\d+), column (\d+)\)$")


def load(text: str, file: str, error: type[InputError]) -> tuple[JsonTable, Problems]:
    """The values of a TOML text, and an empty collector for their problems.

    Raises `error` if the text cannot be read at all.
    """
    if len(text) > MAX_TEXT:
        raise _refuse(error, file, f"is larger than {MAX_TEXT // 1024} KiB")
    text = text.removeprefix("\ufeff")
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise _refuse(error, file, "is not valid Unicode") from problem
    long_key = _LONG_KEY.search(text)
    if long_key is not None:
        line = text.count("\n", 0, long_key.start()) + 1
        raise _refuse(error, file, "a key has too many parts", line)
    problems = Problems(file, text)
    values = _parse(text, file, error)
    _check_values(values, problems)
    problems.raise_any(error)
    return values, problems


def _parse(text: str, file: str, error: type[InputError]) -> JsonTable:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        message = str(problem)
        where = _WHERE.search(message)
        line = int(where[1]) if where else text.count("\n") + 1
        said = _WHERE.sub("", message).removesuffix(" (at end of document)")
        raise _refuse(error, file, clean_line(said, 300), line) from problem
    except RecursionError as problem:
        raise _refuse(error, file, "is nested too deeply") from problem
    except (ValueError, OverflowError) as problem:  # a number of thousands of digits
        raise _refuse(error, file, "holds a number that is too large") from problem


def _check_values(values: JsonTable, problems: Problems) -> None:
    """Check for values that no key of any file may have. Without recursion, because too much depth
    is one of the problems."""
    waiting: list[tuple[Json, Path]] = [(values, ())]
    while waiting:
        value, path = waiting.pop()
        if isinstance(value, str):
            if "\0" in value:
                problems.add(path, "contains a NUL character")
        elif isinstance(value, dict):
            if len(path) >= MAX_DEPTH:
                problems.add(path[:MAX_DEPTH], "is nested too deeply")
                continue
            for key, item in value.items():
                if not key.isprintable():
                    problems.add(path, "has a key with a control character")
                waiting.append((item, (*path, key)))
        elif isinstance(value, list):
            if len(path) >= MAX_DEPTH:
                problems.add(path[:MAX_DEPTH], "is nested too deeply")
                continue
            waiting += [(item, (*path, index)) for index, item in enumerate(value)]
        elif isinstance(value, int):
            if not -(2**63) <= value < 2**63:
                problems.add(path, "is a number that is too large")
        elif isinstance(value, float) and not math.isfinite(value):
            problems.add(path, "is not a finite number")


def _refuse(
    error: type[InputError], file: str, message: str, line: int | None = None
) -> InputError:
    name = clean_line(file, 200)
    where = f" line {line}" if line is not None else ""
    return error(f"{name}{where}: {message}", problems=[Problem("", message, line=line)])
