"""`hostler logs` of runs with several stages, and the exit code of following one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk, stage

STAGES = """
name = "t"
[defaults]
shell = true
[stages.first]
command = "printf 'one\\ntwo'"
[stages.second]
command = "echo three{more}"
needs = ["first"]
"""


@pytest.fixture
def alone(shared_alone: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With the daemon of all tests here, in a work folder of its own."""
    return shared_alone.at_work(tmp_path_factory.mktemp("work"))


def test_of_several_stages_all_are_shown_each_line_with_its_stage(alone: Desk) -> None:
    run = alone.run(STAGES.replace("{more}", ""))
    assert alone.ok("logs", run["run_id"]).out == "first | one\nfirst | two\nsecond | three\n"
    assert alone.ok("logs", run["run_id"], "--tail", "1", "--grep", "t").out == (
        "first | two\nsecond | three\n"
    )
    assert alone.ok("logs", f"{run['run_id']}/first", "--raw").out == "one\ntwo"
    refused = alone.hostler("logs", "-f", run["run_id"])
    assert refused.code == 2
    assert "Name one, like hostler logs" in refused.err


def test_of_a_run_that_failed_the_stage_that_failed_is_shown(alone: Desk) -> None:
    run = alone.run(STAGES.replace("{more}", "; exit 5"))
    assert run["outcome"] == "failed"
    assert alone.ok("logs", run["run_id"]).out == "three\n"
    followed = alone.hostler("logs", "-f", run["run_id"])
    assert (followed.code, followed.out) == (5, "three\n")
    assert alone.hostler("logs", "-f", f"{run['run_id']}/first").code == 0


def test_following_ends_with_the_code_of_the_attempt_that_is_shown(
    alone: Desk, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    waits = f"while [ ! -e {go} ]; do sleep 0.1; done"
    for last, code in (("exit 3", 3), ("kill -9 $$", 137), ("true", 0)):
        go.unlink(missing_ok=True)
        run_id = alone.submit(
            f'name = "t"\n[stages.a]\nshell = true\ncommand = "echo hi; {waits}; {last}"\n'
        )
        alone.until(run_id, lambda r: stage(r, "a")["status"] == "running")
        argv = [sys.executable, "-m", "hostler", "logs", "-f", run_id]
        with subprocess.Popen(
            argv, env=alone.env, cwd=alone.work, stdout=subprocess.PIPE, text=True
        ) as following:
            assert following.stdout is not None
            assert following.stdout.readline() == "hi\n"
            go.touch()
            following.communicate(timeout=60)
            assert following.returncode == code
        assert alone.hostler("logs", "-f", run_id).code == code


def test_following_what_is_cancelled_says_so(alone: Desk) -> None:
    run_id = alone.submit('name = "t"\n[stages.a]\nshell = true\ncommand = "echo hi; sleep 60"\n')
    alone.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    alone.ok("cancel", "-y", run_id)
    assert alone.hostler("logs", "-f", run_id).code == 7
