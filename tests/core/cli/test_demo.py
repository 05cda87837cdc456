"""`hostler demo`: something to look at, and nothing left behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import InputError
from hostler.cli.commands.demo import _run_command
from hostler.client import Client
from hostler.model.views.gpus import FleetView
from tests.support.daemons.commandline import CommandLine
from tests.support.machines.desk import desk_folder

HOSTLER = [sys.executable, "-m", "hostler"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with desk_folder() as made:
        yield made


@contextmanager
def demo(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """A demo without a screen, and a client of it."""
    process = subprocess.Popen(
        [*HOSTLER, "demo", "--headless", *words],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("SIM: a simulated lab at "), said
            yield process, Client(said.split()[-1], timeout=60)
        finally:
            process.kill()


def is_gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def wait_for(condition: Callable[[], Any], what: str, timeout: float = 30) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)
    return found


def states_of(fleet: FleetView) -> set[str]:
    return {gpu["state"] for host in fleet["hosts"] for gpu in host["gpus"]}


def outcomes_of(client: Client) -> set[str]:
    return {run.state for run in client.runs(limit=100)}


@pytest.mark.programs
def test_there_is_life_from_the_beginning_and_sigterm_ends_all(folder: Path) -> None:
    with demo(folder) as (process, client):
        about, fleet = client.version(), client.gpus()
        assert about.simulated is True
        assert {host["transport"] for host in fleet["hosts"]} == {"sim"}
        assert len(fleet["hosts"]) == 10
        assert abs(fleet["at"] - time.time()) < 60
        wanted = {"free", "leased", "foreign", "drained", "unhealthy"}
        wait_for(lambda: states_of(client.gpus()) >= wanted, "GPUs in all these states", 90)
        outcomes = {"succeeded", "failed", "running"}
        wait_for(lambda: outcomes_of(client) >= outcomes, "runs of all these kinds", 90)
        big = wait_for(lambda: client.runs(pipeline="pretrain"), "the big run")[0]
        wait_for(lambda: "8 GPUs" in client.why(big.run_id).stages[0].sentence, "why it waits")
        kinds = {line.event.kind for line in client.events(after=0) if line.event}
        assert kinds >= {"run.submitted", "attempt.failed", "gpu.fault", "host.drained"}
        table = subprocess.run(
            [*HOSTLER, "gpus", "--timeout", "60s", "--socket", client.found.path],
            capture_output=True,
            text=True,
        )
        assert table.stdout.count("SIM ") == 10
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert is_gone(about.pid)
        assert list(folder.glob("hostler-demo-*")) == []


@pytest.mark.programs
def test_when_its_parent_is_killed_the_daemon_ends_and_takes_its_folder(folder: Path) -> None:
    with demo(folder, "--hosts", "3", "--gpus", "2", "--no-runs") as (process, client):
        assert [len(host["gpus"]) for host in client.gpus()["hosts"]] == [2, 2, 2]
        assert client.runs() == ()
        pid = client.version().pid
        process.kill()
        wait_for(lambda: is_gone(pid), "the daemon ends")
        wait_for(lambda: not list(folder.glob("hostler-demo-*")), "its folder goes")


@pytest.mark.programs
def test_what_is_nowhere_is_said_before_a_lab_is_prepared(folder: Path) -> None:
    done = subprocess.run(
        [*HOSTLER, "demo", "--no-runs", "--", "/nowhere/to/be/found"],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        timeout=60,
    )
    assert done.returncode == 2
    assert "/nowhere/to/be/found cannot be run: No such file or directory" in done.stderr
    assert "preparing" not in done.stderr
    assert list(folder.glob("hostler-demo-*")) == []


@pytest.mark.programs
def test_what_is_no_program_is_said(folder: Path) -> None:
    with pytest.raises(InputError, match=f"{folder} cannot be run: Permission denied"):
        _run_command([str(folder)])


@pytest.mark.programs
def test_a_daemon_that_cannot_start_is_explained(folder: Path) -> None:
    deep = folder / ("d" * 90)
    deep.mkdir()
    done = subprocess.run(
        [*HOSTLER, "demo", "--no-runs", "--headless"],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(deep)},
        timeout=60,
    )
    assert done.returncode == 1
    assert "the socket's path is too long" in done.stderr
    assert list(deep.iterdir()) == []


@pytest.mark.programs  # the first look for a GPU of a process asks ldconfig
@pytest.mark.parametrize(
    "words",
    [
        ("doctor", "atlas"),
        ("doctor",),
        ("init", "x", "-y", "--no-probe"),
        ("host", "trust", "atlas"),
        ("serve", "--personal"),
        ("daemon", "start"),
        ("daemon", "restart"),
        ("daemon", "recover", "-y"),
        ("gpus", "--direct"),
    ],
)
def test_what_would_reach_real_machines_is_not_part_of_a_demo(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HOSTLER_DEMO", "1")
    monkeypatch.setenv("HOSTLER_SOCKET", str(tmp_path / "none.sock"))
    before = sorted(tmp_path.iterdir())
    ran = hostler(*words)
    assert (ran.code, ran.out) == (2, "")
    assert (
        "is not available in the demo: it would connect to real machines. Quit the demo" in ran.err
    )
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.programs
def test_a_command_finds_the_demo_which_touches_nothing_of_the_persons_own(folder: Path) -> None:
    own = folder / "own.toml"
    own.write_text("[[broken")
    words = "init x -y --no-probe; doctor; gpus -o ids; config show --origin; daemon status -q"
    lines = "; ".join(f"{sys.executable} -m hostler {line}" for line in words.split("; "))
    lines += "; echo at $HOSTLER_SOCKET; exit 7"
    done = subprocess.run(
        [*HOSTLER, "demo", "--hosts", "1", "--no-runs", "--", "sh", "-c", lines],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "HOSTLER_CONFIG": str(own), "HOME": str(folder)},
        timeout=60,
    )
    assert done.returncode == 7, done
    assert f"\nat {folder}/hostler-demo-" in done.stdout
    assert done.stderr.count("is not available in the demo") == 2
    assert f"config: {folder}/hostler-demo-" in done.stdout
    assert own.read_text() == "[[broken"
    assert [path.name for path in folder.iterdir()] == ["own.toml"]


@pytest.mark.parametrize(
    "words", [("--hosts", "0"), ("--speed", "0"), ("--speed", "21"), ("--seed", "x")]
)
def test_a_lab_that_cannot_be_is_refused(hostler: CommandLine, words: tuple[str, str]) -> None:
    ran = hostler("demo", *words)
    assert ran.code == 2
    assert words[1] in ran.err
    assert json.dumps(ran.out) == '""'
