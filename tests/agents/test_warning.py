"""Who of a job gets the signal that warns of its time limit, and who must not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.link.answers import checked
from hostler_agent import warning
from hostler_agent.folders import Refusal
from hostler_agent.processes import Proc
from hostler_agent.strays import Process
from tests.support.programs.agents import eventually

pytestmark = pytest.mark.programs

CATCHES = """
import os, pathlib, signal, time
said = os.environ["SAID"]
signal.signal(signal.SIGUSR1, lambda *_: pathlib.Path(said).write_text("warned"))
pathlib.Path(said + ".ready").touch()
while True:
    time.sleep(60)
"""
PYTHON = f'"{sys.executable}" -c "$CATCHES"'
"""A Python that catches it, as a shell starts it."""
USR1 = warning.Wanted("USR1", int(signal.SIGUSR1))
BELOW = USR1._replace(children=True)


class Job:
    """A command that runs, and the file that a Python in it writes once it is warned."""

    def __init__(self, folder: Path, argv: list[str]) -> None:
        self.file, self.proc = folder / "said", Proc()
        self.process = subprocess.Popen(
            argv,
            env={**os.environ, "CATCHES": CATCHES, "SAID": str(self.file)},
            start_new_session=True,
        )

    @property
    def root(self) -> Process:
        found = warning.root_of(self.proc, self.process.pid)
        assert found is not None
        return found

    def ready(self) -> Job:
        eventually(lambda: self.file.with_suffix(".ready").exists())
        return self

    def warn(self, ask: warning.Wanted = USR1) -> dict[str, list[Any]]:
        return dict(warning.Sender(self.proc, self.root, ask).send())  # type: ignore[arg-type]

    def is_warned(self) -> bool:
        return bool(eventually(lambda: self.file.exists() and self.process.poll() is None))


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Any]:
    begun: list[Job] = []

    def begin(*argv: str) -> Job:
        begun.append(Job(tmp_path, list(argv)))
        return begun[-1]

    yield begin
    for each in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait()


def test_a_command_that_catches_it_gets_it(job: Any) -> None:
    command = job(sys.executable, "-IS", "-c", CATCHES).ready()
    assert [each["pid"] for each in command.warn()["sent"]] == [command.process.pid]
    assert command.is_warned()


def test_a_command_that_does_not_catch_it_gets_none(job: Any) -> None:
    command = job("sleep", "60")
    eventually(lambda: Proc().text(command.process.pid, "comm") == "sleep\n")
    answer = command.warn()
    assert answer["sent"] == []
    assert answer["deaf"] == [{"pid": command.process.pid, "name": "sleep"}]
    assert command.process.poll() is None


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_behind_a_shell_its_child_gets_it_and_the_shell_lives(job: Any, shell: str) -> None:
    command = job(shell, "-c", f"({PYTHON} | cat); true").ready()
    answer = command.warn()
    assert len(answer["sent"]) == 1
    assert command.process.pid in [each["pid"] for each in answer["deaf"]]
    assert command.is_warned()


def test_a_script_counts_as_the_shell_that_interprets_it(job: Any, tmp_path: Path) -> None:
    script = tmp_path / "train"
    script.write_text(f"#!/bin/bash\n{PYTHON} &\nwait\ntrue\n")
    script.chmod(0o755)
    command = job(str(script)).ready()
    assert len(command.warn()["sent"]) == 1
    assert command.is_warned()


def test_a_shell_that_catches_it_gets_it_alone(job: Any) -> None:
    command = job("bash", "-c", f"trap : USR1; {PYTHON} & while :; do wait; done").ready()
    assert [each["pid"] for each in command.warn()["sent"]] == [command.process.pid]
    assert not command.file.exists()


def test_children_get_it_and_the_command_does_not_though_it_catches_it(job: Any) -> None:
    trap = "trap 'touch trapped' USR1"
    command = job("bash", "-c", f"{trap}; env {PYTHON} & while :; do wait; done").ready()
    answer = command.warn(BELOW)
    assert command.process.pid not in [each["pid"] for each in answer["sent"]]
    assert command.is_warned()


def test_a_program_that_is_no_shell_hides_what_it_started_unless_asked(job: Any) -> None:
    inner = f"import subprocess; subprocess.run(['sh', '-c', '''{PYTHON}'''])"
    command = job(sys.executable, "-IS", "-c", inner).ready()
    assert command.warn()["sent"] == []
    assert len(command.warn(BELOW)["sent"]) == 1
    assert command.is_warned()


@pytest.mark.parametrize("instead", [None, lambda: False, lambda: True])
def test_where_the_login_may_not_there_may_be_another_way_to_the_command(
    job: Any, monkeypatch: pytest.MonkeyPatch, instead: Any
) -> None:
    command = job(sys.executable, "-IS", "-c", CATCHES).ready()

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr("hostler_agent.warning.os.kill", refuse)
    answer = warning.Sender(command.proc, command.root, USR1, instead).send()
    assert bool(answer["sent"]) == bool(instead and instead())
    assert bool(answer["denied"]) != bool(answer["sent"])


def test_of_two_requests_only_the_first_sends(tmp_path: Path) -> None:
    calls: list[int] = []

    def send() -> dict[str, Any]:
        calls.append(1)
        return {**warning.unknown(""), "sent": [{"pid": 7, "name": "x"}]}

    mark = str(tmp_path / "warned")
    first = warning.once(mark, send)
    assert warning.once(mark, send) == first
    assert len(calls) == 1


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"sent": 5, "deaf": None, "denied": "x", "problem": ["x"]},
        {"sent": [1, {"pid": "x", "name": "y"}, {"pid": -1, "name": "y"}, {"pid": 2**70}] * 99},
        {"sent": [{"pid": 2, "name": "n" * 9000}]},
    ],
)
def test_a_mark_that_a_stage_made_up_gives_an_answer_that_the_daemon_takes(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    mark = tmp_path / "warned"
    mark.write_text(json.dumps(content))
    answer = warning.once(str(mark), lambda: pytest.fail("sent"))
    assert checked("gpu1", "job.warn", json.loads(json.dumps(answer))) == answer


@pytest.mark.parametrize("there", ["fifo", "empty", "nonsense", "link"])
def test_what_a_stage_puts_in_the_place_of_the_mark_harms_nobody(
    tmp_path: Path, there: str
) -> None:
    mark = tmp_path / "warned"
    if there == "fifo":
        os.mkfifo(mark)
    elif there == "link":
        (tmp_path / "other").write_text(json.dumps({"sent": [], "problem": "made up"}))
        mark.symlink_to(tmp_path / "other")
    else:
        mark.write_text("" if there == "empty" else "[[")
    answer = warning.once(str(mark), lambda: pytest.fail("sent"))
    assert answer["sent"] == []
    assert "while it sent" in str(answer["problem"])


def test_a_disk_that_takes_no_mark_does_not_keep_the_signal_back(tmp_path: Path) -> None:
    answer = warning.once(str(tmp_path / "none" / "warned"), lambda: warning.unknown("asked"))
    assert answer["problem"] == "asked"


@pytest.mark.parametrize(
    "payload",
    [
        {"signal": "KILL", "to": "command"},
        {"signal": "STOP", "to": "command"},
        {"signal": "NO", "to": "command"},
        {"signal": 10, "to": "command"},
        {"signal": "USR1", "to": "all"},
        {"signal": "_DFL", "to": "command"},
    ],
)
def test_what_is_no_warning_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        warning.wanted(payload)


@pytest.mark.parametrize("inits", [["docker-init"], ["docker-init", "tini"]])
def test_behind_the_first_processes_of_a_container_stands_its_command(
    job: Any, tmp_path: Path, inits: list[str]
) -> None:
    """Docker's own init, and one of the image behind it."""
    words = ["sleep", "60"]
    for name in reversed(inits):
        init = tmp_path / name
        init.write_text(f"#!{sys.executable}\nimport subprocess\nsubprocess.run({words})\n")
        init.chmod(0o755)
        words = [str(init)]
    command = job(*words)

    def found() -> bool:
        process = warning.command_of_container(Proc(), command.root)
        return Proc().text(process.pid, "comm") == "sleep\n"

    eventually(found)
