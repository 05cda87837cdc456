"""Times that the daemon waits stand in one value: no module keeps one of its own."""

from __future__ import annotations

import ast
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import hostler
from hostler.model.timings import DEFAULT, Timings

CORE = Path(hostler.__file__).parent
KEPT_FOR = {
    "_DAY_S", "_SAMPLES_FOR_S", "_MINUTES_FOR_S", "_PARTIALS_FOR_S", "_RECENT_S", "_LONGEST_S",
    "_COARSE_S", "EACH_S", "TOLD_EACH_S", "_LAST_S", "_LONGEST_GAP_S",
}  # fmt: skip
"""How long something is kept or counts, how fine files' times are, how fast a budget refills, and
the end of the process: none of it is waited for."""


def seconds_in(file: Path) -> list[str]:
    return [
        target.id
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id.endswith("_S")
    ]


@pytest.mark.parametrize("room", ["daemon", "api"])
def test_no_module_has_times_of_its_own(room: str) -> None:
    for file in sorted((CORE / room).glob("*.py")):
        assert set(seconds_in(file)) <= KEPT_FOR, file.name


def test_every_time_is_used() -> None:
    text = "".join(file.read_text() for file in CORE.rglob("*.py") if file.name != "timings.py")
    for name in names(DEFAULT):
        assert f".{name}" in text, name


def names(value: Any) -> list[str]:
    found = []
    for field in fields(value):
        found.append(field.name)
        inner = getattr(value, field.name)
        found += names(inner) if is_dataclass(inner) else []
    return found


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Timings().plan_every = 2.0  # type: ignore[misc]
