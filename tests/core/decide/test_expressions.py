"""`when` and `pass`: what they say, what they refuse, and that nothing else can happen in them."""

from __future__ import annotations

import math
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.decide.expressions import MAX_LENGTH, check, evaluate, names_in
from tests.support.worlds.hypothesis_profiles import examples

NAMES: dict[str, object] = {
    "params": {"lr": 0.1, "data": "small", "augment": True, "lambda": 2},
    "matrix": {"shard": 2},
    "train": {"accuracy": 0.9, "val.acc": 0.8, "nan": math.nan},
    "pre-train": {"loss": 0.5},
    "prepare": {"rows": [1.0, 2.0, 6.0]},
    "one": {"rows": [4.0]},
    "accuracy": 0.97,
    "val/acc": 0.96,
    "flat.name": 3,
    "deep.er": {"value": 5},
    "x": {"y": 6},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("accuracy >= 0.95", True),
        ("accuracy >= train.accuracy - 0.01", True),
        ("0 < train.accuracy <= 0.9", True),
        ("0 < train.accuracy < 0.9", False),
        ("params.lr * 2 + 1 > 1.19 and not params.lr == 1", True),
        ("params.augment", True),
        ("not params.augment or false", False),
        ("true and True", True),
        ('params.data == "small"', True),
        ('params.data in ["small", "large"]', True),
        ('params.data not in ("small", "large")', False),
        ("matrix.shard in [1, 3]", False),
        ("max(prepare.rows) == 6 and min(prepare.rows) == 1", True),
        ("sum(prepare.rows) == 9 and mean(prepare.rows) == 3 and count(prepare.rows) == 3", True),
        ("max(prepare.rows, 100) == 100", True),
        ("one.rows == 4", True),
        ("abs(-one.rows) == 4", True),
        ('metric("val/acc") > 0.95', True),
        ('metric("pre-train.loss") == 0.5', True),
        ('metric("params.lambda") == 2', True),
        ("train.val.acc == 0.8", True),
        ("flat.name == 3", True),
        ("-3 < -2", True),
        ("2 * 3 - 4 / 8", 5.5),
        ("count([]) == 0", True),
        ("1 in [1] in [2]", False),
        ('1 in ["1"]', False),
        ("deep.er.value == 5", True),
        ("x.y == 6", True),
        ('"text"', "text"),
    ],
)
def test_value(expression: str, value: object) -> None:
    assert evaluate(expression, NAMES) == value


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("f1 > 0.5", 'metric "f1" was not written by stage validate'),
        ("train.f1 > 0.5", 'metric "f1" was not written by stage train'),
        ("acuracy > 0.5", 'did you mean "accuracy"?'),
        ("params.lrr > 1", 'there is no parameter "lrr", did you mean "lr"?'),
        ("matrix.x > 1", 'there is no matrix key "x"'),
        ("other.loss > 1", '"other" is no stage that this one needs'),
        ("train.nan < 1", "train.nan is not a number (NaN)"),
        ("train > 1", "train is not a value"),
        ("prepare.rows > 1", "3 values"),
        ("prepare.rows", "3 values"),
        ("params.data > 1", "compares text with a number"),
        ("params.data * 2 == 1", "is text, and a number is needed"),
        ("max(params.data) == 1", "max() needs numbers"),
        ("1 / 0 > 1", "division by zero"),
        ("9" * 400 + " * 1.5 > 1", "too large"),
        ("min([]) > 1", "has no value"),
    ],
)
def test_no_value(expression: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate(expression, NAMES, stage="validate")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "", "   ", "accuracy =", "accuracy = 1", "a ** 2", "a // 2", "a % 2", "a if b else c",
        "lambda: 1", "[x for x in y]", "{1: 2}", "{1}", "f'{a}'", "b'x'", "None", "...", "1j",
        "a[0]", "a.b()", "open('x')", "__import__('os').system('x')", "a is b", "x in y", "~a",
        "(a := 1)", "max(a, key=b)", "max()", "max(*a)", "metric()", "metric(a)", "metric(1)",
        "abs(1, 2)", "().x", "'a'.upper", "\0", "a;b", "a\nb", "(" * 500, "-" * 900 + "1",
        "(" * 90 + "1" + ")" * 90 + "+" + "-" * 90 + "1", "a" * (MAX_LENGTH + 1), "\ud800",
    ],
)  # fmt: skip
def test_refused_before_evaluation(expression: str) -> None:
    assert check(expression)
    with pytest.raises(InputError):
        evaluate(expression, NAMES)


@pytest.mark.parametrize(
    ("longest", "longer", "said"),
    [
        ("not " * 38 + "true", "not " * 39 + "true", "is nested too deeply"),
        (f'"{"a" * 998}"', f'"{"a" * 999}"', "is longer than 1000 characters"),
    ],
    ids=["depth", "length"],
)
def test_up_to_a_limit_all_is_well(longest: str, longer: str, said: str) -> None:
    assert check(longest) == []
    assert said in check(longer)[0]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("  ", "is empty"),
        ("abs(1, 2)", "abs() takes one number"),
        ("max()", "max() takes one or more numbers"),
        (f"{'a' * 60} ** 2", f"{'a' * 57}... cannot be used here"),
        (f"'{'a' * 58}'.b", f"'{'a' * 56}... is not a name"),
        (f"'{'a' * 56}'.b", f"'{'a' * 56}'.b is not a name"),
    ],
)
def test_what_is_wrong_is_said(expression: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate(expression, NAMES)
    assert said in str(caught.value)


def test_a_long_expression_is_quoted_in_part() -> None:
    def quoted(length: int) -> str:
        with pytest.raises(InputError) as caught:
            evaluate("a" * (length - 3) + "+.b", {})
        return str(caught.value).partition(": ")[0]

    assert quoted(80) == f"`{'a' * 77}+.b`"
    assert quoted(81) == f"`{'a' * 77}...`"


def test_names_that_are_no_words_are_listed_up_to_eight() -> None:
    known = [f"params.p{n}" for n in range(7)]
    assert check("zzz > 1", []) == ['unknown name "zzz"']
    listed = ", ".join(known)
    said = f'unknown name "zzz" (known: {listed}, train.METRIC)'
    assert check("zzz > 1", [*known, "train.*"]) == [said]
    assert check("zzz > 1", [*known, "train.*", "test.*"]) == [said]
    assert check("zzz.a > 1", ["*"]) == ['unknown name "zzz.a"']
    assert check("zzz > 1 )", []) == check("zzz > 1 )")


def test_the_nearest_of_several_names_is_meant_and_none_for_a_long_one() -> None:
    known = ["losing", "loss_1", "lot"]
    assert check("loss > 1", known)[0].endswith(', did you mean "loss_1"?')
    long = "a" * 64
    assert "did you mean" in check(f"{long} > 1", [f"{long}b"])[0]
    assert "did you mean" not in check(f"{long}a > 1", [f"{long}b"])[0]


def test_a_function_of_quoted_text_names_nothing() -> None:
    assert names_in('max("a") > count(b)') == ["b"]


def test_check_knows_names() -> None:
    known = ["params.lr", "matrix.shard", "train.*"]
    assert check("params.lr > 1 and train.anything > matrix.shard and true", known) == []
    assert check("params.l > 1", known) == ['unknown name "params.l", did you mean "params.lr"?']
    assert 'unknown name "loss"' in check("loss > 1", known)[0]
    assert 'unknown name "test.loss"' in check('metric("test.loss") > 1', known)[0]
    assert check("loss > 1", ["*"]) == []
    assert len(check("a > 1 and b > 1 and a > 2", known)) == 2


def test_names_in_order() -> None:
    text = 'train.a + min(c, metric("x/y")) > 1 and true and c in [d]'
    assert names_in(text) == ["train.a", "c", "x/y", "d"]


def test_no_short_cut_hides_a_wrong_right_side() -> None:
    assert evaluate("true or missing", {}) is True
    with pytest.raises(InputError):
        evaluate("false or missing", {})


numbers = st.integers(-1000, 1000) | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@given(left=numbers, right=numbers, sign=st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
@examples(60)
def test_compares_as_python_does(left: float, right: float, sign: str) -> None:
    expected = {
        "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
        ">": operator.gt, ">=": operator.ge,
    }[sign](left, right)  # fmt: skip
    assert evaluate(f"a {sign} ({right!r})", {"a": left}) is expected


PIECES = (
    "a b.c params.lr 1 2.5 'x' ( ) [ ] + - * / ** and or not in is < == , . min( metric( \\ #"
    " lambda if else : := { } @ % f'{ True None 0x 1e999 \u202e é \0 \ud800"
)
words = st.sampled_from([*PIECES.split(" "), "\n"])


@pytest.mark.slow
@given(text=st.lists(words, max_size=25).map(" ".join) | st.text(max_size=40))
@examples(100)
def test_any_text_is_a_value_or_an_input_error(text: str) -> None:
    values: dict[str, Any] = {"a": 1, "b": {"c": [1, 2]}, "params": {"lr": 0.5}}
    problems = check(text)
    if problems:
        with pytest.raises(InputError):
            evaluate(text, values)
        return
    try:
        value = evaluate(text, values)
    except InputError:
        return
    assert isinstance(value, (bool, int, float, str))
