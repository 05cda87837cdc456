"""`hostler run FILE` with something that is no pipeline says what to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.mark.parametrize(
    ("name", "text", "mode", "typed"),
    [
        ("train.py", "print(1)\n", 0o644, "hostler run -- python3 train.py"),
        ("my train.py", "print(1)\n", 0o644, "hostler run -- python3 'my train.py'"),
        ("run.sh", "true\n", 0o644, "hostler run -- bash run.sh"),
        ("a.ipynb", "{}\n", 0o644, "jupyter nbconvert --to notebook --execute a.ipynb"),
        ("fit.R", "1\n", 0o644, "hostler run -- Rscript fit.R"),
        ("tool", "#!/usr/bin/env python3\n", 0o755, "hostler run -- ./tool"),
        ("tool", "#!/usr/bin/env python3\n", 0o644, "hostler run -- python3 tool"),
        ("tool", "#!/bin/sh\n", 0o644, "hostler run -- sh tool"),
        ("tool", "#!\n", 0o644, "hostler run -- sh tool"),
        ("tool", "\x7fELF", 0o755, "hostler run -- ./tool"),
        (
            "p.yaml",
            "stages:\n",
            0o644,
            "p.yaml is not a pipeline file: pipelines are written in TOML",
        ),
        ("notes.txt", "to do\n", 0o644, "notes.txt is not a pipeline file: pipelines are written"),
        ("a.sh", "#!/bin/sh\nset -e\n#SBATCH -c 2\n", 0o644, "or run it without them: hostler run"),
        ("t.yaml", "# x\nresources:\n\nrun: |\n", 0o644, "t.yaml is a file of SkyPilot"),
        (".dstack.yml", "type: task\nname: x\n", 0o644, ".dstack.yml is a file of dstack"),
    ],
)
def test_a_program_is_answered_with_the_command(
    daemon: ScriptedDaemon, hostler: CommandLine, name: str, text: str, mode: int, typed: str
) -> None:
    Path(name).write_text(text)
    Path(name).chmod(mode)
    ran = hostler("run", name)
    assert ran.code == 2
    assert typed in ran.err
    assert ran.err.count("\n") == 1
    assert daemon.requests("POST", "/v1/runs") == []


def test_a_folder_is_answered_with_its_pipeline(hostler: CommandLine) -> None:
    Path("proj").mkdir()
    ran = hostler("run", "proj")
    assert ran.code == 2
    assert "proj is a folder, not a pipeline file" in ran.err
    Path("proj/pipeline.toml").touch()
    assert "hostler run proj/pipeline.toml" in hostler("run", "proj/").err


def test_a_program_of_the_path_is_answered_with_the_command(hostler: CommandLine) -> None:
    assert "hostler run -- ls" in hostler("run", "ls").err
    assert "hostler run -- CMD" in hostler("run", "no-such-program").err


def test_a_file_of_another_name_may_be_a_pipeline(
    daemon: ScriptedDaemon, hostler: CommandLine
) -> None:
    daemon.on("GET", "/v1/hosts", {"hosts": []})
    daemon.on("POST", "/v1/runs", {"run_id": "r7"})
    Path("digits").write_text('[stages.a]\ncommand = "true"\ncode = "none"\n')
    assert hostler("run", "digits").out == "r7\n"
