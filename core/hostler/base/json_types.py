"""What JSON and TOML files can say, as types. TOML's dates are refused by whoever reads a value."""

from __future__ import annotations

from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool
Json: TypeAlias = "Scalar | list[Json] | dict[str, Json] | None"
JsonTable: TypeAlias = dict[str, Json]
