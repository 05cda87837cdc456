"""Releases one after the other in a world that is unkind, played at random."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.support.worlds.hypothesis_profiles import examples
from tests.support.worlds.random_releases import NAMES, ReleaseLab, moves


def _play(seed: int, steps: list[str], *, is_kind: bool) -> None:
    lab = ReleaseLab(Random(seed), is_kind=is_kind)
    does = moves(lab)
    lab.begin()
    for step in steps:
        does[step][1]()
    lab.calm_down()


STEPS = st.lists(st.sampled_from(NAMES), min_size=20, max_size=200)


@given(seed=st.integers(0, 2**32), steps=STEPS)
@examples(60)
def test_no_request_finds_nobody_while_releases_take_over(seed: int, steps: list[str]) -> None:
    _play(seed, steps, is_kind=True)


@given(seed=st.integers(0, 2**32), steps=STEPS)
@examples(40)
def test_whatever_dies_exactly_what_is_wanted_runs_in_the_end(seed: int, steps: list[str]) -> None:
    _play(seed, steps, is_kind=False)


@given(seed=st.integers(0, 2**32))
@examples(10)
def test_long_random_days(seed: int) -> None:
    rng = Random(seed)
    _play(seed, [rng.choice(NAMES) for _ in range(700)], is_kind=True)
