"""What JSON and TOML files can say, as types. TOML's dates are refused by whoever reads a value."""

from __future__ import annotations

from typing import TypeAlias

from hostler_agent.json_values import Json as Json

Scalar: TypeAlias = str | int | float | bool
JsonTable: TypeAlias = dict[str, Json]
