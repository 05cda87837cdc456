from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ConflictError, HostlerError, NoDaemonError, PipelineError
from hostler.client.aio import AsyncClient
from hostler.client.call import as_object, get
from hostler.client.sync import Client
from hostler.quick.socket import Found, ask, check_server
from tests.support.daemons.scripted_daemon import (
    Answer,
    ScriptedDaemon,
    json_lines,
    scripted_daemon,
)


@pytest.fixture
def daemon() -> Iterator[ScriptedDaemon]:
    with scripted_daemon() as running:
        yield running


def found(daemon: ScriptedDaemon) -> Found:
    return Found(str(daemon.path), "environment")


def test_a_question_is_answered(daemon: ScriptedDaemon) -> None:
    daemon.on("POST", "/v1/gc", {"freed": 3})
    assert ask(found(daemon), "POST", "/v1/gc", {"dry_run": True}) == {"freed": 3}
    assert daemon.asked[0].json == {"dry_run": True}


def test_chunked_answers_are_read_too(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/gpus", Answer(parts=[b'{"a":', b"1}"]))
    assert ask(found(daemon), "GET", "/v1/gpus") == {"a": 1}


def test_the_daemons_error_comes_back_as_itself(daemon: ScriptedDaemon) -> None:
    problems = [{"path": "stages.a", "message": "bad", "line": 3, "hint": ""}]
    body = {"error": {"kind": "PipelineError", "message": "m", "remedy": "r", "problems": problems}}
    daemon.on("GET", "/v1/x", Answer(body, 400))
    with pytest.raises(PipelineError) as caught:
        ask(found(daemon), "GET", "/v1/x")
    assert [str(problem) for problem in caught.value.problems] == ["line 3: stages.a: bad"]
    conflict = {"error": {"kind": "ConflictError", "message": "m", "remedy": ""}}
    daemon.on("GET", "/v1/y", Answer(conflict, 409))
    with pytest.raises(ConflictError):
        ask(found(daemon), "GET", "/v1/y")


def test_an_error_that_is_none_of_ours_names_the_status(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/x", Answer("oh", 502))
    with pytest.raises(HostlerError, match="status 502"):
        ask(found(daemon), "GET", "/v1/x")
    daemon.on("GET", "/v1/y", Answer(status=200, parts=[b"not json"]))
    with pytest.raises(HostlerError, match="not JSON"):
        ask(found(daemon), "GET", "/v1/y")


def test_no_socket_is_no_daemon() -> None:
    with pytest.raises(NoDaemonError, match=r"socket does not exist.*HOSTLER_SOCKET") as caught:
        ask(Found("/nowhere/x.sock", "environment"), "GET", "/v1/gpus")
    assert caught.value.exit_code == 5


def test_a_socket_that_refuses_is_no_daemon(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with pytest.raises(NoDaemonError, match=r"refuses.*hostler daemon start"):
        ask(Found(str(path), "personal"), "GET", "/v1/gpus")


def test_a_silent_daemon_is_given_up(daemon: ScriptedDaemon) -> None:
    never = threading.Event()
    daemon.on("GET", "/v1/gpus", Answer(parts=[*json_lines({}), never]))
    with pytest.raises(NoDaemonError, match="does not answer"):
        ask(found(daemon), "GET", "/v1/gpus", timeout=0.1)
    never.set()


def test_a_daemon_that_is_slow_is_not_to_be_started(daemon: ScriptedDaemon) -> None:
    never = threading.Event()
    daemon.on("GET", "/v1/gpus", Answer(parts=[*json_lines({}), never]))
    with pytest.raises(NoDaemonError, match=r"does not answer\. It may be busy"):
        ask(Found(str(daemon.path), "personal"), "GET", "/v1/gpus", timeout=0.1)
    never.set()


class Crowd:
    """A daemon that is too busy to accept anyone, with as many callers as its queue holds."""

    def __init__(self, path: str) -> None:
        self.found = Found(path, "personal")
        self._callers = contextlib.ExitStack()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(60)
        self._listener.bind(path)
        self._listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                caller = self._callers.enter_context(socket.socket(socket.AF_UNIX))
                caller.setblocking(False)
                caller.connect(path)

    def answer(self) -> None:
        """Accept callers until one of them asks something, and answer that."""
        self._callers.close()
        while True:
            with self._listener.accept()[0] as peer:
                if peer.recv(65536):
                    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                    return

    def close(self) -> None:
        """Let all of them go."""
        self._callers.close()
        self._listener.close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with tempfile.TemporaryDirectory(prefix="hs-") as folder:
        made = Crowd(f"{folder}/hostler.sock")
        yield made
        made.close()


def test_a_daemon_whose_queue_stays_full_does_not_answer(crowd: Crowd) -> None:
    with pytest.raises(NoDaemonError, match=r"does not answer\. It may be busy"):
        ask(crowd.found, "GET", "/v1/version", timeout=0.05)
    with pytest.raises(NoDaemonError, match=r"does not answer\. It may be busy"):
        asyncio.run(AsyncClient(found=crowd.found, timeout=0.05).version())


def test_a_place_in_a_full_queue_is_waited_for(crowd: Crowd) -> None:
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask, crowd.found, "GET", "/v1/version", None, 60)
        crowd.answer()
        assert asking.result(60) == {}


async def test_an_asynchronous_client_waits_for_a_place_in_a_full_queue(crowd: Crowd) -> None:
    client = AsyncClient(found=crowd.found, timeout=60)
    asking = asyncio.create_task(client.request(get(as_object, "version")))
    await asyncio.sleep(0)  # it has found the queue full
    await asyncio.to_thread(crowd.answer)
    assert await asking == {}


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoDaemonError, match=r"not a folder\. Set HOSTLER_STATE"):
        ask(Found(f"{tmp_path}/file/x.sock", "personal"), "GET", "/v1/gpus")


def test_an_answer_cut_short_is_an_error(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/gpus", Answer({"a": 1}, cut=True))
    with pytest.raises(NoDaemonError, match="in the middle"):
        ask(found(daemon), "GET", "/v1/gpus")


class Overheard:
    """A connection to a process of some user."""

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def getsockopt(self, *_what: int) -> bytes:
        return struct.pack("3i", 1, self.uid, 1)


def overheard(uid: int) -> Any:
    return Overheard(uid)


@pytest.mark.parametrize(
    ("origin", "path", "believed"),
    [
        ("personal", "/home/ana/.local/state/hostler/x.sock", False),
        ("personal", "/var/tmp/hostler-1/state/x.sock", False),
        ("flag", "/var/tmp/h/x.sock", False),
        ("environment", "/tmp/x.sock", False),
        ("environment", "/home/ana/x.sock", True),
    ],
)
def test_a_stranger_is_believed_where_the_socket_can_only_be_meant_so(
    origin: str, path: str, believed: bool
) -> None:
    found = Found(path, origin)
    for uid in (0, os.geteuid()):
        check_server(found, overheard(uid))
    if believed:
        check_server(found, overheard(54321))
        return
    with pytest.raises(NoDaemonError, match="uid 54321 listens there") as caught:
        check_server(found, overheard(54321))
    assert ("HOSTLER_STATE" if origin == "personal" else "config.toml") in caught.value.remedy


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make what others own")
@pytest.mark.parametrize("origin", ["config", "system"])
def test_of_a_shared_daemon_nobody_else_could_have_made_the_socket(
    origin: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    os.chown(folder, 54321, 54321)
    path = folder / "x.sock"
    path.touch()
    check_server(Found(str(path), origin), overheard(54321))
    with pytest.raises(NoDaemonError, match="uid 54322 listens there"):
        check_server(Found(str(path), origin), overheard(54322))
    folder.chmod(0o1777)
    check_server(Found(str(path), origin), overheard(0))
    with pytest.raises(NoDaemonError, match="other users may write to") as caught:
        check_server(Found(str(path), origin), overheard(54321))
    assert "hostler daemon install" in caught.value.remedy


LISTEN = """
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
print("ready", flush=True)
peer, _ = s.accept()
print(len(peer.recv(1000)), flush=True)
"""


@pytest.mark.programs
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("way", ["quick", "sync", "async"])
def test_a_socket_that_somebody_else_serves_is_told_nothing(way: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        path = f"{folder}/hostler.sock"
        stranger = subprocess.Popen(
            ["/usr/bin/python3", "-c", LISTEN, path],
            stdout=subprocess.PIPE, text=True, user=54321, group=54321, extra_groups=[],
        )  # fmt: skip
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "ready\n"
        with pytest.raises(NoDaemonError, match="uid 54321 listens there"):
            _version(way, Found(path, "personal"))
        assert stranger.stdout.read() == "0\n"
        stranger.stdout.close()
        assert stranger.wait(60) == 0


def _version(way: str, found: Found) -> None:
    if way == "quick":
        ask(found, "GET", "/v1/version")
    elif way == "sync":
        Client(found=found).version()
    else:
        asyncio.run(AsyncClient(found=found).version())
