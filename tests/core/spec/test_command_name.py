from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.readers import read_name
from hostler.spec.pipeline import command_pipeline, program_name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["sleep", "60"], "sleep"),
        (["/opt/bin/Train", "--x"], "train"),
        (["python3", "train.py", "--lr", "3e-5"], "train.py"),
        (["python3.12", "-u", "src/eval.py"], "eval.py"),
        (["python", "-m", "lab.train", "x.py"], "lab.train"),
        (["python", "-c", "print(1)"], "python"),
        (["bash", "-lc", "make all"], "bash"),
        (["env", "A=b.py", "python", "a.py"], "a.py"),
        (["torchrun", "--nproc", "2", "fit.py"], "fit.py"),
        (["./run_all.sh"], "run_all.sh"),
        (["é"], "run"),
        ([""], "run"),
    ],
)
def test_a_run_is_called_like_what_it_runs(command: list[str], name: str) -> None:
    assert program_name(command) == name


@given(st.lists(st.text(max_size=80), max_size=6))
def test_whatever_is_run_the_name_is_one(command: list[str]) -> None:
    read_name(program_name(command))


def test_a_name_that_is_given_wins_and_lines_have_programs_too() -> None:
    assert command_pipeline(["python3", "a.py"]).name == "a.py"
    assert command_pipeline(["python3", "a.py"], name="mine").name == "mine"
    assert command_pipeline(["cat x | sort > y"], shell=True).name == "cat"
    assert command_pipeline(["cat", "x"]).stages[0].name == "run"
