"""A command that wants a shell and has none is told before it runs, not by its first program."""

from __future__ import annotations

import time

import pytest

from hostler.base.errors import PipelineError
from hostler.spec.pipeline import read_pipeline
from hostler.spec.stages import shell_operator


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("sleep 2; echo prep", ";"),
        ("make && make install", "&&"),
        ("zcat a | wc -l", "|"),
        ("train > log 2>&1", ">"),
        ("python train.py --lr 0.1", None),
        ("sh -c 'sleep 2; echo prep'", None),
        ('echo "a | b" "done;"', None),
        (r"find . -exec rm {} \;", None),
        ("echo it's", None),
    ],
)
def test_what_only_a_shell_understands(command: str, found: str | None) -> None:
    assert shell_operator(command) == found


def test_a_pipeline_says_what_to_do_instead() -> None:
    text = 'name = "p"\n[stages.a]\ncommand = "sleep 2; echo prep"\n'
    with pytest.raises(PipelineError) as caught:
        read_pipeline(text, file="p.toml")
    [problem] = caught.value.problems
    assert (problem.path, problem.line) == ("stages.a.command", 3)
    assert "shell = true" in problem.hint
    read_pipeline(text + "shell = true\n", file="p.toml")
    read_pipeline(text.replace('"sleep 2; echo prep"', '["sleep", "2;"]'), file="p.toml")


def test_a_line_too_long_to_split_is_told_once_and_soon() -> None:
    text = f"name = \"p\"\n[stages.a]\ncommand = '''x {'y' * 500_000}'''\n"
    begun = time.process_time()
    with pytest.raises(PipelineError) as caught:
        read_pipeline(text, file="p.toml")
    assert time.process_time() - begun < 1, "shlex alone takes seconds"
    [problem] = caught.value.problems
    assert (problem.path, problem.line) == ("stages.a.command", 3)
    assert "list of arguments" in problem.message
