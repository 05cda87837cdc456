"""Rows whose cells are made late, and how wide text is."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest

from hostler.base import table as quick
from hostler_tui import lines
from hostler_tui.table_rows import Cells, Late, Row


class Fleet:
    """What rows are made of."""


def _cells(fleet: Fleet, text: str) -> Cells:
    return (text,)


def test_a_row_that_was_looked_at_lets_go_of_what_it_was_made_of() -> None:
    fleet = Fleet()
    gone = weakref.ref(fleet)
    row = Row("a", Late(partial(_cells, fleet, "one")))
    assert row.cells == ("one",)
    del fleet
    gc.collect()
    assert gone() is None
    assert row.cells == ("one",)


def test_late_rows_are_compared_by_what_they_say() -> None:
    def row(text: str) -> Row:
        return Row("a", Late(lambda: (text,)))

    assert row("one") == row("one")
    assert row("one") != row("two")


@pytest.mark.parametrize(
    "text", ["", "gpu-01", "▁▂█ 98%…", "│─└▟", "a·b", "汉字", "é", "e\u0301", "🎉"]
)
def test_the_quick_width_is_the_width(text: str) -> None:
    assert lines.cell_width(text) == quick.cell_width(text)
    for width in range(5):
        assert lines.cut(text, width) == quick.cut(text, width)
        assert lines.pad(text, width) == quick.pad(text, width)
        assert lines.pad(text, width, right=True) == quick.pad(text, width, right=True)


def test_every_character_of_the_quick_way_has_one_cell() -> None:
    plain = [chr(c) for c in range(0x3000) if lines._PLAIN.fullmatch(chr(c))]
    assert len(plain) > 250
    assert all(quick.cell_width(char) == 1 for char in plain)
