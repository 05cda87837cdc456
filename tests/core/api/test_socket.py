from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from hostler.api import connection_limits
from hostler.api.serve import bind
from hostler.base.errors import DaemonBusy, StateError
from hostler.base.version import SERVER
from tests.support.daemons.served import Served, served, set_api_timings
from tests.support.machines.callers import ask, connected, open_to_all
from tests.support.machines.desk import wait_until

pytestmark = pytest.mark.programs


@pytest.fixture
def daemon(open_path: Path) -> object:
    with served(open_path / "s") as running:
        yield running


def test_the_socket_is_its_owners_alone(daemon: Served) -> None:
    mode = daemon.socket_path.stat()
    assert stat.S_IMODE(mode.st_mode) == 0o600
    assert stat.S_IMODE(daemon.socket_path.parent.stat().st_mode) == 0o700
    assert ask(daemon.socket_path)[0] == 200


@pytest.mark.parametrize("path", ["/v1/gpus", "/v1/nothing"])
def test_each_answer_names_the_level_of_the_api(daemon: Served, path: str) -> None:
    with connected(daemon) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        told = b"".join(iter(lambda: peer.recv(65536), b""))
    assert f"server: {SERVER}".lower().encode() in told.lower()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_another_user_is_refused_by_the_kernels_word(
    daemon: Served, caplog: pytest.LogCaptureFixture
) -> None:
    open_to_all(daemon.socket_path)
    status, body = ask(daemon.socket_path, uid=65534)
    assert status == 403
    error = body["error"]
    assert isinstance(error, dict)
    assert error["kind"] == "ForbiddenError"
    assert "allow" in error["remedy"]
    assert "refused nobody (uid 65534): GET /v1/version" in caplog.text


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_a_user_named_in_the_config_is_served(open_path: Path) -> None:
    with served(open_path / "s", allow=("nobody",)) as running:
        open_to_all(running.socket_path)
        assert ask(running.socket_path, uid=65534)[0] == 200
        assert ask(running.socket_path, uid=65533)[0] == 403


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_a_member_of_the_group_in_the_config_is_served(open_path: Path) -> None:
    with served(open_path / "s", group="nogroup") as running:
        open_to_all(running.socket_path)
        assert ask(running.socket_path, uid=65534)[0] == 200  # nobody, whose group it is
        assert ask(running.socket_path, uid=1)[0] == 403


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_only_the_owner_stops_a_shared_daemon(open_path: Path) -> None:
    with served(open_path / "s", allow=("nobody",)) as running:
        open_to_all(running.socket_path)
        assert ask(running.socket_path, uid=65534, call="POST /v1/shutdown")[0] == 403
        assert not running.service.stopping.is_set()
        assert ask(running.socket_path, call="POST /v1/shutdown")[0] == 200


STAY = """
import socket, sys, time
peers = []
for _ in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    peers.append(s)
print("ready", flush=True)
ends = 0
for s in peers:
    s.settimeout(60)
    try:
        ends += s.recv(1) == b""
    except ConnectionResetError:
        ends += 1
print(ends, flush=True)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_a_crowd_of_strangers_is_sent_away_and_keeps_nobody_out(open_path: Path) -> None:
    with served(open_path / "s", allow=("nobody",)) as running:
        set_api_timings(running, first_answer=2.0, tick=0.1)
        open_to_all(running.socket_path)
        before = open_sockets()
        crowd = subprocess.Popen(
            ["/usr/bin/python3", "-I", "-c", STAY, str(running.socket_path), "300"],
            stdout=subprocess.PIPE, text=True, user=65533, group=65533, extra_groups=[],
        )  # fmt: skip
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == "ready\n"
        assert ask(running.socket_path, uid=65534)[0] == 200
        assert open_sockets() - before < connection_limits.WAITING + 20
        assert crowd.stdout.readline() == "300\n"
        crowd.stdout.close()
        assert crowd.wait(60) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_a_stranger_has_one_answer_a_connection(daemon: Served) -> None:
    open_to_all(daemon.socket_path)
    twice = "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/version"
    status, body = ask(daemon.socket_path, uid=65534, call=twice)
    assert status == 403
    assert isinstance(body["error"], dict)  # and nothing behind it


def test_too_many_connections_are_refused_in_words_and_the_silent_make_room(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "CONNECTIONS_A_USER", 2)
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(connected(daemon))
        busy = [stack.enter_context(connected(daemon)) for _ in range(2)]
        for peer in busy:
            peer.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert peer.recv(12) == b"HTTP/1.1 200"
        assert silent.recv(1) == b""  # it went for the second
        status, body = ask(daemon.socket_path)
        assert status == 409
        error = body["error"]
        assert isinstance(error, dict)
        assert "open connections to this daemon" in error["message"]
    wait_until(lambda: ask(daemon.socket_path)[0] == 200, "there is room again")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nA: ",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
        (b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n") * 100,
    ],
    ids=["silent", "half a head", "no body", "reads nothing"],
)
def test_a_peer_of_which_nothing_comes_is_dropped(daemon: Served, said: bytes) -> None:
    set_api_timings(daemon, first_request=2.0, stuck=2.0, tick=0.1)
    with connected(daemon) as stream:
        stream.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.recv(12) == b"HTTP/1.1 200"
        with connected(daemon) as peer:
            with contextlib.suppress(BrokenPipeError):  # this test had to wait for the processor
                peer.sendall(said)
            wait_until(lambda: is_closed(peer), "its end of the connection is closed")
        assert not is_closed(stream), "who waits for what may come is left alone"


def open_sockets() -> int:
    """Sockets of this process, which the daemon shares; its databases open files as they like."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end is closed, also where not everything was read."""
    poll = select.poll()
    poll.register(connection, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def test_a_path_too_long_for_a_socket_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120) / "hostler.sock"
    with pytest.raises(StateError, match="HOSTLER_STATE"), bind(path, 0o600):
        raise AssertionError("bound to an impossible path")


def test_a_leftover_socket_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "hostler.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with bind(path, 0o600) as listening:
        assert path.is_socket()
        assert listening.getsockname()
    assert not path.exists()


def test_the_socket_of_another_daemon_in_its_place_is_left_there(tmp_path: Path) -> None:
    path = tmp_path / "state/hostler.sock"
    path.parent.mkdir()
    with bind(path, 0o600):
        path.parent.rename(tmp_path / "away")
        path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.is_socket()


def test_the_socket_of_a_daemon_that_answers_is_not_taken_over(daemon: Served) -> None:
    with (
        pytest.raises(DaemonBusy, match="another daemon listens on"),
        bind(daemon.socket_path, 0o600),
    ):
        raise AssertionError("bound over another daemon's socket")
    assert ask(daemon.socket_path)[0] == 200


def test_a_peer_that_sends_nothing_delays_nobody(daemon: Served) -> None:
    idle = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for peer in idle:
        peer.connect(str(daemon.socket_path))
    try:
        assert ask(daemon.socket_path)[0] == 200
    finally:
        for peer in idle:
            peer.close()


def test_a_peer_that_never_reads_a_stream_delays_nobody(daemon: Served) -> None:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(daemon.socket_path))
    peer.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        assert ask(daemon.socket_path)[0] == 200
    finally:
        peer.close()
    assert threading.active_count() < 50


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/cancel"),
        ("POST", "/priority"),
        ("POST", "/retry"),
        ("POST", "/retry/plan"),
        ("POST", "/rerun"),
        ("DELETE", ""),
        ("POST", "/keep"),
        ("DELETE", "/keep"),
        ("GET", "/kept"),
    ],
)
def test_nobody_acts_on_the_run_of_another_user(open_path: Path, verb: str, path: str) -> None:
    with served(open_path / "s", allow=("nobody", "daemon")) as running:
        open_to_all(running.socket_path)
        pipeline = json.dumps({"pipeline": 'name = "x"\n[stages.a]\ncommand = "true"\n'})
        status, run = ask(running.socket_path, uid=65534, call="POST /v1/runs", body=pipeline)
        assert status == 201, run
        call, body = f"{verb} /v1/runs/{run['run_id']}{path}", json.dumps({"priority": -1})
        status, answer = ask(
            running.socket_path, uid=1, call=call, body=body if path == "/priority" else "{}"
        )
        assert status == 403, answer
        error = answer["error"]
        assert isinstance(error, dict)
        assert "belongs to nobody" in error["message"]


def test_a_body_that_never_ends_fills_no_memory(daemon: Served) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(60)
        peer.connect(str(daemon.socket_path))
        peer.sendall(b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        peer.sendall(b"Content-Length: 1000000000000\r\n\r\n")
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while sent < 64 * 1024**2:
                sent += peer.send(b" " * 65536)
                if select.select([peer], [], [], 0)[0]:
                    break
        assert sent < 32 * 1024**2
        assert b" 413 " in peer.recv(65536)
    assert ask(daemon.socket_path)[0] == 200
