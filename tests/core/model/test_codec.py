"""Model values to JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from hostler.model.codec import KEY, from_answer, from_json, to_json


class Word(StrEnum):
    ONE = "one"
    TWO = "two"


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    word: Word = Word.ONE
    inners: tuple[Inner, ...] = ()
    by_name: Mapping[str, Inner] = field(default_factory=dict)
    mixed: str | int | bool | None = None
    names: frozenset[str] = frozenset()
    begin: float = field(default=0.0, metadata={KEY: "from"})
    pair: tuple[str, int] = ("", 0)


def test_a_value_comes_back_as_it_was() -> None:
    value = Outer(
        word=Word.TWO,
        inners=(Inner("a", 1.5), Inner("b")),
        by_name={"c": Inner("d")},
        mixed=True,
        names=frozenset({"z", "y"}),
        begin=2.0,
        pair=("p", 3),
    )
    written = to_json(value)
    assert list(written) == ["word", "inners", "by_name", "mixed", "names", "from", "pair"]
    assert written["names"] == ["y", "z"]
    assert from_json(Outer, written) == value


def test_unknown_keys_are_left_out_and_missing_ones_get_their_default() -> None:
    assert from_json(Outer, {"later": 1}) == Outer()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"word": "three"}, "Outer.word: 'three' is not a valid Word"),
        ({"inners": {}}, "Outer.inners: should be a list, is dict"),
        ({"inners": [{"name": 1}]}, "Outer.inners.name: should be str, is int"),
        ({"by_name": {"k": {"name": "n", "value": "x"}}}, "Outer.by_name.k.value: should be float"),
        ({"inners": [{}]}, "missing 1 required positional argument: 'name'"),
        ({"from": True}, "Outer.from: should be float, is bool"),
        ({"from": 10**400}, "Outer.from: is out of range"),
        ({"pair": ["p"]}, "Outer.pair: should be 2 items"),
        ([], "Outer: should be an object, is list"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(data: object, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        from_json(Outer, data)
    assert said in str(caught.value)


def test_a_whole_number_is_read_as_a_float_where_one_is_wanted() -> None:
    value = from_json(Inner, {"name": "a", "value": 3}).value
    assert isinstance(value, float)
    kept = from_answer(Inner, {"name": "a", "value": 3}).value
    assert isinstance(kept, int)  # so that the same is written again


def test_words_of_a_newer_daemon_are_read_as_they_are() -> None:
    read = from_answer(Outer, {"word": "three"})
    assert isinstance(read.word, Word)
    assert read.word == "three"
    assert read.word.value == "three"
    assert to_json(read)["word"] == "three"
    assert "three" not in list(Word)
    with pytest.raises(ValueError, match="three"):
        from_json(Outer, {"word": "three"})


def test_a_thing_that_is_no_part_of_the_model_is_not_written() -> None:
    with pytest.raises(TypeError, match="object is not part of the model"):
        to_json({"a": object()})
