"""`setup` and what belongs to it: what is read, what is refused, and with which remedy."""

from __future__ import annotations

import pytest

from hostler.base.errors import PipelineError
from hostler.model.pipelines import Stage
from hostler.spec.pipeline import read_pipeline

HEAD = 'name = "p"\n'
TRAIN = '[stages.train]\ncommand = "true"\n'


def only(text: str) -> Stage:
    (stage,) = read_pipeline(HEAD + text, file="pipeline.toml").stages
    return stage


def problem(text: str) -> str:
    with pytest.raises(PipelineError) as raised:
        read_pipeline(HEAD + text, file="pipeline.toml")
    (found,) = raised.value.problems
    return str(found)


def test_lines_files_and_time_are_read() -> None:
    found = only(
        TRAIN + 'setup = """\npip install x\n\tpip install y\n"""\n'
        'setup_files = ["a.txt", "./b/c.txt"]\nsetup_timeout = "2h"\n'
    )
    assert found.setup == "pip install x\n\tpip install y\n"
    assert found.setup_files == ("a.txt", "b/c.txt")
    assert found.setup_timeout == 7200.0
    assert (only(TRAIN).setup, only(TRAIN).setup_files) == (None, None)


def test_parameters_are_filled_in() -> None:
    text = '[params]\nversion = "2.5"\n' + TRAIN + 'setup = "pip install torch=={params.version}"'
    assert only(text).setup == "pip install torch==2.5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('venv = "r.txt"\nsetup = "x"', "setup = 'pip install -r r.txt' does the same"),
        ('setup = " "', "is empty"),
        ('setup = "a\\u001bb"', "control character"),
        (f'setup = "{"x " * 40_000}"', "is longer than 32768 characters: put it into a script"),
        ('setup_files = ["a"]', "is for stages with `setup`"),
        ('setup_timeout = "1h"', "is for stages with `setup`"),
        ('setup = "x"\nsetup_files = ["../a"]', "should not contain .."),
        ('setup = "x"\nsetup_timeout = "0s"', "is not between"),
    ],
)
def test_what_means_nothing_is_refused(text: str, said: str) -> None:
    assert said in problem(TRAIN + text)


def test_named_files_have_to_be_in_the_source() -> None:
    text = HEAD + TRAIN + 'setup = "x"\nsetup_files = ["a.txt", "inputs/b", "c.txt"]\n'
    with pytest.raises(PipelineError) as raised:
        read_pipeline(text, file="pipeline.toml", holds={"a.txt"}.__contains__)
    assert [problem.message for problem in raised.value.problems] == [
        "the source has no file 'c.txt'"
    ]


def test_the_stages_own_key_replaces_the_other_ones_default() -> None:
    defaults = '[defaults]\nsetup = "x"\nsetup_timeout = "1h"\n'
    own = only(defaults + TRAIN + 'venv = "r.txt"')
    assert (own.setup, own.venv) == (None, "r.txt")
    assert only(defaults + TRAIN + 'image = "i"').setup is None
    assert only(defaults + TRAIN).setup == "x"
    assert only(TRAIN + 'image = "i"\nsetup = "x"').setup == "x"
    assert only('[defaults]\nvenv = "r.txt"\n' + TRAIN + 'setup = "x"').venv is None


def test_a_file_for_conda_is_set_up_and_has_to_go_along() -> None:
    text = HEAD + TRAIN + 'conda = "env.yml"\nworkdir = "src"\nsetup_timeout = "2h"'
    (found,) = read_pipeline(text, file="p.toml", holds={"src/env.yml"}.__contains__).stages
    assert (found.is_set_up, found.conda, found.environment) == (True, "env.yml", None)
    with pytest.raises(PipelineError) as raised:
        read_pipeline(text, file="p.toml", holds={"env.yml"}.__contains__)
    assert "the source has no file 'src/env.yml'" in str(raised.value.problems)
