"""The numbers of `make house` that must not grow do not."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.ceilings import FILE, lower, read_ceilings
from tests.house.measures import MEASURES, Measure
from tests.house.source import Module, read_modules

ROOT = Path(__file__).resolve().parents[2]
HELD = [measure for measure in MEASURES if measure.held]


@pytest.fixture(scope="module")
def modules() -> Iterator[list[Module]]:
    """While they are there, no search for garbage goes through their millions of objects."""
    gc.disable()
    try:
        yield read_modules(ROOT)
    finally:
        gc.enable()


@pytest.mark.parametrize("measure", HELD, ids=lambda measure: measure.name)
def test_it_has_not_grown(measure: Measure, modules: list[Module]) -> None:
    ceiling, now = read_ceilings(FILE.read_text())[measure.name], measure.value(modules)
    wanted = "" if measure.wanted is None else f" (wanted: at most {measure.wanted:g})"
    assert now <= ceiling, (
        f"{measure.title.strip()}: {now:g}, and no more than {ceiling} are allowed{wanted}. "
        f"`make house HOUSE_ARGS='--list {measure.name}'` lists them; take out what you added."
    )


def test_every_held_measure_has_a_ceiling_and_no_other() -> None:
    assert set(read_ceilings(FILE.read_text())) == {measure.name for measure in HELD}


def test_ceilings_are_lowered_and_never_raised() -> None:
    text = "# why\nany = 10\nany_names = 10\ncast = 2\n"
    after = lower(text, {"any": 7, "any_names": 12, "cast": 0})
    assert after == "# why\nany = 7\nany_names = 10\ncast = 0\n"
