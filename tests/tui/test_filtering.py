"""The filter of `/`: what it lets through, and where it says what is wrong."""

from __future__ import annotations

import pytest

from hostler.base.terms import TermError
from hostler_tui.filtering import Filter, Value, parse

KNOWN = ("host", "state", "model", "free", "age", "memory", "owner", "param.")
ROW: dict[str, Value] = {
    "host": "gpu-01", "state": ("free", "leased"), "model": "A100-80G", "free": 3, "age": 12.0,
    "memory": 80 * 1024**3, "owner": ("ana", "bob smith"), "param.lr": "0.1",
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", "gpu-01", "A100", "a100 state=free", "state=FREE", "state=idle,free", "free>=2",
        "free >= 2", "free=3", "age<1m", "age>10", "memory>=80GiB", "memory<1TiB", "model~a100",
        "model~a*80g", "host!=gpu-02", "owner!~eve", "!eve", 'owner="bob smith"', "param.lr=0.1",
        '"bob smith"', "state!=foreign,drained", "owner~bob free<5%",
    ],
)  # fmt: skip
def test_lets_through(text: str) -> None:
    assert parse(text, KNOWN).holds(ROW)


@pytest.mark.parametrize(
    "text",
    [
        "gpu-02", "a100 state=foreign", "free>3", "age>1m", "memory>80GiB", "model~v100", "!ana",
        "host=gpu", "host!=gpu-01", "owner!~ana", "state!=free", "param.lr=0.2", "model>2",
        "param.none<3",
    ],
)  # fmt: skip
def test_keeps_out(text: str) -> None:
    assert not parse(text, KNOWN).holds(ROW)


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("colour=red", 1, "no field 'colour'; fields: host"),
        ("gpu-01 colour=red", 8, "no field"),
        ("free>=", 7, "needs a value"),
        ("a free>many", 8, "'many' is not a number"),
        ('host="gpu', 6, "not closed"),
        ('x "', 3, "not closed"),
    ],
)
def test_says_at_which_column_it_cannot_be_read(text: str, column: int, part: str) -> None:
    with pytest.raises(TermError, match=part) as caught:
        parse(text, KNOWN)
    assert caught.value.column == column
    assert str(caught.value).startswith(f"column {column}: ")


def test_an_unknown_value_is_neither_small_nor_large() -> None:
    for text in ("free<1", "free>=0"):
        assert not parse(text, KNOWN).holds({**ROW, "free": None})
    assert not Filter()
    assert parse("x", KNOWN)
