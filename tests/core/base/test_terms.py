"""The grammar that the filter of `/` and the search of the history share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.terms import (
    COMPARISONS,
    Term,
    TermError,
    plain_value,
    read_condition,
    read_number,
    read_quantity,
    read_terms,
)

_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True)
_VALUES = st.text("abz019.%/-:,", min_size=1, max_size=8)


@given(_NAMES, st.sampled_from(COMPARISONS), _VALUES, st.sampled_from(("", " ")))
def test_a_plain_condition_is_the_same_in_a_filter(
    name: str, op: str, value: str, gap: str
) -> None:
    text = f"{name}{gap}{op}{gap}{value}"
    (term,) = read_terms(text)
    found = read_condition(text)
    assert found is not None
    assert found[:3] == term[:3] == (name, op, value)


@pytest.mark.parametrize(
    ("text", "name", "op", "value"),
    [
        ("val/acc>=0.9", "val/acc", ">=", "0.9"),
        (" lr = 1e-3 ", "lr", "=", "1e-3"),
        ("model=a=b c", "model", "=", "a=b c"),
        ("top 5 error!=", "top 5 error", "!=", ""),
        ('note="x"', "note", "=", '"x"'),
    ],
)
def test_a_condition_of_its_own(text: str, name: str, op: str, value: str) -> None:
    assert read_condition(text) == Term(name, op, value)


@pytest.mark.parametrize("text", ["", "lr", "=1", '"a"=1', "lr~1"])
def test_what_compares_nothing_is_no_condition(text: str) -> None:
    assert read_condition(text) is None


def test_terms_and_words_with_their_places() -> None:
    text = 'a100 !sim why="out of memory" free >= 2 "two words" !"b c" x!~y'
    read = list(read_terms(text))
    assert [(t.name, t.op, t.value) for t in read] == [
        ("", "~", "a100"), ("", "!~", "sim"), ("why", "=", '"out of memory"'), ("free", ">=", "2"),
        ("", "~", "two words"), ("", "!~", "b c"), ("x", "!~", "y"),
    ]  # fmt: skip
    for term in read:
        assert text[term.at :].startswith(term.name)
        assert text[term.value_at :].lstrip('"').startswith(term.value.strip('"'))
    assert plain_value(read[2]) == "out of memory"


def test_quotes_are_closed_and_values_there() -> None:
    with pytest.raises(TermError, match="column 6: this quote is not closed"):
        list(map(plain_value, read_terms('host="gpu')))
    with pytest.raises(TermError, match="column 6: host= needs a value"):
        list(map(plain_value, read_terms("host=")))


def test_numbers_with_and_without_units() -> None:
    assert [read_quantity(t) for t in ("2", "50%", "24GiB", "90s", "many", "%")] == [
        2.0, 50.0, 24 * 1024.0**3, 90.0, None, None,
    ]  # fmt: skip
    assert [read_number(t) for t in ("1e-3", "nan", "2h", "")] == [0.001, None, None, None]
