"""Answers without what differs from run to run: times, ids, folders, measured values, prose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROSE = frozenset({
    "sentence", "message", "remedy", "detail", "stop_detail", "what", "why", "problem", "hint",
    "note",
})  # fmt: skip
"""Keys of words for people."""
MEASURED = frozenset({
    "age_s", "seconds", "took", "took_s", "duration", "seq", "id", "uid", "after", "next", "pid",
    "energy", "energy_wh", "gpu_seconds", "gpu_hours", "utilization", "temperature", "power",
})  # fmt: skip
"""Keys of numbers that are never twice the same."""
SEEN_BY_CHANCE = frozenset({"usage"})
"""Keys of objects with what looks happened to see of a short stage."""
_EPOCH = range(1_500_000_000, 3_000_000_000)
_HEX = re.compile(r"\b[0-9a-f]{64}\b")
_PROCESS = re.compile(r"\b\d+:\d{10,}\b")
"""Pid and start time, as leases name a process."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


@dataclass
class Normal:
    """Replaces texts by their names, wherever they are."""

    user: str
    names: dict[str, str] = field(default_factory=dict)
    """Text -> its name in angle brackets."""

    def __call__(self, value: Any, key: str = "") -> Any:
        """A JSON value in which nothing is left that differs."""
        if isinstance(value, Mapping):
            if key in SEEN_BY_CHANCE:
                return "<seen>"
            of_row = str(value.get("name", "")).split()[-1:] if "values" in value else []
            if MEASURED.intersection(of_row):
                return {**value, "values": ["<number>"], "better": "<number>"}
            return {self._text(name): self(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self(item, key) for item in value]
        if isinstance(value, str):
            return "<words>" if key in PROSE and value else self._text(value)
        if isinstance(value, bool) or value is None:
            return value
        return self._number(value, key)

    def _number(self, value: float, key: str) -> Any:
        if int(value) in _EPOCH:
            return "<time>"
        return "<number>" if key in MEASURED else value

    def _text(self, text: str) -> str:
        if text == self.user:
            return "<me>"
        for old in sorted(self.names, key=len, reverse=True):
            text = text.replace(old, self.names[old])
        return _STAMP.sub("<time>", _PROCESS.sub("<process>", _HEX.sub("<sha256>", text)))


def shape(value: Any, key: str = "") -> Any:
    """Only keys and types; of a list of objects all keys that they have."""
    if key in SEEN_BY_CHANCE:
        return "<seen>"
    if key in MEASURED and not isinstance(value, list | Mapping):
        return "<number or null>"
    if isinstance(value, Mapping):
        return {key: shape(item, key) for key, item in value.items()}
    if isinstance(value, list):
        objects = [shape(item) for item in value if isinstance(item, Mapping)]
        merged = {key: item for found in objects for key, item in found.items()}
        return [merged] if objects else ["<values>"]
    if key == "schema":
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "<number>"
    return f"<{type(value).__name__}>"
