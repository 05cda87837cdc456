"""The tables that `matrix` accepts in place of a list: range, glob, lines of a file."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from decimal import Decimal

from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import Kind, Shape, by_name, reference, toml_key
from hostler.base.readers import kind_of
from hostler.base.value_kinds import IDENTIFIER, LINE, RELATIVE, SCALAR, or_placeholder

_LONGEST_NUMBER = 40


def _read_number(value: Json) -> object:
    """A whole number, or a decimal exactly as written: 0.1 is a tenth. Also from text, because a
    placeholder becomes text."""
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        with contextlib.suppress(ValueError):
            value = int(value) if value.lstrip("+-").isdecimal() else float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"should be a number, is {kind_of(value)}")
    if not math.isfinite(value):
        raise ValueError("should be a finite number")
    return value if isinstance(value, int) else Decimal(repr(value))


NUMBER = Kind(_read_number, or_placeholder({"type": "number"}), Shape.IN_FILE)


@dataclass(frozen=True, slots=True)
class GlobTable:
    """Values of a matrix key taken from file names."""

    glob: str = field(metadata=toml_key(LINE, "Pattern of files in the source, like `data/*.csv`."))


@dataclass(frozen=True, slots=True)
class LinesTable:
    """Values of a matrix key taken from the lines of a file."""

    lines: str = field(
        metadata=toml_key(
            RELATIVE,
            "File beside the pipeline file, or in a folder below: each of its lines is a value.",
        )
    )


@dataclass(frozen=True, slots=True)
class RangeTable:
    """Values of a matrix key that are numbers at equal distances."""

    first: int | Decimal = field(metadata=toml_key(NUMBER, "The first number.", name="from"))
    last: int | Decimal = field(
        metadata=toml_key(NUMBER, "The last number, if a step reaches it exactly.", name="to")
    )
    step: int | Decimal = field(
        default=1,
        metadata=toml_key(NUMBER, "From one number to the next; below 0 to count down."),
    )


_TABLES = (RangeTable, GlobTable, LinesTable)


_VALUES: JsonTable = {"type": "array", "items": SCALAR.schema}
MATRIX = Kind(
    lambda value: value,  # read by `spec.matrix`, before this table is
    {
        "anyOf": [
            by_name({"anyOf": [_VALUES, *map(reference, _TABLES)]}, IDENTIFIER),
            {"type": "array", "items": by_name(SCALAR.schema, IDENTIFIER)},
        ]
    },
    Shape.IN_FILE,
    tables=_TABLES,
)
"""`matrix` of a stage."""
