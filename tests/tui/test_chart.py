"""Charts as text."""

from __future__ import annotations

import math

import pytest

from hostler.base.table import cell_width
from hostler_tui.lines import text_of
from hostler_tui.widgets.chart import (
    Chart,
    chart_lines,
    columns,
    grid,
    number_text,
    plot_rows,
    sampled,
)


def test_a_chart_has_its_scale_its_last_value_and_its_ends() -> None:
    chart = Chart("loss", tuple((float(n), 4.0 - n) for n in range(4)), ends=("0", "3 steps"))
    assert [text_of(line) for line in chart_lines(chart, 20, 5)] == [
        "loss               1",
        "4 │█████            ",
        "  │███████████      ",
        "1 │████████████████▁",
        "  └0         3 steps",
    ]


def test_columns_reach_as_high_as_their_values() -> None:
    assert plot_rows([0.0, 0.5, 1.0, None], 0.0, 1.0, 2) == ["  █ ", "▁██ "]
    assert plot_rows([3.0, 3.0], 3.0, 3.0, 1) == ["▄▄"]


def test_a_gap_stays_a_gap_and_sparse_points_are_held() -> None:
    assert columns([(0.0, 1.0), (5.0, None), (10.0, 3.0)], 6) == [1.0, 1.0, 1.0, None, None, 3.0]
    assert columns([(0.0, 1.0), (0.1, 3.0), (10.0, 5.0)], 2) == [2.0, 5.0]
    assert columns([(float(n), math.nan) for n in range(4)], 4) == [None] * 4


def test_samples_that_are_rarer_than_the_steps_leave_no_gaps_between_bars() -> None:
    rare = [(float(n), 8.0 if n % 4 == 0 else None) for n in range(13)]
    assert columns(sampled(rare), 13) == [8.0] * 13
    late = [(float(n), 8.0 if n % 4 == 0 or n > 12 else None) for n in range(20)]
    assert columns(sampled(late), 20) == [8.0] * 20


def test_a_time_in_which_nothing_was_measured_stays_a_gap() -> None:
    silent = [(float(n), 8.0 if n < 4 or n > 9 else None) for n in range(14)]
    assert columns(sampled(silent), 14) == [8.0] * 4 + [None] * 6 + [8.0] * 4
    assert sampled([(0.0, None), (1.0, None)]) == ((0.0, None), (1.0, None))


@pytest.mark.parametrize("width", [10, 20, 37, 80, 160])
@pytest.mark.parametrize("height", [1, 3, 4, 9])
def test_charts_keep_their_size(width: int, height: int) -> None:
    values = tuple((float(n), math.sin(n)) for n in range(300))
    for chart in (Chart("a long title of a metric", values, ends=("0", "300")), Chart("none", ())):
        lines = chart_lines(chart, width, height)
        assert len(lines) == height
        assert all(cell_width(text_of(line)) <= width for line in lines)


def test_a_grid_puts_charts_side_by_side_where_there_is_room() -> None:
    charts = [Chart(name, ((0.0, 1.0), (1.0, 2.0))) for name in "abc"]
    assert len(grid(charts, 120, 8)) == 8
    assert len(grid(charts, 40, 24)) == 24
    assert grid(charts, 120, 2) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (1.7312, "1.731"), (411_200, "411k"), (1.2e7, "12M"), (-3e9, "-3G")],
)
def test_numbers_in_few_digits(value: float | None, text: str) -> None:
    assert number_text(value) == text
