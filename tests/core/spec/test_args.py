"""`{args}` of a command: the words behind `--` of `hostler run FILE`."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import PipelineError
from hostler.model.pipelines import Pipeline
from hostler.spec.pipeline import read_pipeline
from tests.support.worlds.hypothesis_profiles import examples

WORDS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8), max_size=4
)


def read(stage: str, *args: str, top: str = "") -> Pipeline:
    return read_pipeline(f'name = "t"\n{top}\n[stages.a]\n{stage}', file="t", args=args)


def command(stage: str, *args: str) -> tuple[str, ...]:
    return read(stage, *args).stages[0].command


def refused(stage: str, *args: str, top: str = "") -> str:
    with pytest.raises(PipelineError) as caught:
        read(stage, *args, top=top)
    (problem,) = caught.value.problems
    return f"{problem.path}: {problem.message}"


@given(WORDS)
@examples(50)
def test_each_word_stays_one_word_whatever_it_holds(words: list[str]) -> None:
    assert command('command = "x -a {args} b"', *words) == ("x", "-a", *words, "b")
    assert command('command = ["x", "{args}", "{args}"]', *words) == ("x", *words, *words)
    (line,) = command('command = "x {args} | y"\nshell = true', *words)
    assert shlex.split(line.removesuffix("| y")) == ["x", *words]


def test_without_words_it_is_nothing_and_doubled_braces_are_text() -> None:
    assert command('command = "x {args}"') == ("x",)
    assert command('command = "x {{args}} {args}"', "a") == ("x", "{args}", "a")


def test_the_run_keeps_the_words_as_a_parameter() -> None:
    assert read('command = "x {args}"', "a b", "c").params == {"args": "'a b' c"}
    assert read('command = "x {args}"').params == {}


def test_every_cell_gets_them() -> None:
    stages = read('command = "x {matrix.i} {args}"\nmatrix = { i = [1, 2] }', "a").stages
    assert [stage.command for stage in stages] == [("x", "1", "a"), ("x", "2", "a")]


@pytest.mark.parametrize(
    ("stage", "top", "said"),
    [
        ('command = "x"', "", "stages: no command of the file has {args}, the place of 'a'"),
        ('command = "x --y={args}"', "", "stages.a.command: {args} must be an argument"),
        ('command = "x {args}"\nenv = { A = "{args}" }', "", "stages.a.env.A: {args} must be an"),
        ('command = "x \\"{args}\\""\nshell = true', "", "{args} is inside quotes"),
        ('command = "x {args}"', 'params.args = "1"', "params.args: is the parameter that holds"),
    ],
)
def test_where_words_cannot_go(stage: str, top: str, said: str) -> None:
    assert said in refused(stage, "a", top=top)


def test_very_many_words_in_very_many_cells_are_too_large() -> None:
    stage = 'command = "x {args}"\nmatrix = { i = { from = 1, to = 10000 } }'
    assert "MiB with all cells" in refused(stage, *["x" * 100_000] * 10)
