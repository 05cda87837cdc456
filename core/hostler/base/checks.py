"""Reads untrusted JSON: checks types, limits lists and texts (4096) and drops unknown keys. Invalid
values raise ValueError, which names the place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_origin, get_type_hints

from hostler_agent.json_values import Json

T = TypeVar("T")
Check = Callable[[Json, str], T]
"""Takes a value and where it stands; gives what it is."""

MAX_ITEMS = 4096
"""Items of a list, unless a caller sets another limit."""
MAX_TEXT = 4096
_BIG = 2**63 - 1


def text(value: Json, where: str) -> str:
    """A string, at most `MAX_TEXT` characters kept, lone surrogates replaced."""
    return whole_text(value[:MAX_TEXT] if isinstance(value, str) else value, where)


def whole_text(value: Json, where: str) -> str:
    """A string as long as its line may be; lone surrogates replaced."""
    if not isinstance(value, str):
        raise ValueError(f"{where}: should be text, is {type(value).__name__}")
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def identifier(value: Json, where: str) -> str:
    """A short non-empty printable string without spaces: a UUID, an id."""
    short = text(value, where)
    if not 0 < len(short) <= 255 or not short.isprintable() or " " in short:
        raise ValueError(f"{where}: is not an identifier")
    return short


def integer(value: Json, where: str) -> int:
    """An int that fits 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _BIG:
        raise ValueError(f"{where}: should be a whole number")
    return value


def count(value: Json, where: str) -> int:
    """An int, not negative."""
    found = integer(value, where)
    if found < 0:
        raise ValueError(f"{where}: is negative")
    return found


def number(value: Json, where: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _BIG:
        raise ValueError(f"{where}: should be a number")
    if not math.isfinite(value):
        raise ValueError(f"{where}: is not finite")
    return float(value)


def boolean(value: Json, where: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{where}: should be true or false")
    return value


def optional(check: Check[T]) -> Check[T | None]:
    """`check`, or None."""
    return lambda value, where: None if value is None else check(value, where)


def listed(check: Check[T], most: int = MAX_ITEMS) -> Check[list[T]]:
    """A list of what `check` accepts, at most `most` long."""

    def checked(value: Json, where: str) -> list[T]:
        if not isinstance(value, list):
            raise ValueError(f"{where}: should be a list, is {type(value).__name__}")
        if len(value) > most:
            raise ValueError(f"{where}: {len(value)} items are too many")
        return [check(item, where) for item in value]

    return checked


def several(check: Check[T], most: int = MAX_ITEMS) -> Check[tuple[T, ...]]:
    """The same as a tuple, as values of the model have it."""
    of = listed(check, most)
    return lambda value, where: tuple(of(value, where))


def one_of(*words: str) -> Check[str]:
    """One of these words."""

    def checked(value: Json, where: str) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{where}: should be one of {', '.join(words)}")
        return value

    return checked


def mapping(value: Json, where: str) -> dict[str, Json]:
    """An object with any members."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: should be an object, is {type(value).__name__}")
    return value


def record(
    required: Mapping[str, Check[object]], others: Mapping[str, Check[object]]
) -> Check[dict[str, Any]]:
    """An object: `required` keys must exist, `others` may exist, further ones are dropped."""
    every = {**required, **others}

    def checked(value: Json, where: str) -> dict[str, Any]:
        found = mapping(value, where)
        for key in required:
            if key not in found:
                raise ValueError(f"{where}: {key} is missing")
        return {
            key: check(found[key], f"{where}.{key}") for key, check in every.items() if key in found
        }

    return checked


def made(
    kind: Callable[..., T],
    required: Mapping[str, Check[object]],
    others: Mapping[str, Check[object]],
) -> Check[T]:
    """An object as a value of `kind`, whose fields have the same names."""
    fields = record(required, others)
    return lambda value, where: kind(**fields(value, where))


def row(kind: Callable[..., T], by_type: Mapping[object, Check[object]]) -> Check[T]:
    """A list with a column for each field of `kind`, checked by the field's type; of lists and
    tuples that is `list` or `tuple`."""
    hints = get_type_hints(kind).values()
    checks = [by_type[get_origin(h) if get_origin(h) in (list, tuple) else h] for h in hints]

    def checked(value: Json, where: str) -> T:
        if not isinstance(value, list) or len(value) != len(checks):
            raise ValueError(f"{where}: should be a row of {len(checks)}")
        return kind(*[check(item, where) for check, item in zip(checks, value, strict=True)])

    return checked
