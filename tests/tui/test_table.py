"""The table of rows by the Line API."""

from __future__ import annotations

import pytest

from hostler_tui.table_rows import Head, visible_heads, widths_of


def test_columns_go_by_their_rank_where_space_is_short() -> None:
    heads = [Head("HOST", 10), Head("MODEL", 10, drop=2), Head("AGE", 5, drop=1)]
    assert visible_heads(heads, 27) == [0, 1, 2]
    assert visible_heads(heads, 26) == [0, 2]
    assert visible_heads(heads, 3) == [0]


@pytest.mark.parametrize("width", [20, 33, 80])
def test_flexible_columns_fill_the_width(width: int) -> None:
    heads = [Head("A", 4), Head("B", 4, flex=True), Head("C", 4, flex=True)]
    widths = widths_of(heads, [0, 1, 2], width)
    assert sum(widths) + 2 == width
    assert abs(widths[1] - widths[2]) <= 1
