"""`{}` in a command, and a cell for each value."""

from __future__ import annotations

from typing import Any

import pytest

from hostler.base.errors import PipelineError, Problem
from hostler.spec.pipeline import command_pipeline


def commands(*command: str, **options: Any) -> list[tuple[str, ...]]:
    return [stage.command for stage in command_pipeline(command, **options).stages]


def refused(*command: str, **options: Any) -> Problem:
    with pytest.raises(PipelineError) as raised:
        command_pipeline(command, **options)
    return raised.value.problems[0]


def test_a_cell_for_each_value() -> None:
    made = command_pipeline(
        ["python", "train.py", "--c={}", "{}"], each=["a.yaml", "b.yaml"], max_parallel=1
    )
    assert [stage.name for stage in made.stages] == ["run.0", "run.1"]
    assert [stage.command for stage in made.stages] == [
        ("python", "train.py", "--c=a.yaml", "a.yaml"),
        ("python", "train.py", "--c=b.yaml", "b.yaml"),
    ]
    assert [stage.label for stage in made.stages] == ["run.0 (each=a.yaml)", "run.1 (each=b.yaml)"]
    assert made.stages[0].max_parallel == 1
    assert not made.stages[0].fail_fast  # what fails ends no other
    assert made.name == "train.py"


def test_numbers_need_no_place_in_the_command() -> None:
    made = command_pipeline(["train"], array=[3, 5]).stages
    assert [(stage.command, stage.cell) for stage in made] == [
        (("train",), {"array": 3}), (("train",), {"array": 5}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "becomes"),
    [
        ("{}", "x"),
        ("a{}b{}", "axbx"),
        ("{{}}", "{}"),
        ("{{}}{}", "{}x"),
        ("{{{}}}", "{{}}"),
        ("{ }", "{ }"),
        ("{a}", "{a}"),
        ("{params.x}", "{params.x}"),
        ("{matrix.each}", "{matrix.each}"),
        ("${}", "$x"),
    ],
)
def test_what_is_replaced(word: str, becomes: str) -> None:
    assert commands("{}", word, each=["x"]) == [("x", becomes)]


@pytest.mark.parametrize("word", ["{}", "{{}}", "{a}"])
def test_without_values_braces_are_text(word: str) -> None:
    assert commands("find", "-exec", word) == [("find", "-exec", word)]


def test_without_values_a_shell_line_may_have_braces_in_quotes() -> None:
    line = "grep -l '{}' x"
    assert commands(line, shell=True) == [(line,)]
    assert "max_parallel" in refused(line, shell=True, max_parallel=2).path


def test_values_are_text_and_no_placeholders() -> None:
    value = "{params.x} {{}} {} '$(id)'"
    assert commands("echo", "{}", each=[value]) == [("echo", value)]


def test_a_shell_line_takes_a_value_as_one_word() -> None:
    made = commands("cat", "{}", ">", "x", each=["a b", "$(id)"], shell=True)
    assert made == [("cat 'a b' > x",), ("cat '$(id)' > x",)]
    assert "inside quotes" in refused("cat '{}'", each=["a"], shell=True).message


def test_a_name_that_a_shell_would_read_is_refused() -> None:
    words = ("bash", "-lc", "python train.py {}")
    assert commands(*words, each=["a/b-1.yaml"]) == [("bash", "-lc", "python train.py a/b-1.yaml")]
    for wrong in ("$(id)", "a b", "a;b", "a'b"):
        problem = refused(*words, each=["fine", wrong])
        assert "bash would read" in problem.message
        assert '"$1"' in problem.hint
    as_argument = commands("bash", "-c", 'cat "$1"', "-", "{}", each=["a b"])
    assert as_argument == [("bash", "-c", 'cat "$1"', "-", "a b")]
    assert commands("/usr/bin/env", "X=1", "sh", "-c", "ls", each=None) != []


@pytest.mark.parametrize(
    "command",
    [
        "bash -c -- LINE",
        "bash -c -e LINE",
        "bash -ceu LINE",
        "bash -c -o pipefail LINE",
        "bash -euo pipefail -c LINE",
        "bash --norc -xc LINE",
        "sh -c - LINE",
        "env A=1 /bin/rbash -lc LINE",
        "nice fish -c LINE",
        "busybox ash -c LINE",
        "python3.12 -W ignore -c LINE",
        "conda run perl -ne LINE",
        "Rscript -e LINE",
    ],
)
def test_no_name_is_read_as_code_whatever_options_come_between(command: str) -> None:
    words = [word if word != "LINE" else "train {}" for word in command.split()]
    assert "would read" in refused(*words, each=["$(id)"]).message
    assert len(commands(*words, each=["a/b-1.yaml"])) == 1


@pytest.mark.parametrize(
    "command",
    [
        "bash train.sh {}",
        "bash train.sh -c {}",
        "sh -e train.sh --c {}",
        "bash -lc EXEC {}",
        "python train.py -c {}",
        "python -m train -c {}",
        "torchrun -c {}",
    ],
)
def test_an_argument_may_be_any_name(command: str) -> None:
    assert commands(*command.split(), each=["a b;$(id)"])[0][-1] == "a b;$(id)"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"each": ["a"]}, "no word of the command has a {}"),
        ({"each": ["a"], "array": [1]}, "cannot be combined with `array`"),
        ({"max_parallel": 2}, "`each` or `array`"),
        ({"array": [1, 1]}, "the same cell twice"),
        ({"array": list(range(10_001))}, "10001 cells"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], told: str) -> None:
    assert told in refused("train", **options).message


@pytest.mark.parametrize("value", ["a\nb", "a\0", "\ud800", "\x1b[2J"])
def test_values_are_printable(value: str) -> None:
    assert "control character" in refused("{}", each=[value]).message


def test_what_is_too_large_is_refused_at_once() -> None:
    assert "MiB" in refused("{}" * 20_000, each=["x" * 4000]).message
    assert "MiB" in refused("{}", "x" * 100_000, array=list(range(10_000))).message
