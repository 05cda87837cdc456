"""Files that commands name and that choose GPUs of the host themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostler.base.json_types import Json
from hostler.submit.own_gpus import file_notes

PYTHON = 'import os\nos.environ["CUDA_VISIBLE_DEVICES"] = "0"\n'
TOLD = "counts all GPUs of the host, not those that Hostler gives: remove it"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "train.py").write_text(PYTHON)
    (tmp_path / "sub" / "eval.sh").write_text("export CUDA_VISIBLE_DEVICES=1,2\n")
    (tmp_path / "good.py").write_text("import torch\n")
    (tmp_path / "data.bin").write_bytes(PYTHON.encode() + b"\0")
    (tmp_path / "large.py").write_text(PYTHON + "#" * 300_000)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["python3", "train.py", "--out", "good.py"], ["CUDA_VISIBLE_DEVICES=0 in train.py"]),
        (["sh", "-c", "cd . && python3 './train.py'; true"],
         ["CUDA_VISIBLE_DEVICES=0 in train.py"]),
        (["sh", "sub/eval.sh", "train.py"],
         ["CUDA_VISIBLE_DEVICES=1,2 in sub/eval.sh", "CUDA_VISIBLE_DEVICES=0 in train.py"]),
        (["python3", "good.py", "data.bin", "large.py", "pipe", "sub", "gone.py"], []),
        (["python3", "x" * 10_000, "train.py"], ["CUDA_VISIBLE_DEVICES=0 in train.py"]),
    ],
)  # fmt: skip
def test_files_of_a_command_are_read(folder: Path, command: list[Json], said: list[str]) -> None:
    found = file_notes({"command": {"command": command}}, folder)
    assert found == [f"{line} {TOLD}" for line in said]
    assert file_notes({"command": {"command": command, "image": "x"}}, folder) == []


def test_files_outside_of_the_folder_are_not_read(folder: Path) -> None:
    words: list[Json] = ["../train.py", str(folder / "train.py")]
    assert file_notes({"command": {"command": words}}, folder / "sub") == []


def test_of_a_pipeline_stages_without_an_image_are_read(folder: Path) -> None:
    text = """
[stages.train]
command = "python3 train.py"
image = "x"
[stages.eval]
command = "sh eval.sh"
workdir = "sub"
"""
    assert file_notes({"pipeline": text}, folder) == [
        f"CUDA_VISIBLE_DEVICES=1,2 in sub/eval.sh {TOLD}"
    ]
    assert file_notes({"pipeline": '[defaults]\nimage = "x"\n' + text}, folder) == []
    assert file_notes({"pipeline": "not TOML ["}, folder) == []
