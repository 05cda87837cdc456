"""One command as people use it: for many values, with files that git ignores."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons.commandline import CommandLine
from tests.support.machines.desk import Desk


@pytest.fixture
def work(shared_alone: Desk, tmp_path: Path) -> Desk:
    """A repository of its own; the daemon is that of all tests here."""
    desk = shared_alone.at_work(tmp_path / "work")
    subprocess.run(["git", "init", "-q", str(desk.work)], check=True, env=desk.env)
    return desk


def ended(desk: Desk, *words: str) -> dict[str, Any]:
    return desk.ended(desk.ok("run", "-d", "-q", *words).out.strip())


def logs(desk: Desk, run: dict[str, Any]) -> list[str]:
    return [desk.output(run["run_id"], stage["name"]).strip() for stage in run["stages"]]


def test_each_file_is_a_cell_of_one_run(work: Desk) -> None:
    configs = work.work / "configs"
    configs.mkdir()
    for name in ("b", "a", "c d"):
        (configs / f"{name}.yaml").write_text(f"name: {name}\n")
    run = ended(work, "--each", "configs/*.yaml", "--", "cat", "{}")
    assert run["outcome"] == "succeeded"
    assert [stage["label"] for stage in run["stages"]] == [
        "run.0 (each=configs/a.yaml)",
        "run.1 (each=configs/b.yaml)",
        "run.2 (each=configs/c d.yaml)",
    ]
    assert logs(work, run) == ["name: a", "name: b", "name: c d"]
    run = ended(work, "--each", "configs/a.yaml", "--", "echo", "{{}}", "<{}>")
    assert logs(work, run) == ["{} <configs/a.yaml>"]
    assert logs(work, ended(work, "--", "echo", "{}", "{{}}")) == ["{} {{}}"]
    # One that fails ends no other, and is tried again alone.
    run = ended(work, "--each", "configs/*.yaml", "--", "grep", "a$", "{}")
    assert [stage["status"] for stage in run["stages"]] == ["succeeded", "failed", "failed"]
    said = work.ok("retry", run["run_id"])
    assert "kept: run.0\n" in said.err
    assert work.ended(said.out.strip())["stages"][0]["kept"]


def test_what_matches_nothing_or_is_used_wrongly_is_refused(
    work: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work.work / "a.yaml").touch()
    before = work.ok("runs", "-q").out
    monkeypatch.chdir(work.work)
    for name in ("HOME", "HOSTLER_STATE", "HOSTLER_CONFIG"):
        monkeypatch.setenv(name, work.env[name])
    command = CommandLine(monkeypatch)
    for words, told in (
        (["--each", "no/*.yaml", "--", "cat", "{}"], "no file matches 'no/*.yaml'"),
        (["--each", "*.yaml", "--", "cat"], "no word of the command has a {}"),
        (
            ["--each", "*.yaml", "--array", "1-2", "--", "cat", "{}"],
            "cannot be combined with `array`",
        ),
        (["--array", "3-1", "--", "cat"], "the range 3-1 is empty"),
        (["--array", "1-3%0", "--", "cat"], "0"),
        (["--array", "x", "--", "cat"], "write it like 1-10"),
        (["--array", "1-99999999999", "--", "cat"], "more than 10,000 cells"),
        (["--array", "1-3"], "works only with a command: `hostler run -- CMD`"),
        (["--include", "a.yaml", "--code", "none", "--", "cat"], "--include needs a copy"),
        (["--include", "nothing", "--code", "snapshot", "--", "cat"], "matches nothing"),
        (["--venv", "nothing.txt", "--code", "snapshot", "--", "cat"], "has no file 'nothing.txt'"),
    ):
        said = command("run", "-d", *words)
        assert (said.code, told in said.err) == (2, True), (words, said)
        assert "Traceback" not in said.err
    assert work.ok("runs", "-q").out == before


def test_an_array_runs_a_few_at_once(work: Desk) -> None:
    script = 'test ! -e "$1" && touch "$1" && sleep 0.2 && rm "$1"; echo $? $HOSTLER_MATRIX_ARRAY'
    lock = str(work.home / "lock")
    run = ended(work, "--array", "1-3%1", "--", "sh", "-c", script, "-", lock, "{}")
    assert logs(work, run) == ["0 1", "0 2", "0 3"]
    told = work.hostler("run", "--wait", "--array", "1,4", "--", "echo", "{}")
    assert told.code == 0
    assert "run.1" in told.err + told.out


def test_what_git_ignores_and_the_command_names_is_told_once(work: Desk) -> None:
    data = work.work / "data"
    data.mkdir()
    (data / "input.txt").write_text("x" * 2048)
    (data / ".env").write_text("TOKEN=1")
    (work.work / ".env").write_text("TOKEN=2")
    (work.work / ".gitignore").write_text("data/\n")
    words = ["run", "-d", "--code", "snapshot", "--", "wc", "-c", "data/input.txt"]
    expected = "left out, ignored by git: data/input.txt (2 KiB); --include data/ sends it"
    quiet = work.ok(*words[:2], "-q", *words[2:])
    assert quiet.err == ""
    said = work.ok(*words)
    assert expected in said.err.splitlines()
    assert "left out: .env (looks like a secret)" in said.err.splitlines()
    assert work.ended(said.out.strip())["outcome"] == "failed"
    said = work.ok(*words)
    assert "left out" not in said.err
    said = work.ok("run", "-d", "--include", "data/", *words[2:])
    run = work.ended(said.out.strip())
    assert run["outcome"] == "succeeded"
    assert logs(work, run) == ["2048 data/input.txt"]
    assert run["source"]["include"] == ["data/"]
    # What it left out of the folder is another note, of a secret.
    assert "left out: data/.env (looks like a secret)" in said.err.splitlines()
    again = work.ended(work.ok("rerun", run["run_id"]).out.strip())
    assert logs(work, again) == ["2048 data/input.txt"]
    listing = ["--code", "snapshot", "--", "ls", "-A", "data"]
    assert logs(work, ended(work, "--include", "data/", *listing)) == ["input.txt"]
    exact = ["--include", "data", "--include", "data/.env"]
    assert logs(work, ended(work, *exact, *listing)) == [".env\ninput.txt"]


def test_a_secret_that_the_command_names_is_told_once_with_what_sends_it(work: Desk) -> None:
    (work.work / ".env").write_text("A=1")
    words = ["run", "-d", "--code", "snapshot", "--", "cat", ".env"]
    lines = work.ok(*words).err.splitlines()
    assert [line for line in lines if ".env" in line] == [
        "left out, looks like a secret: .env (3 B); --include .env sends it"
    ]
    run = ended(work, "--include", ".env", *words[2:])
    assert logs(work, run) == ["A=1"]


def test_a_pipeline_takes_ignored_files_along_as_well(work: Desk) -> None:
    (work.work / "big.bin").write_text("abc")
    (work.work / ".gitignore").write_text("*.bin\n")
    (work.work / "pipeline.toml").write_text(
        'name = "x"\n[params]\ndata = "big.bin"\n[stages.a]\ncommand = "cat {params.data}"\n'
    )
    said = work.ok("run", "-d")
    assert "left out, ignored by git: big.bin (3 B); --include big.bin sends it" in said.err
    run = ended(work, "--include", "*.bin")
    assert logs(work, run) == ["abc"]
