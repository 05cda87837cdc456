"""The values of JSON and TOML files, as types. Readers of values refuse TOML's dates."""

from __future__ import annotations

from typing import TypeAlias

from hostler_agent.json_values import Json as Json

Scalar: TypeAlias = str | int | float | bool
JsonTable: TypeAlias = dict[str, Json]
