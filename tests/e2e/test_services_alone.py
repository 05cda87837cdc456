"""A service of real processes on one machine: ready, killed, started again, over daemons."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.machines.desk import Desk, stage, wait_until

SERVICE = """
name = "web"
[stages.serve]
kind = "service"
command = '''
test -n "$HOSTLER_PORT" && echo "$HOSTLER_ATTEMPT" > who.txt
exec python3 -u -m http.server --bind 127.0.0.1 "$HOSTLER_PORT"
'''
shell = true
health = { path = "/who.txt", every = "1s" }
warmup = "/"
until = "14d"
resources = { cpus = 0.1 }
[stages.ask]
needs = ["serve"]
command = "echo asked"
resources = { cpus = 0.1 }
"""


@pytest.fixture
def near(shared_alone: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With the daemon of all tests here, in a work folder of its own."""
    return shared_alone.at_work(tmp_path_factory.mktemp("work"))


def _answer(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/who.txt", timeout=10) as answer:
        text: str = answer.read().decode().strip()
        return text


def _ready(run: dict[str, Any], number: int) -> bool:
    attempt = stage(run, "serve.0")["attempt"]
    return attempt is not None and attempt["number"] == number and attempt["ready_at"] is not None


def _command_of(attempt_id: str) -> int:
    """The pid of the command of an attempt: what the shim started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            argv = (folder / "cmdline").read_bytes().split(b"\0")
            env = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"http.server" in argv and f"HOSTLER_ATTEMPT={attempt_id}".encode() in env:
            return int(folder.name)
    raise AssertionError(f"{attempt_id} does not run")


def test_a_killed_replica_and_a_killed_daemon(near: Desk) -> None:
    run_id = near.submit(SERVICE)
    run = near.until(run_id, lambda run: _ready(run, 1))
    first = stage(run, "serve.0")["attempt"]
    assert _answer(first["port"]) == first["attempt_id"]
    near.until(run_id, lambda run: stage(run, "ask")["status"] == "succeeded")
    near.kill_daemon()
    os.kill(_command_of(first["attempt_id"]), signal.SIGKILL)
    near.start_daemon()
    run = near.until(run_id, lambda run: _ready(run, 2))
    second = stage(run, "serve.0")["attempt"]
    assert _answer(second["port"]) == second["attempt_id"]
    assert [a["cause"] for a in stage(run, "serve.0")["attempts"]] == ["user error", None]
    (shown,) = near.ok("services", "serve", "--json").json["services"]
    assert (shown["state"], shown["ready"], shown["restarts"]) == ("ready", 1, 1)
    assert f":{second['port']}" in near.ok("services").out
    assert near.hostler("services", "other").code == 2
    assert near.ok("extend", "serve", "1d").out.startswith("serve: runs until ")
    assert near.hostler("scale", "serve", "0").code == 2
    assert "--yes" in near.hostler("stop", "serve").err
    near.ok("stop", "serve", "--yes")
    assert near.ended(run_id)["outcome"] == "cancelled"
    wait_until(lambda: near.ok("services", "--json").json["services"] == [], "it is gone")
