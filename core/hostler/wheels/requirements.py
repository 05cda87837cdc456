"""Reads the requirements file of a fetch: which lines are accepted (plain `name==version`) and how
refused ones are named; at most 2,000 lines.

Pip never gets text of the file unchanged. Each line is read, and written anew from its parts, so
that no option, address, path or variable of a stage's file works on the daemon's machine. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hostler.base.errors import InputError, Problem
from hostler.base.text import shown

MAX_LINES = 2000
_MAX_LINE = 4096
_NAMED = 5
"""The most problems that the message itself names."""
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,100}[A-Za-z0-9])?"
_LINE = re.compile(
    rf"(?P<name>{_NAME})\s*(?:\[(?P<extras>[^\]]*)\])?\s*==\s*(?P<version>[A-Za-z0-9.!+_-]+)"
    r"\s*(?:;(?P<marker>[^;#]*))?"
)
_EXTRAS = re.compile(rf"\s*(?:{_NAME}\s*(?:,\s*{_NAME}\s*)*)?")
_MARKER = re.compile(r"(?:(?!(?<![^ ])-)[A-Za-z0-9_.<>=!~'\"() ,+*-])+")
"""No word of it begins like an option: pip would take it for one of this line."""
_HASH = re.compile(
    r"\s--hash[=\s]\s*(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})"
)
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line."""

    name: str
    version: str = ""
    """"": any; of none that a file has."""
    extras: tuple[str, ...] = ()
    marker: str = ""
    hashes: tuple[str, ...] = ()

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        hashes = "".join(f" --hash={each}" for each in self.hashes)
        version = f"=={self.version}" if self.version else ""
        return f"{self.name}{extras}{version}{marker}{hashes}"


def read_requirements(text: str, file: str) -> tuple[Requirement, ...]:
    """All lines of a file. Raises InputError that names invalid lines."""
    found: list[Requirement] = []
    problems: list[Problem] = []
    for number, line in _lines(text):
        if len(found) + len(problems) >= MAX_LINES:
            problems.append(Problem("", f"there are more than {MAX_LINES} lines", line=number))
            break
        try:
            found.append(_requirement(line))
        except ValueError as error:
            problems.append(Problem("", str(error), line=number))
    if problems:
        named = "; ".join(str(problem) for problem in problems[:_NAMED])
        more = len(problems) - _NAMED
        raise InputError(
            f"{file}: {named}" + (f"; and {more} more" if more > 0 else ""),
            remedy="The daemon fetches the packages for this host ([packages] in config.toml), and "
            "takes only lines like numpy==2.1.3; `pip freeze` writes such lines",
            problems=problems,
        )
    return tuple(found)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines as pip sees them, continued lines joined, each with its first line number."""
    joined, first = "", 0
    for number, line in enumerate(text.removeprefix(_BOM).split("\n"), 1):
        first = first if joined else number
        plain = line.removesuffix("\r")
        if plain.endswith("\\") and not plain.lstrip().startswith("#"):
            joined += plain[:-1] + " "
            continue
        words = f" {joined}{plain}".split(" #")[0].strip()
        joined = ""
        if words:
            yield first, words
    if joined.strip():
        yield first, joined.strip()


def _requirement(line: str) -> Requirement:
    """Raises ValueError with the reason why a line is not plain."""
    if len(line) > _MAX_LINE:
        raise ValueError(f"is longer than {_MAX_LINE} characters")
    plain = _HASH.sub("", line).strip()
    hashes = tuple(_HASH.findall(line))
    found = _LINE.fullmatch(plain)
    if found is None:
        raise ValueError(f"{shown(line)} {_why_not(plain)}")
    extras, marker = found["extras"] or "", (found["marker"] or "").strip()
    if not _EXTRAS.fullmatch(extras) or (marker and not _MARKER.fullmatch(marker)):
        raise ValueError(f"{shown(line)} is not like name[extra]==version ; marker")
    names = tuple(each.strip() for each in extras.split(",") if each.strip())
    return Requirement(found["name"], found["version"], names, marker, hashes)


def _why_not(line: str) -> str:
    """The kind of a line, for people."""
    if line.startswith("-"):
        return "is an option"
    if "$" in line:
        return "has a variable"
    if "://" in line or "@" in line:
        return "is an address"
    name = line.split(";")[0].strip()
    if name.startswith((".", "~")) or "/" in name or name.endswith((".whl", ".zip", ".gz")):
        return "is a path"
    if re.fullmatch(rf"{_NAME}\s*(\[[^\]]*\])?", name):
        return "names no version"
    if re.search(r"[<>~!]=|[<>]|===|\*", name):
        return "allows several versions"
    return "is not like name==version"
