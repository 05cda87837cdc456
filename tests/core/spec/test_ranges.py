"""Ranges of numbers and lines of files as the values of a matrix."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import PipelineError
from hostler.model.matrix_tables import RangeTable
from hostler.model.pipeline_file import MAX_STAGES
from hostler.model.pipelines import Stage
from hostler.spec.pipeline import read_pipeline
from hostler.spec.ranges import steps_of

_NUMBERS = st.one_of(
    st.integers(-1000, 1000),
    st.decimals(-1000, 1000, places=2, allow_nan=False, allow_infinity=False),
)


def stages(
    matrix: str,
    lines: dict[str, tuple[str, ...]] | None = None,
    params: dict[str, str] | None = None,
) -> tuple[Stage, ...]:
    text = f'name = "t"\nparams.n = 3\n[stages.a]\ncommand = "x"\nmatrix = {matrix}\n'
    return read_pipeline(text, file="p.toml", params=params, lines=lines).stages


def values(matrix: str, **params: str) -> list[object]:
    return [stage.cell["i"] for stage in stages(matrix, params=params)]


def refused(matrix: str, lines: dict[str, tuple[str, ...]] | None = None) -> tuple[str, str]:
    """Place and words of the only problem."""
    with pytest.raises(PipelineError) as caught:
        stages(matrix, lines)
    (problem,) = caught.value.problems
    return problem.path, str(problem)


@pytest.mark.parametrize(
    ("range_", "expected"),
    [
        ("from = 0, to = 3", [0, 1, 2, 3]),
        ("from = 0, to = 359, step = 90", [0, 90, 180, 270]),
        ("from = 3, to = 1, step = -1", [3, 2, 1]),
        ("from = 5, to = 5", [5]),
        ("from = 0, to = 0.3, step = 0.1", [0.0, 0.1, 0.2, 0.3]),
        ("from = 0.7, to = 1.0, step = 0.1", [0.7, 0.8, 0.9, 1.0]),
        ("from = 1e-4, to = 3e-4, step = 1e-4", [0.0001, 0.0002, 0.0003]),
        ("from = 0, to = 1.5", [0, 1]),
    ],
)
def test_both_ends_are_values_and_tenths_are_exact(range_: str, expected: list[object]) -> None:
    found = values(f"{{ i = {{ {range_} }} }}")
    assert found == expected
    assert [type(each) for each in found] == [type(each) for each in expected]


def test_an_end_may_be_a_parameter_and_other_keys_stand_beside_it() -> None:
    assert values('{ i = { from = 1, to = "{params.n}" } }') == [1, 2, 3]
    assert values('{ i = { from = 1, to = "{params.n}" } }', n="2") == [1, 2]
    both = stages('{ i = { from = 1, to = 2 }, m = ["s", "l"] }')
    assert [(s.cell["i"], s.cell["m"]) for s in both] == [(1, "s"), (1, "l"), (2, "s"), (2, "l")]


@given(first=_NUMBERS, last=_NUMBERS, step=_NUMBERS)
def test_a_range_holds_every_step_from_one_end_to_the_other(
    first: int | Decimal, last: int | Decimal, step: int | Decimal
) -> None:
    begin, end, by = Fraction(first), Fraction(last), Fraction(step)
    try:
        found = steps_of(RangeTable(first, last, step))
    except ValueError:
        assert not by or (end - begin) * by < 0 or (end - begin) / by >= MAX_STAGES
        return
    exact = [begin + n * by for n in range(len(found))]
    assert [*found] == [float(value) for value in exact]
    low, high = sorted((begin, end))
    assert all(low <= value <= high for value in exact)
    assert not low <= exact[-1] + by <= high  # none is left out


@pytest.mark.parametrize(
    ("range_", "path", "said"),
    [
        ("from = 0, to = 3, step = 0", "", "a step of 0"),
        ("from = 3, to = 0", "", "to count down: write a step below 0"),
        ("from = 0, to = 3, step = -0.5", "", "to count up"),
        ("from = 0, to = 10_000", "", "10001 values; a pipeline has at most 10000 stages"),
        ("from = 0, to = 1e300, step = 1e-300", "", "more than 1000000000000 values"),
        ("from = 0", ".to", "is missing"),
        ("to = 3", ".from", "is missing"),
        ("from = 0, to = 3, by = 2", ".by", "unknown key"),
        ("from = 0, to = nan", ".to", "finite"),
        ("from = true, to = 3", ".from", "a number"),
        ('from = 0, to = "many"', ".to", "a number"),
        ("start = 0", "", "{ from = 0, to = 9 }"),
    ],
)
def test_a_wrong_range_is_told_once(range_: str, path: str, said: str) -> None:
    found, words = refused(f"{{ i = {{ {range_} }} }}")
    assert found == f"stages.a.matrix.i{path}"
    assert said in words


def test_very_many_ranges_are_counted_and_not_made() -> None:
    many = ", ".join(f"k{n} = {{ from = 1, to = 10000 }}" for n in range(5000))
    assert "more than 1000000000000 cells" in refused(f"{{ {many} }}")[1]


def test_each_line_of_a_file_is_a_value() -> None:
    lines = {"args.txt": ("--lr 0.1", "--lr 0.2 $(x)"), "more/b.txt": ("1",)}
    found = stages('{ i = { lines = "./args.txt" } }', lines)
    assert [stage.cell["i"] for stage in found] == ["--lr 0.1", "--lr 0.2 $(x)"]
    assert stages('{ i = { lines = "more/b.txt" } }', lines)[0].cell == {"i": "1"}


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ('{ i = { lines = "other.txt" } }', "were not sent"),
        ('{ i = { lines = "none.txt" } }', "no line"),
        ('{ i = { lines = "../args.txt" } }', "not contain .."),
        ('{ i = { lines = "args.txt", skip = 1 } }', "unknown key"),
        ('{ i = { lines = "twice.txt" } }', "same cell twice"),
    ],
)
def test_lines_that_cannot_be_values(matrix: str, said: str) -> None:
    assert said in refused(matrix, {"none.txt": (), "twice.txt": ("a", "a")})[1]
