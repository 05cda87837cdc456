"""A few trials of every area on every change; `make fuzz` makes the full numbers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.__main__ import AREAS
from tests.fuzz.trial import Area, count_of_environment, run, seed_of_environment


@pytest.mark.parametrize("name", AREAS)
def test_hostile_input_is_refused_or_harmless(name: str, tmp_path: Path) -> None:
    area = AREAS[name]
    result = run(area, seed_of_environment(), range(count_of_environment(area, area.few)), tmp_path)
    assert result.failures == ()


def test_a_trial_can_be_made_again_and_a_failing_one_says_how(tmp_path: Path) -> None:
    def check(data: int, folder: Path) -> None:
        if data % 7 == 3:
            raise KeyError(data)

    area = Area("sevens", 1, 1, lambda chance: chance.randrange(10_000), check)
    first = run(area, 5, range(50), tmp_path)
    assert first.failures
    number = int(first.failures[0].split("--only ")[1])
    assert run(area, 5, [number], tmp_path).failures == first.failures[:1]
    assert "KeyError" in first.failures[0]
    assert "--seed 5" in first.failures[0]


def test_trials_depend_on_seed_and_number_alone() -> None:
    for area in AREAS.values():
        for number in range(20):
            made = [area.make(random.Random(f"{number}")) for _ in range(2)]
            assert made[0] == made[1]
