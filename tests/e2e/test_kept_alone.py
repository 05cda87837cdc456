"""No file that a command wrote is lost: the real command line, daemon and agent on one machine."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk, stage, wait_until

WRITE = "mkdir runs && head -c 3000 /dev/zero > model.pt && echo a > runs/a && echo b > runs/b"
PATHS = ("--code", "snapshot", "--wait")


@pytest.fixture
def alone(shared_alone: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With the daemon of all tests here, in a work folder of its own."""
    return shared_alone.at_work(tmp_path_factory.mktemp("work"))


def folder(alone: Desk) -> Path:
    """A working folder with code in it."""
    made = alone.work / "code"
    made.mkdir()
    made.joinpath("train.py").write_text("print('hello')\n")
    return made


def saved_line(err: str) -> str:
    return next((line for line in err.splitlines() if line.startswith("saved: ")), "")


def test_a_command_ends_with_what_was_saved_and_get_brings_it(alone: Desk, tmp_path: Path) -> None:
    said = alone.hostler("run", *PATHS, "--", "sh", "-c", WRITE, cwd=folder(alone))
    assert said.code == 0, said.err
    line = saved_line(said.err)
    assert line.startswith("saved: model.pt (2.9 KiB), runs/ (2 files); hostler get "), said.err
    run_id = line.split()[-1]
    alone.ok("get", run_id, "-o", str(tmp_path / "got"))
    got = sorted(str(p.relative_to(tmp_path / "got")) for p in (tmp_path / "got").rglob("*.pt"))
    assert got == ["model.pt"]
    assert (tmp_path / "got" / "runs" / "a").read_text() == "a\n"
    assert not (tmp_path / "got" / "train.py").exists(), "what was sent is not new"


def test_a_command_that_failed_keeps_its_files_too(alone: Desk, tmp_path: Path) -> None:
    said = alone.hostler("run", *PATHS, "--", "sh", "-c", f"{WRITE}; exit 3", cwd=folder(alone))
    assert said.code == 3
    line = saved_line(said.err)
    assert "model.pt (2.9 KiB, partial)" in line, said.err
    alone.ok("get", line.split()[-1], "model.pt", "-o", str(tmp_path))
    assert (tmp_path / "model.pt").stat().st_size == 3000


def test_output_names_what_is_saved(alone: Desk) -> None:
    said = alone.hostler(
        "run", *PATHS, "--output", "*.pt", "--", "sh", "-c", WRITE, cwd=folder(alone)
    )
    assert saved_line(said.err).startswith("saved: model.pt (2.9 KiB); hostler get "), said.err


def test_nothing_is_said_where_nothing_is_new(alone: Desk) -> None:
    said = alone.hostler("run", *PATHS, "--", "true", cwd=folder(alone))
    assert said.code == 0
    assert saved_line(said.err) == ""


def test_in_the_folder_itself_files_are_named_and_get_reads_them_there(
    alone: Desk, tmp_path: Path
) -> None:
    here = folder(alone)
    # What is younger than the lag of file systems' clocks counts as new for the next run, too.
    for number, before in enumerate(("", r"(q0 \(1 B\), )?")):
        quick = alone.hostler(
            "run", "--code", "here", "--wait", "--", "sh", "-c", f"echo > q{number}", cwd=here
        )
        assert re.search(rf"new in its folder: {before}q{number} \(1 B\)", quick.err), quick.err
    wait_until(lambda: time.time() - (here / "q1").stat().st_ctime > 0.3, "time stands still")
    said = alone.hostler("run", "--code", "here", "--wait", "--", "sh", "-c", WRITE, cwd=here)
    line = said.err.splitlines()[-1]
    assert line.startswith("new in its folder: model.pt (2.9 KiB), runs/ (2 files); "), said.err
    assert here.joinpath("model.pt").exists()
    alone.ok("get", line.split()[-1], "model.pt", "-o", str(tmp_path))
    assert (tmp_path / "model.pt").stat().st_size == 3000


def test_outputs_that_end_in_a_slash_are_there_before_the_start(alone: Desk) -> None:
    run = alone.run(
        'name = "p"\n[stages.a]\nshell = true\ncommand = "echo x > out/x; echo y > deep/er.txt"\n'
        'outputs = { o = "out/", d = "deep/er.txt" }\n'
    )
    assert run["outcome"] == "succeeded", alone.ok("events").out
    assert set(stage(run, "a")["attempt"]["outputs"]) == {"o", "d"}


def test_a_failed_stage_leaves_its_folder_and_get_brings_that_too(
    alone: Desk, tmp_path: Path
) -> None:
    run = alone.run(
        'name = "p"\n[stages.a]\nshell = true\n'
        'command = "echo x > out/x; echo notes > notes.txt; exit 1"\n'
        'outputs = { o = "out/", gone = "none.txt" }\n'
    )
    assert run["outcome"] == "failed"
    assert stage(run, "a")["attempt"]["cause"] == "user error"
    run_id = run["run_id"]
    alone.ok("get", run_id, "-o", str(tmp_path))
    found = {p.name: p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"x": "x\n", "notes.txt": "notes\n"}
