"""Which images a Dockerfile begins with or copies from. Pure.

It does not parse Dockerfiles completely: lines that it does not understand name no image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_FROM = re.compile(r"FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?", re.I)
_ARG = re.compile(r"ARG\s+(.+)", re.I)
_VALUE = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_COPY = re.compile(r"(?:COPY|ADD)\s+(?:--\S+\s+)*?--from=(\S+)", re.I)
_MOUNT, _OF = "--mount=", "from="
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})")
_MOST = 50
"""Images: no sensible Dockerfile has more."""
_LONGEST = 300


def images_of(text: str, args: Mapping[str, str]) -> tuple[str, ...]:
    """Names of all external images, the base of the last stage first."""
    known: dict[str, str] = {}
    stages: set[str] = set()
    bases: list[str] = []
    others: list[str] = []
    for line in instructions(text):
        if (found := _FROM.match(line)) is not None:
            _add(bases, filled(found[1], known), stages)
            if found[2] is not None:
                stages.add(found[2].lower())
        elif not bases and (arg := _ARG.match(line)) is not None:
            known |= values_of(arg[1], args)
        else:
            for name in _mentioned(line):
                _add(others, name, stages)
    return tuple(dict.fromkeys((*reversed(bases), *others)))[:_MOST]


def instructions(text: str) -> Iterator[str]:
    """Each with its continued lines, without comments."""
    waiting = ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#") or (waiting and not stripped):
            continue
        if stripped.endswith(("\\", "`")):
            waiting += stripped[:-1] + " "
            continue
        yield waiting + stripped
        waiting = ""
    if waiting:
        yield waiting


def _mentioned(line: str) -> Iterator[str]:
    found = _COPY.match(line)
    if found is not None:
        yield found[1]
    elif line[:4].upper() == "RUN ":
        yield from _of_mounts(line)


def _of_mounts(line: str) -> Iterator[str]:
    """Works word by word: the time of a pattern would grow with the square of the line's length."""
    for word in line.split():
        if word.startswith(_MOUNT):
            settings = word.removeprefix(_MOUNT).split(",")
            yield from (each.removeprefix(_OF) for each in settings if each.startswith(_OF))


def values_of(said: str, args: Mapping[str, str]) -> dict[str, str]:
    """The values that ARG or ENV sets: `A=b C="d"`. `args` go before the values of the file."""
    found: dict[str, str] = {}
    for name, default in _VALUE.findall(said):
        value = args.get(name, default.strip("\"'") if default else None)
        if value is not None:
            found[name] = value[:_LONGEST]
    return found


def filled(name: str, known: Mapping[str, str]) -> str:
    """A text with its known variables replaced."""

    def value(found: re.Match[str]) -> str:
        return known.get(found[1] or found[2]) or found[3] or ""

    return _VARIABLE.sub(value, name[:_LONGEST])[:_LONGEST]


def _add(images: list[str], name: str, stages: set[str]) -> None:
    is_image = name and name != "scratch" and name.lower() not in stages and not name.isdecimal()
    if is_image and "$" not in name and len(images) < _MOST:
        images.append(name[:_LONGEST])
