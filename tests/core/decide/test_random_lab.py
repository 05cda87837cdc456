"""The planner in a lab that is as unkind as the world, played at random."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.values.toykinds import toy_kinds
from tests.support.worlds.hypothesis_profiles import examples
from tests.support.worlds.random_groups import GroupLab
from tests.support.worlds.random_lab import NAMES, RandomLab, moves


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.sampled_from(list(NAMES)), min_size=20, max_size=120),
)
@examples(60)
def test_nothing_forbidden_happens_and_everything_ends(seed: int, steps: list[str]) -> None:
    lab = RandomLab(Random(seed))
    does = moves(lab)
    lab.submit()
    for step in steps:
        does[step][1]()
        lab.check()
    lab.calm_down()


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(st.sampled_from(list(NAMES)), min_size=20, max_size=120),
)
@examples(30)
def test_a_group_runs_as_a_whole_or_not_at_all(seed: int, steps: list[str]) -> None:
    with toy_kinds():
        lab = GroupLab(Random(seed))
        does = moves(lab)
        lab.submit()
        for step in steps:
            does[step][1]()
            lab.check()
        lab.calm_down()


@pytest.mark.slow
@given(seed=st.integers(0, 2**32))
@examples(12)
def test_long_random_days(seed: int) -> None:
    rng = Random(seed)
    lab = RandomLab(rng)
    does = moves(lab)
    names = list(NAMES)
    for _ in range(250):
        does[rng.choice(names)][1]()
        lab.check()
    lab.calm_down()
