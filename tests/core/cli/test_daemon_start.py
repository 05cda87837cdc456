from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import hostler
from hostler.base.errors import ConfigError, HostlerError, NoDaemonError, StateError
from hostler.base.wire import WireError
from hostler.cli import shared
from hostler.client import daemon_start
from hostler.client.daemon_start import ensure_daemon, is_older, running, stop
from hostler.daemon.lock import StateLock
from hostler.quick import socket as quick_socket
from hostler.quick.socket import Found, check_level, find_socket
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon

ROOT = Path(__file__).parents[3]
TINY = ROOT / "tests/support/programs/tiny_daemon.py"


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder with a short path; whatever was started in it is stopped."""
    with tempfile.TemporaryDirectory(prefix="hs-") as folder:
        path = Path(folder, "state")
        monkeypatch.setenv("HOSTLER_STATE", str(path))
        use(monkeypatch, hostler.__version__)
        try:
            yield path
        finally:
            if running(find_socket()) is not None:
                stop(find_socket())


def use(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(daemon_start, "COMMAND", [sys.executable, str(TINY), version])


def started(state: Path) -> list[str]:
    return (state / "started").read_text().split()


@pytest.mark.programs
def test_a_daemon_is_started_once_and_in_private(state: Path) -> None:
    said: list[str] = []
    found = ensure_daemon(say=said.append)
    assert said == ["starting your daemon"]
    about = running(found)
    assert about is not None
    assert started(state) == [str(about["pid"])]
    assert state.stat().st_mode & 0o777 == 0o700
    assert isinstance(about["pid"], int)
    assert os.getsid(about["pid"]) != os.getsid(0)  # it outlives this terminal
    assert ensure_daemon(say=said.append).path == found.path
    assert len(started(state)) == 1
    assert len(said) == 1


@pytest.mark.programs
def test_clients_that_start_at_once_start_one(state: Path) -> None:
    program = (
        "import sys; from hostler.client import daemon_start as d; "
        f"d.COMMAND = {daemon_start.COMMAND!r}; print(d.running(d.ensure_daemon())['pid'])"
    )
    clients = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    pids = {client.communicate(timeout=60)[0].strip() for client in clients}
    assert [client.returncode for client in clients] == [0] * 4
    assert pids == set(started(state))
    assert len(pids) == 1


@pytest.mark.programs
def test_a_daemon_that_cannot_start_says_why(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "broken")
    with pytest.raises(NoDaemonError, match="the database is full") as caught:
        ensure_daemon()
    assert "daemon.log" in caught.value.remedy


@pytest.mark.programs
def test_only_what_this_start_wrote_is_quoted(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.mkdir(mode=0o700)
    (state / "daemon.log").write_text("an old story\n")
    use(monkeypatch, "broken")
    with pytest.raises(NoDaemonError) as caught:
        ensure_daemon()
    assert "an old story" not in caught.value.message


@pytest.mark.programs
def test_a_configuration_that_keeps_it_from_starting_is_told_itself(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong.toml").write_text("[hosts.a]\nadress = 'x'\n")
    monkeypatch.setenv("HOSTLER_CONFIG", str(tmp_path / "wrong.toml"))
    use(monkeypatch, "broken")
    with pytest.raises(ConfigError) as caught:
        shared.ensure_daemon()
    assert "did you mean 'address'?" in str(caught.value.problems[0])


@pytest.mark.programs
def test_an_older_daemon_is_restarted(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "0.0.1")
    ensure_daemon()  # it is that version already: nothing else can be started
    use(monkeypatch, hostler.__version__)
    said: list[str] = []
    found = ensure_daemon(say=said.append)
    about = running(found)
    assert about is not None
    assert about["version"] == hostler.__version__
    assert len(started(state)) == 2
    assert "runs continue" in said[0]


@pytest.mark.programs
def test_what_was_left_behind_is_no_daemon(state: Path) -> None:
    state.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(state / "hostler.sock"))
    ensure_daemon()
    assert len(started(state)) == 1


def test_a_daemon_that_ends_while_it_is_asked_does_not_run(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed accepts connections until the kernel has closed its socket."""
    state.mkdir(mode=0o700)
    found = find_socket()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(found.path)
        listener.listen()
        monkeypatch.setattr(quick_socket, "check_server", lambda *_: listener.close())
        assert running(found) is None


@pytest.mark.programs
@pytest.mark.parametrize("cause", [BrokenPipeError(), ConnectionResetError(), WireError("closed")])
def test_a_daemon_that_ended_without_an_answer_is_started_again(
    state: Path, monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    asked = iter([NoDaemonError("lost")])

    def ask(found: Found, method: str, target: str, body: object = None) -> object:
        for error in asked:
            raise error from cause
        return quick_socket.ask(found, method, target, body)

    monkeypatch.setattr(daemon_start, "ask", ask)
    ensure_daemon()
    assert len(started(state)) == 1


@pytest.mark.programs
def test_a_daemon_that_ends_is_waited_for_until_it_lets_the_folder_go(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes its socket first."""
    state.mkdir(mode=0o700)
    ending = contextlib.ExitStack()
    ending.enter_context(StateLock(state))
    looks, spawn = 0, daemon_start._spawn

    def look(found: Found, method: str, target: str, body: object = None) -> object:
        nonlocal looks
        looks += 1
        if looks == 5:
            ending.close()
        return quick_socket.ask(found, method, target, body)

    def begin(log: str) -> int:
        assert looks >= 5, "it would find the folder taken"
        return spawn(log)

    monkeypatch.setattr(daemon_start, "ask", look)
    monkeypatch.setattr(daemon_start, "_spawn", begin)
    ensure_daemon()
    assert len(started(state)) == 1


def test_a_folder_that_another_daemon_keeps_is_not_waited_for_for_ever(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_start, "HELD", 0.0)
    spawned: list[str] = []

    def begin(log: str) -> int:
        spawned.append(log)
        return 1

    monkeypatch.setattr(daemon_start, "_spawn", begin)
    monkeypatch.setattr(daemon_start, "_has_ended", lambda _pid: True)
    state.mkdir(mode=0o700)
    with StateLock(state), pytest.raises(NoDaemonError, match="could not start"):
        ensure_daemon()
    assert len(spawned) == 1


def test_what_never_answers_is_no_daemon_that_ends(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_start, "DYING", 0.0)

    def ask(*_: object) -> object:
        raise NoDaemonError("it cannot be asked") from WireError("the connection was closed")

    monkeypatch.setattr(daemon_start, "ask", ask)
    with pytest.raises(NoDaemonError, match="cannot be asked"):
        ensure_daemon()
    monkeypatch.undo()
    monkeypatch.setenv("HOSTLER_STATE", str(state))


def test_a_silent_daemon_is_not_replaced(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostler.client.daemon_start.ask", silent)
    with pytest.raises(NoDaemonError, match="does not answer"):
        ensure_daemon()
    assert not state.exists()
    monkeypatch.undo()
    monkeypatch.setenv("HOSTLER_STATE", str(state))


def silent(*_arguments: object, **_options: object) -> object:
    raise NoDaemonError("it does not answer") from TimeoutError()


def test_a_named_daemon_is_never_started(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTLER_SOCKET", str(state / "other.sock"))
    with pytest.raises(NoDaemonError, match=r"other\.sock"):
        ensure_daemon()
    assert not state.exists()
    monkeypatch.delenv("HOSTLER_SOCKET")


def test_somebody_elses_state_folder_is_refused(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(StateError, match="belongs to another user"):
        ensure_daemon()


@pytest.mark.parametrize("words", [("ps",), ("daemon", "start"), ("daemon", "status")])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HOSTLER_STATE", "some/where", "must be an absolute path: some/where"),
        ("HOSTLER_STATE", "/etc/passwd", "/etc/passwd, which is not a folder"),
        ("HOSTLER_CONFIG", "/nope.toml", "/nope.toml: No such file or directory. Correct or"),
    ],
)
def test_places_that_cannot_be_meant_are_wrong_usage(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], name: str, value: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(name, value)
    ran = hostler(*words)
    assert ran.code == 2, ran
    assert said in ran.err


def test_a_state_folder_that_cannot_be_made_is_wrong_usage(
    hostler: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_STATE", "/proc/x")
    ran = hostler("ps")
    assert ran.code == 2, ran
    assert "the state folder /proc/x cannot be used (No such file or directory)" in ran.err


@pytest.mark.parametrize("time", ["0", "0s", "99999999999d"])
def test_no_time_to_answer_is_wrong_usage(hostler: CommandLine, time: str) -> None:
    ran = hostler("ps", "--timeout", time)
    assert ran.code == 2
    assert "is not a duration: write it like 5s" in ran.err


@pytest.mark.parametrize(
    ("theirs", "ours", "older"),
    [
        ("0.1.0", "0.2.0", True),
        ("0.10.0", "0.9.9", False),
        ("0.1.0", "0.1.0", False),
        ("0.1.0+g123", "0.1.1", True),
        ("unknown", "0.1.0", False),
        ("", "0.1.0", False),
    ],
)
def test_versions_are_compared_as_numbers(theirs: str, ours: str, older: bool) -> None:
    assert is_older(theirs, ours) is older


def test_the_api_has_to_be_the_same() -> None:
    check_level(1, "0.1.0")
    with pytest.raises(HostlerError, match="Ask the owner of the daemon to upgrade it"):
        check_level(0, "0.0.1")


@pytest.mark.programs
def test_the_daemon_command(state: Path, hostler: CommandLine) -> None:
    assert hostler("daemon", "status").code == 3
    assert not state.exists()
    begun = hostler("daemon", "start")
    assert begun.code == 0
    assert "running: version" in begun.out
    assert hostler("daemon", "status", "--json").json["daemon"]["pid"] == int(started(state)[0])
    assert hostler("daemon", "restart", "-q").code == 0
    assert len(started(state)) == 2
    assert hostler("daemon", "stop").code == 0
    assert "no daemon ran" in hostler("daemon", "stop").err
    assert hostler("daemon", "status").out.startswith("not running")


def test_a_shared_daemon_is_not_restarted_from_here(
    daemon: ScriptedDaemon, hostler: CommandLine
) -> None:
    ran = hostler("daemon", "restart")
    assert ran.code == 2
    assert daemon.requests("POST", "/v1/shutdown") == []


class SlowStart:
    """A daemon that answers after so many looks, and a clock by which each takes a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, looks: float, *, grows: bool) -> None:
        self.looks, self.now = looks, 0
        self.grows = grows
        monkeypatch.setattr(daemon_start, "_spawn", lambda _log: 1)
        monkeypatch.setattr(daemon_start, "_has_ended", lambda _pid: False)
        monkeypatch.setattr(daemon_start, "_answers", lambda _found: self.now > looks)
        monkeypatch.setattr(daemon_start, "_size", lambda _log: self.now * grows)
        monkeypatch.setattr(daemon_start, "running", lambda _found: None)
        monkeypatch.setattr(daemon_start, "time", self)

    def monotonic(self) -> float:
        return float(self.now)

    def sleep(self, _seconds: float) -> None:
        self.now += 1


@pytest.fixture
def found(tmp_path: Path) -> Found:
    return Found(str(tmp_path / "hostler.sock"), "flag")


def test_a_start_is_waited_for_while_the_daemon_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, found: Found
) -> None:
    SlowStart(monkeypatch, 200, grows=True)
    assert daemon_start.start(found) == found


@pytest.mark.parametrize(("grows", "after"), [(False, 30), (True, 630)])
def test_a_start_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, found: Found, grows: bool, after: int
) -> None:
    daemon = SlowStart(monkeypatch, float("inf"), grows=grows)
    with pytest.raises(NoDaemonError, match="did not answer"):
        daemon_start.start(found)
    assert after <= daemon.now <= after + 2
