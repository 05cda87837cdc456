from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.table import (
    Column,
    cell_width,
    cut,
    is_terminal,
    pad,
    render_table,
    render_tsv,
    style,
    terminal_width,
    wants_color,
)

COLUMNS = (Column("NAME", flex=True, least=4), Column("N", right=True), Column("WHY", flex=True))
TEXTS = st.text(max_size=30)


@given(TEXTS, st.integers(0, 40))
def test_cutting_never_exceeds_the_width(text: str, width: int) -> None:
    assert cell_width(cut(text, width)) <= max(width, 0)


@given(TEXTS, st.integers(0, 40))
def test_padding_reaches_the_width(text: str, width: int) -> None:
    assert cell_width(pad(text, width)) == max(width, cell_width(text))


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=6), st.integers(10, 60))
def test_no_line_is_wider_than_the_terminal_and_none_is_added(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    lines = render_table(COLUMNS, rows, width=width).split("\n")[:-1]
    assert len(lines) == len(rows) + 1
    assert all(cell_width(line) <= width for line in lines)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "\n".join(lines))


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6))
def test_piped_rows_keep_their_fields(rows: list[tuple[str, str]]) -> None:
    lines = render_tsv(rows).split("\n")[:-1]
    assert [line.count("\t") for line in lines] == [1] * len(rows)


def test_columns_line_up_with_wide_and_combining_letters() -> None:
    rows = [["gpu", "1", "x"], ["日本", "22", "y"], ["e\u0301a", "3", "z"]]
    lines = render_table(COLUMNS, rows).splitlines()
    assert [cell_width(line[: line.rindex(end)]) for line, end in
            zip(lines[1:], "xyz", strict=True)] == [10, 10, 10]  # fmt: skip


def test_the_widest_column_gives_way_first() -> None:
    rows = [["a" * 10, "1", "b" * 40]]
    line = render_table(COLUMNS, rows, width=40).splitlines()[1]
    assert "a" * 10 in line
    assert line.endswith("…")


def test_colour_does_not_move_columns() -> None:
    columns = (Column("S", paint=lambda text: style(text, "red")), Column("X"))
    plain = render_table(columns, [["ab", "x"]])
    colored = render_table(columns, [["ab", "x"]], color=True)
    assert "\x1b[31m" in colored
    assert re.sub(r"\x1b\[\d*m", "", colored) == plain


@pytest.mark.parametrize(
    ("choice", "env", "expected"),
    [
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {"FORCE_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ("auto", {"FORCE_COLOR": "1"}, True),
        ("auto", {"TERM": "xterm"}, False),  # a pipe
    ],
)
def test_colour_follows_flag_then_environment(
    choice: str, env: dict[str, str], expected: bool
) -> None:
    assert wants_color(choice, io.StringIO(), env) is expected


def test_the_width_is_columns_or_80(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "33")
    assert terminal_width(io.StringIO()) == 33
    monkeypatch.delenv("COLUMNS")
    assert terminal_width(io.StringIO()) == 80
    closed = io.StringIO()
    closed.close()
    assert not is_terminal(closed)
