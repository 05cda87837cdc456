from __future__ import annotations

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
