"""Pipeline files for the form that submits one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import InputError, NotFoundError
from hostler.model.codec import from_answer
from hostler.model.views.plans import PlanView
from hostler_tui.lines import text_of
from hostler_tui.submit.pipeline_files import changed, completed, entries, params_of, run_args
from hostler_tui.submit.plan_lines import plan_lines

PIPELINE = """
name = "digits"
[params]
lr = 0.1
epochs = 10
data = "small"
augment = true
[stages.train]
command = "python train.py"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (tmp_path / "broken.toml").write_text("name = \n")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "large.toml").write_text(PIPELINE)
    return tmp_path


def test_a_folder_shows_its_toml_files_with_what_they_are_then_folders(folder: Path) -> None:
    assert [(one.path.name, one.note) for one in entries(folder)] == [
        ("broken.toml", "cannot be read"), ("pipeline.toml", "digits, 1 stage"),
        ("pyproject.toml", "no pipeline"), (folder.parent.name, "up"), ("sweeps", ""),
    ]  # fmt: skip


def test_a_folder_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        entries(tmp_path / "gone")


@pytest.mark.parametrize(
    ("typed", "gives"),
    [("pi", "pipeline.toml"), ("p", "p"), ("sw", "sweeps/"), ("sweeps/", "sweeps/large.toml"),
     ("none", "none"), (".h", ".hidden/"), ("nowhere/x", "nowhere/x")],
)  # fmt: skip
def test_a_path_is_completed_as_far_as_there_is_one(folder: Path, typed: str, gives: str) -> None:
    assert completed(f"{folder}/{typed}") == f"{folder}/{gives}"


def test_parameters_and_only_those_that_are_changed_become_arguments(folder: Path) -> None:
    file = folder / "pipeline.toml"
    defaults = params_of(file)
    assert defaults == {"lr": "0.1", "epochs": "10", "data": "small", "augment": "true"}
    params = changed(defaults, {**defaults, "lr": "0.3", "--title": "x"})
    assert run_args(file, params, "second try", "-1", ["-d"]) == [
        "run", str(file), "-p", "lr=0.3", "--title", "second try", "--priority", "-1", "-d",
    ]  # fmt: skip
    assert run_args(file, {}, "", "0", []) == ["run", str(file)]


def test_a_file_that_is_none_says_why(folder: Path) -> None:
    with pytest.raises(InputError, match=r"broken\.toml cannot be read"):
        params_of(folder / "broken.toml")
    with pytest.raises(NotFoundError):
        params_of(folder / "gone.toml")
    (folder / "odd.toml").write_text("params = 3\n")
    with pytest.raises(InputError, match="params is not a table"):
        params_of(folder / "odd.toml")


def test_a_plan_says_where_each_stage_would_go_and_why() -> None:
    cells: list[Any] = [
        {"stage": f"train.{n}", "host": "gpu1", "gpus": [0, 1], "why": "the tightest fit"}
        for n in range(20)
    ]
    waits: dict[str, Any] = {
        "stage": "big",
        "host": None,
        "gpus": [],
        "why": "no host has 8 GPUs " * 6,
    }
    told: dict[str, Any] = {"stages": [*cells, waits]}
    shown = [text_of(line) for line in plan_lines(from_answer(PlanView, told), 80)]
    assert shown[1].split() == ["train:", "20", "cells", "gpu1", "0,1", "the", "tightest", "fit"]
    assert shown[-1] == "21 stages; nothing is started yet; 1 rows would wait"
    assert all(len(text) <= 80 for text in shown)
