from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.base.terms import COMPARISONS
from hostler.insight.search import Condition, Order, read_conditions, read_order

names = st.text(min_size=1).filter(lambda t: t == t.strip() and not set(t) & set('<>=!"'))


@given(name=names, operator=st.sampled_from(COMPARISONS), value=st.floats(allow_nan=False))
def test_a_condition_is_read_as_it_is_written(name: str, operator: str, value: float) -> None:
    (made,) = read_conditions([f"{name} {operator} {value}"], numbers=True)
    assert (made.name, made.operator, made.number) == (name, operator, value)


def test_words_are_compared_for_being_the_same_only() -> None:
    assert read_conditions(["model=a=b"], numbers=False) == (Condition("model", "=", "a=b"),)
    assert read_conditions(["model!="], numbers=False) == (Condition("model", "!=", ""),)
    for text in ("model<vit", "model>=", "lr>nan"):
        with pytest.raises(InputError, match="is not a number"):
            read_conditions([text], numbers=False)
    with pytest.raises(InputError, match="is not a number"):
        read_conditions(["accuracy=high"], numbers=True)


@pytest.mark.parametrize("text", ["", "lr", "=3", "lr~3", 'a"b=3'])
def test_what_compares_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="has no operator"):
        read_conditions([text], numbers=False)


def test_orders() -> None:
    assert read_order(None) == read_order("") == Order("submitted", descending=True)
    assert read_order("-val_acc") == Order("val_acc", descending=True)
    assert read_order("took") == Order("took", descending=False)
    for text in ("-", 'a"b'):
        with pytest.raises(InputError, match="not a field to sort by"):
            read_order(text)
