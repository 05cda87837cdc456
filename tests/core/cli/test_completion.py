from __future__ import annotations

import shutil
import subprocess

import pytest

from hostler.cli import parser
from hostler.cli.commands.complete import candidates
from hostler.cli.commands.completion import SCRIPTS
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon
from tests.support.values.fleets import fleet, host
from tests.support.values.run_objects import run, stage, summary


def test_commands() -> None:
    assert candidates(["ru"]) == ["runs", "run"]
    assert candidates([""]) == list(parser.table())
    assert candidates(["nope", ""]) == []


def test_options_and_their_choices() -> None:
    assert candidates(["gpus", "--ne"]) == ["--need"]
    assert candidates(["gpus", "-o", "j"]) == ["json", "jsonl"]
    assert candidates(["gpus", "--free", "--dir"]) == ["--direct"]
    assert candidates(["daemon", "st"]) == ["start", "status", "stop"]
    assert candidates(["run", "--", "python", "--"]) == []


def test_runs_and_hosts_are_the_daemons(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/runs", {"runs": [summary("r7"), summary("q1")]})
    daemon.on("GET", "/v1/gpus", fleet(host("gpu1", ".")))
    assert candidates(["show", "r"]) == ["r7"]
    assert candidates(["cancel", "r7", ""]) == ["last", "q1", "r7"]
    assert candidates(["drain", "g"]) == ["gpu1"]
    assert candidates(["gpus", "--host", ""]) == ["gpu1"]


def test_stages_of_the_run_that_is_typed(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/runs/r7", run(stage("train.0"), stage("test")))
    assert candidates(["logs", "r7/"]) == ["r7/test", "r7/train.0"]
    assert candidates(["why", "r7/tr"]) == ["r7/train.0"]
    assert candidates(["logs", "r8/"]) == []


def test_without_a_daemon_there_is_nothing_and_no_noise(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_SOCKET", "/nowhere")
    ran = hostler("__complete", "show", "")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_words_may_look_like_options(hostler: CommandLine) -> None:
    assert hostler("__complete", "gpus", "--").out.count("--") > 5
    assert hostler("__complete").out.split()[0] == "gpus"


@pytest.mark.programs
@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_are_printed_and_valid(hostler: CommandLine, shell: str) -> None:
    script = hostler("completion", shell).out
    assert "hostler __complete" in script
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=script, text=True, check=True)


@pytest.mark.programs
def test_bash_completes(hostler: CommandLine) -> None:
    program = (
        f"{hostler('completion', 'bash').out}\n"
        'hostler() { printf "%s\\n" "$@"; }\n'
        'COMP_WORDS=(hostler gpus --need ""); COMP_CWORD=3; _hostler; echo "${COMPREPLY[*]}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["__complete", "gpus", "--need"]
