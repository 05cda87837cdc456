from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.insight.time_steps import Grid, covering, last_minutes

times = st.floats(0, 2e9)


@given(now=times, minutes=st.integers(1, 1440))
def test_the_last_minutes_hold_the_one_that_runs(now: float, minutes: int) -> None:
    grid = last_minutes(now, minutes)
    assert grid.length == minutes
    assert grid.end - 60 <= now < grid.end
    assert grid.begin % 60 == 0


@given(
    begin=times,
    life=st.floats(0, 4e8),
    most=st.integers(2, 400),
    least=st.sampled_from([0.0, 5.0, 60.0]),
)
def test_a_life_is_covered_in_as_many_steps_as_allowed(
    begin: float, life: float, most: int, least: float
) -> None:
    end = begin + life
    grid = covering(begin, end, most, least)
    assert 1 <= grid.length <= most
    assert grid.step_s >= least
    assert grid.begin <= begin
    assert grid.end >= end


@given(st.data())
def test_each_value_is_at_its_step_and_the_rest_is_unknown(data: st.DataObject) -> None:
    grid = Grid(120.0, 60.0, 10)
    at = data.draw(st.lists(st.floats(0, 1000), unique_by=lambda t: t // 60))
    placed = grid.place(at, at)
    assert len(placed) == 10
    inside = [time for time in at if 120 <= time < 720]
    assert sorted(value for value in placed if value is not None) == sorted(inside)
    for index, value in enumerate(placed):
        assert value is None or 120 + 60 * index <= value < 180 + 60 * index


@pytest.mark.parametrize(
    ("life", "most", "step"),
    [
        (20, 5, 5), (21, 5, 10), (40, 5, 10), (60, 5, 15), (120, 5, 30), (121, 5, 60),
        (240, 5, 60), (241, 5, 120), (480, 5, 120), (1200, 5, 300), (2400, 5, 600), (2401, 5, 900),
        (3600, 5, 900), (7200, 5, 1800), (14_400, 5, 3600), (28_800, 5, 7200), (57_600, 5, 14_400),
        (57_601, 5, 43_200), (172_800, 5, 43_200), (345_600, 5, 86_400), (345_601, 5, 172_800),
    ],
)  # fmt: skip
def test_steps_have_a_round_length_that_is_just_enough(life: float, most: int, step: float) -> None:
    grid = covering(0.0, life, most)
    assert grid.step_s == step
    assert grid.length == math.ceil(life / step)


def test_steps_may_be_asked_to_be_longer_and_begin_at_a_round_time() -> None:
    assert covering(0.0, 20.0, 5, 60.0) == Grid(0.0, 60.0, 1)
    assert covering(97.0, 100.0, 5) == Grid(95.0, 5.0, 1)
    assert covering(100.0, 100.0, 5) == Grid(100.0, 5.0, 1)
