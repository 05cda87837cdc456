"""Daemons that tests fork from a process that has loaded Hostler are as the command starts them."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.measure import BenchDesk
from tests.support.machines.desk import Desk, Said, wait_until
from tests.support.programs import testrun, warm

pytestmark = pytest.mark.programs


def seen(desk: Desk) -> dict[str, Any]:
    """What a daemon shares with others that were started alike."""
    pid = desk.daemon_pid()
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    about = desk.ok("daemon", "status", "--json").json["daemon"]
    # What changes meanwhile: other daemons of this machine leave something behind, too.
    passing = ("pid", "started_at", "gpus", "left_behind")
    kept = ("SigIgn", "SigCgt", "SigBlk", "Umask", "Uid", "Gid", "NoNewPrivs")
    return {
        **{name: status[name] for name in kept},
        "session": os.getsid(pid) == pid,
        "folder": (process / "cwd").readlink(),
        "streams": [str((process / f"fd/{number}").readlink()) for number in range(3)],
        "mode": [path.stat().st_mode for path in (desk.state, desk.state / "daemon.log")],
        "about": {name: about[name] for name in about if name not in passing},
    }


def pipes_of(pid: int) -> set[str]:
    """Its pipes and sockets."""
    links = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as that of this listing
            links.add(str(path.readlink()))
    return {link for link in links if link.startswith(("pipe:", "socket:"))}


def test_a_forked_daemon_is_as_the_command_starts_it(alone: Desk) -> None:
    assert warm.can_start(alone.env)
    alone.start_daemon()
    forked, pid = seen(alone), alone.daemon_pid()
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[2].endswith(b"warm_server.py")
    (parent,) = re.findall(r"(?m)^PPid:\t(\d+)", Path(f"/proc/{pid}/status").read_text())
    shared = pipes_of(pid) & pipes_of(int(parent)) - pipes_of(os.getpid())
    assert not shared, "it holds what is the warm process' own"
    alone.ok("daemon", "stop")
    alone.cold = True
    alone.ok("daemon", "start")
    assert b"serve" in Path(f"/proc/{alone.daemon_pid()}/cmdline").read_bytes()
    assert forked == seen(alone)


def agent_of(folder: Path) -> list[bytes]:
    """The command line of the agent that serves with that folder of its own; empty where the one
    that the lock names has ended."""
    (lock,) = folder.glob("serve-*.lock")
    try:
        return Path(f"/proc/{int(lock.read_text())}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):  # or one writes its id just now
        return []


def test_a_forked_command_has_the_daemon_forked_that_it_starts_and_that_its_agents(
    alone: Desk,
) -> None:
    folder = alone.home / "agents"
    alone.more_env = {"HOSTLER_FOLDER": str(folder)}
    alone.start_daemon()  # now the server of daemons runs
    wait_until(
        lambda: alone.hosts()[0]["condition"] == "up", "an agent"
    )  # the first is the program
    for words in (["stop"], ["start"], ["restart"]):
        done = warm.run(["daemon", *words], alone.env, alone.work, 60, None)
        assert done.returncode == 0, done
    cmdline = Path(f"/proc/{alone.daemon_pid()}/cmdline").read_bytes().split(b"\0")
    assert cmdline[2].endswith(b"warm_server.py")
    wait_until(lambda: alone.hosts()[0]["condition"] == "up", "another agent")
    is_forked = lambda: any(word.endswith(b"warm_server.py") for word in agent_of(folder))  # noqa: E731
    # An agent is displaced by the next daemon's, and both exist for a moment.
    wait_until(is_forked, f"a forked agent: {alone.log()}")
    alone.ok("daemon", "stop")
    alone.config.write_text("no = toml = at all\n")
    done = warm.run(["daemon", "start"], alone.env, alone.work, 60, None)
    assert (done.returncode != 0, b"config.toml" in done.stderr) == (True, True), done


def test_the_true_program_is_started_for_what_is_read_while_it_loads(alone: Desk) -> None:
    for more in ({"PYTHONDEVMODE": "1"}, {"TZ": "X"}, {"LD_PRELOAD": "/x"}):
        assert not warm.can_start(alone.env | more)
    alone.more_env = {"PYTHONDEVMODE": "1"}
    alone.start_daemon()
    cmdline = Path(f"/proc/{alone.daemon_pid()}/cmdline").read_bytes().split(b"\0")
    assert cmdline[:4] == [os.fsencode(sys.executable), b"-P", b"-m", b"hostler"]


def test_a_command_finds_one_unless_it_is_to_start_it_itself(alone: Desk) -> None:
    # Other tests leave runs of their daemons with this login, of which `ps` may tell, too.
    started = "starting your daemon"
    assert started not in alone.ok("ps").err.splitlines()
    alone.ok("daemon", "stop")
    alone.cold = True
    assert started in alone.ok("ps").err.splitlines()


@pytest.mark.parametrize("cold", [False, True])
def test_failpoints_are_those_of_the_daemon_s_own_environment(alone: Desk, cold: bool) -> None:
    alone.cold = cold
    alone.more_env = {"HOSTLER_FAILPOINTS": "after_submit:kill"}
    alone.ok("ps")
    pid = alone.daemon_pid()
    alone.more_env = {}
    alone.ok("run", "-d", "--code", "none", "--", "true")  # it starts another one
    assert alone.daemon_pid() != pid


def test_a_daemon_that_cannot_start_fails_the_test_with_its_log(alone: Desk) -> None:
    alone.config.write_text("no = toml = at all\n")
    with pytest.raises(AssertionError, match=r"config\.toml"):
        alone.start_daemon()


def test_one_that_is_killed_is_replaced(alone: Desk) -> None:
    alone.start_daemon()
    first = alone.daemon_pid()
    alone.kill_daemon()
    wait_until(lambda: not Path(f"/proc/{first}").exists(), "no zombie of it stays")
    assert alone.hosts()[0]["name"] == "here"
    alone.start_daemon()
    assert alone.daemon_pid() != first


def ways(alone: Desk, *words: str, given: bytes | None = None, **env: str) -> list[Said]:
    """What the true program says, and a fork."""
    alone.cold = True
    cold = alone.hostler(*words, given=given, env=env)
    done = warm.run(words, alone.env | env, alone.work, 60, given)
    return [cold, Said(done.returncode, done.stdout.decode(), done.stderr.decode())]


@pytest.mark.parametrize(
    ("words", "given", "code"),
    [
        (["config", "show"], None, 0),
        (["run", "-q", "--wait", "--code", "here", "--", "sh", "-c", "pwd; exit 3"], None, 3),
        (["show", "nothing"], None, 2),
        (["--help"], None, 0),
        (["secret", "set", "A"], b"a value of more than eight\n", 0),
        (["secret", "set", "A"], b"", 2),
        (["no-such-command"], None, 2),
    ],
)
def test_a_forked_command_says_what_the_program_says(
    shared_alone: Desk, words: list[str], given: bytes | None, code: int
) -> None:
    shared_alone.hostler("secret", "set", "A", given=b"what is said once")
    cold, forked = ways(shared_alone, *words, given=given, COLUMNS="60")
    assert (cold.code, forked.code) == (code, code), forked
    known = re.compile(r"\br[a-z0-9]{6}\b|\d+s\b")  # ids of runs, and how long they took
    assert known.sub("", cold.out) == known.sub("", forked.out)
    assert known.sub("", cold.err) == known.sub("", forked.err)


def test_the_first_command_of_a_name_is_the_program(
    alone: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert warm.can_start(alone.env), "the warm processes know the run's own folder"
    warm.can_run(["ps"], alone.env)
    monkeypatch.setenv(testrun.VARIABLE, str(tmp_path))
    assert [warm.can_run([name], alone.env) for name in ("ps", "ps", "runs", "ps", "runs")] == [
        False, True, False, True, True,
    ]  # fmt: skip
    assert not warm.can_run(["ps"], alone.env | {"PYTHONDEVMODE": "1"})


def test_a_forked_command_is_ended_at_its_time_limit(alone: Desk) -> None:
    alone.start_daemon()
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(["events", "-f"], alone.env, alone.work, 0.5, None)
    assert warm.run(["ps"], alone.env, alone.work, 60, None).returncode == 0


def test_benchmarks_measure_the_programs(tmp_path: Path) -> None:
    assert BenchDesk(tmp_path).cold
