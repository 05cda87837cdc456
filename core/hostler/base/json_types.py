"""What JSON and TOML files can say, as types. TOML's dates are refused by whoever reads a value."""

from __future__ import annotations

from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool
Json: TypeAlias = "Scalar | list[Json] | dict[str, Json] | None"
JsonTable: TypeAlias = dict[str, Json]


def table_or_empty(value: Json) -> JsonTable:
    """The value where it is a table; else an empty one, for what is checked elsewhere."""
    return value if isinstance(value, dict) else {}


def texts_or_empty(value: Json) -> list[str]:
    """The texts of a list, or none."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
