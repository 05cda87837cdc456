"""Who may not use the daemon is told so before anything they send is read, and costs little."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from hostler.api import door, limits
from hostler.api.connection_limits import Peer
from hostler.api.door import Doorman, RefusalLog
from hostler.api.limits import has_too_many_values
from hostler.base.errors import ForbiddenError
from hostler.daemon import views as views_module
from hostler.daemon.serve import CleanFormatter
from hostler.model.config import DaemonConfig
from tests.support.daemons.served import Served, served
from tests.support.machines.callers import ask, connected, open_to_all, send
from tests.support.machines.desk import wait_until
from tests.support.machines.users import spawn

STRANGER = 65533
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")

PROMISES = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
s.sendall(b"POST /v1/runs HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\n"
          b"Content-Length: 16000000\\r\\n\\r\\n[")
print(s.recv(65536).decode().split()[1])
"""


@pytest.fixture
def daemon(open_path: Path) -> object:
    with served(open_path / "s", allow=("nobody",)) as running:
        open_to_all(running.socket_path)
        yield running


@pytest.mark.programs
@as_root
def test_a_stranger_is_refused_before_the_body(daemon: Served) -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", PROMISES, str(daemon.socket_path)],
        capture_output=True, text=True, user=STRANGER, group=STRANGER, extra_groups=[],
    )  # fmt: skip
    assert done.stdout == "403\n", done.stderr


CHUNKS = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
s.setblocking(False)
s.send(b"POST /v1/runs HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
       + b"1\\r\\n \\r\\n" * 15_000)
s.settimeout(30)
print(s.recv(65536).decode().split()[1])
"""


@pytest.mark.programs
@as_root
def test_a_strangers_body_is_not_taken_apart(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, take = [], H11Protocol.data_received

    def counted(protocol: H11Protocol, data: bytes) -> None:
        taken.append(len(data))
        take(protocol, data)

    monkeypatch.setattr(H11Protocol, "data_received", counted)
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", CHUNKS, str(daemon.socket_path)],
        capture_output=True, text=True, user=STRANGER, group=STRANGER, extra_groups=[],
    )  # fmt: skip
    assert done.stdout == "403\n", done.stderr
    assert sum(taken) <= 4096


@pytest.mark.programs
@as_root
@pytest.mark.parametrize("path", ["/openapi.json", "/nothing", "/v1/nothing", "/v1/version"])
def test_a_stranger_gets_one_answer_whatever_it_asks(daemon: Served, path: str) -> None:
    status, body = ask(daemon.socket_path, uid=STRANGER, call=f"GET {path}")
    assert status == 403
    error = body["error"]
    assert isinstance(error, dict)
    assert error["message"] == f"user {STRANGER} may not use this daemon"


@pytest.mark.programs
@as_root
def test_what_a_stranger_asks_for_cannot_steer_the_terminal_that_shows_the_log(
    daemon: Served, caplog: pytest.LogCaptureFixture
) -> None:
    ask(daemon.socket_path, uid=STRANGER, call="GET /%1b%5d0;owned%07%0aforged")
    (told,) = [r.getMessage() for r in caplog.records if "refused" in r.getMessage()]
    assert told == f"refused {STRANGER} (uid {STRANGER}): GET /␛]0;owned␇ forged"


def test_a_stranger_who_asks_for_ever_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = RefusalLog()
    for number in range(10_000):
        refusals.tell("eve", 7, "GET /", number / 1000)
        refusals.tell("mallory", 100_000 + number, "GET /", number / 1000)
    refusals.tell("eve", 7, "GET /", 70.0)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) < 70
    assert "refused eve (uid 7) 9999 more times" in told
    assert "refused users of many other uids 9937 times" in told


async def test_strangers_of_whom_a_slow_directory_is_asked_keep_no_guest_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, asked = threading.Event(), []

    def slow(uid: int, _group: str | None) -> door._User:
        asked.append(uid)
        if uid != 65534:
            answers.wait(60)
        return door._User("nobody" if uid == 65534 else str(uid), False, time.monotonic())

    def scope(uid: int) -> dict[str, Any]:
        return {"state": {"peer": Peer(uid, since=0.0)}, "method": "GET", "path": "/"}

    monkeypatch.setattr(door, "_ask", slow)
    doorman = Doorman(lambda: DaemonConfig(allow=("nobody",)), {0, 65534})
    strangers = [asyncio.create_task(doorman(scope(uid))) for uid in (7000, 7000, 7000, 7001)]
    try:
        async with asyncio.timeout(30):
            while not asked:
                await asyncio.sleep(0.01)
            assert (await doorman(scope(65534))).user == "nobody"
    finally:
        answers.set()
        told = await asyncio.gather(*strangers, return_exceptions=True)
    assert all(isinstance(each, ForbiddenError) for each in told)
    assert sorted(asked) == [7000, 7001, 65534]


def test_no_entry_of_the_log_steers_a_terminal_or_forges_another() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(CleanFormatter())
    log = logging.Logger("test")
    log.addHandler(handler)
    log.warning("%s says %s", "evil", "\x1b]0;owned\x07\n2026 INFO forged \u202e" + "x" * 9000)
    try:
        raise ValueError("\x1b[2J\x9b")
    except ValueError:
        log.exception("failed")
    assert not set(out.getvalue()) & set("\x1b\x07\x9b\u202e")
    first, second, *_ = out.getvalue().splitlines()
    assert "␛]0;owned␇ 2026 INFO forged" in first
    assert len(first) < 4100
    assert second.endswith("failed")


@pytest.mark.programs
def test_bodies_of_all_requests_together_are_bounded_and_small_ones_get_through(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OF_ONE_USER", 1_000_000)
    body = json.dumps({"pipeline": "x" * 600_000})
    with connected(daemon) as slow:
        slow.sendall(
            b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n{body[:-1]}".encode()
        )
        wait_until(lambda: send(daemon, "POST", "/v1/check", body.encode())[0] == 429,
                   "a second one is too much")  # fmt: skip
        small = json.dumps({"command": {"command": ["ls"]}})
        assert ask(daemon.socket_path, call="POST /v1/check", body=small)[0] == 200
        slow.sendall(body[-1:].encode())
        assert b" 400 " in slow.recv(65536)  # 600,000 letters are no pipeline
    wait_until(lambda: send(daemon, "POST", "/v1/check", body.encode())[0] == 400,
               "what was held is free again")  # fmt: skip


def test_a_body_of_many_tiny_values_is_not_parsed(daemon: Served) -> None:
    status, answer = send(daemon, "POST", "/v1/check", b"[" + b"{}," * 400_000 + b"{}]")
    assert status == 413
    assert "more than 250,000 values" in answer["error"]["message"]


def test_a_submission_with_many_files_is_not_too_large() -> None:
    files = [f'some/folder/{number:06},"[{{ \\' for number in range(100_000)]
    assert not has_too_many_values(json.dumps({"files": files, "links": files}).encode())
    assert has_too_many_values(b'["",' * 300_000)


def test_a_body_of_many_unknown_members_is_told_once(daemon: Served) -> None:
    many = {f"m{number}": 1 for number in range(1000)}
    for body in (many, {"command": {"command": ["ls"], **many}}):
        status, answer = send(daemon, "POST", "/v1/check", json.dumps(body).encode())
        assert status == 400
        assert "has more than 100 members" in answer["error"]["message"]


def test_a_priority_beyond_all_bounds_is_refused(daemon: Served) -> None:
    body = {"command": {"command": ["ls"]}, "priority": -(10**30)}
    status, answer = send(daemon, "POST", "/v1/runs", json.dumps(body).encode())
    assert status == 400
    assert "priority" in answer["error"]["message"]


def test_values_hidden_by_another_encoding_are_not_parsed(daemon: Served) -> None:
    body = ('["\u2200",' + "{}," * 400_000 + "{}]").encode("utf-16-le")
    status, answer = send(daemon, "POST", "/v1/check", body)
    assert (status, answer["error"]["message"]) == (400, "the request is not in UTF-8")


def _counted() -> int:
    """0: as they should be. The kernel ends what takes too long: no Python runs meanwhile."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(100)
    found = [
        has_too_many_values(b'["' + rb"\"" * 1_000_000),
        has_too_many_values(b'["a' + rb"\\" * 1000 + b'",' + b"{}," * 300_000),
        has_too_many_values(b'["a' + rb"\\\",," * 300_000 + b'"]'),
    ]
    return 0 if found == [False, True, False] else 1


@pytest.mark.programs
def test_values_are_counted_in_one_pass_whatever_is_escaped_and_never_closed() -> None:
    child = spawn(_counted)  # a process, since what never ends can be ended there
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_plan_that_takes_long_delays_no_other_request(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, answers = threading.Event(), threading.Event(), []

    def slow(_snapshot: object, _run: object) -> tuple[()]:
        begun.set()
        go_on.wait(60)
        return ()

    monkeypatch.setattr(views_module, "preview", slow)
    body = json.dumps({"command": {"command": ["ls"]}}).encode()
    asking = threading.Thread(target=lambda: answers.append(send(daemon, "POST", "/v1/plan", body)))
    asking.start()
    try:
        assert begun.wait(60)
        assert send(daemon, "GET", "/v1/version")[0] == 200
        assert not answers
    finally:
        go_on.set()
        asking.join(60)
    ((status, plan),) = answers
    assert (status, plan["pipeline"], plan["stages"]) == (200, "ls", [])


@pytest.mark.programs
def test_a_user_with_many_slow_requests_has_a_few_turns(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, begun = daemon.service, []
    go_on = asyncio.run_coroutine_threadsafe(_event(), daemon.loop).result(30)

    async def slow(run_id: str) -> dict[str, object]:
        begun.append(run_id)
        await go_on.wait()
        return {}

    monkeypatch.setattr(service, "describe", slow)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            peer = stack.enter_context(connected(daemon))
            peer.sendall(b"GET /v1/runs/last HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: len(begun) == limits.AT_ONCE, "some are worked on")
        log = stack.enter_context(connected(daemon))
        log.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in log.recv(65536)  # what goes on takes no turn
        if os.getuid() == 0:
            assert ask(daemon.socket_path, uid=65534)[0] == 200  # and others have their own
        assert len(begun) == limits.AT_ONCE
        daemon.loop.call_soon_threadsafe(go_on.set)
        wait_until(lambda: len(begun) == 20, "all had their turn")


async def _event() -> asyncio.Event:
    return asyncio.Event()


@pytest.mark.parametrize(
    "body",
    [
        {"files": [1] * 60_000, "links": [1] * 60_000},
        {"env": {f"V{n}": 1 for n in range(60_000)}},
        {"env": {f"V{n}": 1 for n in range(9000)}},
    ],
)
def test_a_body_that_is_wrong_a_thousand_times_is_told_some_of_it(
    daemon: Served, body: dict[str, object]
) -> None:
    status, answer = send(daemon, "POST", "/v1/check", json.dumps(body).encode())
    assert status == 400
    assert 0 < len(answer["error"]["problems"]) <= 51


def test_only_streams_and_uploads_may_go_on() -> None:
    for path in ("/v1/events", "/v1/runs/r1/events", "/v1/runs/r1/logs/a", "/v1/snapshots/ab"):
        assert limits.goes_on(path)
    for path in ("/v1/runs/r1/metrics/events", "/v1/runs/r1/usage/logs/a", "/v1/runs/events"):
        assert not limits.goes_on(path)


def test_a_host_is_not_asked_again_and_again_to_let_us_in(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monitor = daemon.service.context.monitors["nowhere"]
    monkeypatch.setattr(monitor, "retry_now", lambda: asked.append("nowhere"))
    for _ in range(20):
        assert send(daemon, "POST", "/v1/hosts/nowhere/retry")[0] == 200
    assert asked == ["nowhere"]
