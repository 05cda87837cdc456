from __future__ import annotations

import asyncio
import hashlib
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hostler
from hostler.base.errors import ConflictError, HostlerError, NoDaemonError, NotFoundError
from hostler.client import AsyncClient, Client
from hostler.model.codec import to_json
from hostler.model.files import Artifact
from hostler.model.runs import Event
from hostler.model.views.alerts import StreamLine
from hostler.model.views.history import MetricView
from hostler.model.views.runs import RunRow, RunView
from tests.support.daemons.scripted_daemon import (
    Answer,
    ScriptedDaemon,
    json_lines,
    scripted_daemon,
)
from tests.support.values.run_objects import run, stage


@pytest.fixture
def daemon() -> Iterator[ScriptedDaemon]:
    with scripted_daemon() as running:
        yield running


@pytest.fixture
def client(daemon: ScriptedDaemon) -> Client:
    return Client(daemon.path, timeout=5)


def test_both_clients_have_the_same_methods() -> None:
    def names(cls: type) -> dict[str, list[str]]:
        functions = inspect.getmembers(cls, inspect.isfunction)
        return {
            name: list(inspect.signature(f).parameters)
            for name, f in functions
            if not name.startswith("_") or name == "__init__"
        }

    assert names(Client) == names(AsyncClient)


def test_the_package_gives_both_clients() -> None:
    assert hostler.Client is Client
    assert hostler.AsyncClient is AsyncClient


# method name, arguments -> the request it makes
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str, str, dict[str, str]]] = [
    ("version", (), {}, "GET", "/v1/version", {}),
    ("gpus", (), {}, "GET", "/v1/gpus", {}),
    ("host", ("gpu 1",), {}, "GET", "/v1/hosts/gpu 1", {}),
    ("host_history", ("gpu1",), {}, "GET", "/v1/hosts/gpu1/history", {"minutes": "60"}),
    ("usage", ("r7", "a"), {}, "GET", "/v1/runs/r7/usage/a", {}),
    ("alerts", (), {"open_only": True}, "GET", "/v1/alerts", {"open": "1", "limit": "200"}),
    ("acknowledge", (7,), {}, "POST", "/v1/alerts/7/acknowledge", {}),
    ("unacknowledge", (7,), {}, "POST", "/v1/alerts/7/unacknowledge", {}),
    (
        "history",
        ("digits",),
        {"limit": 5, "sort": "-acc", "param": ["lr=0.1"]},
        "GET",
        "/v1/history/runs",
        {
            "pipeline": "digits",
            "limit": "5",
            "sort": "-acc",
            "param": "lr=0.1",
            "offset": "0",
            "releases": "1",
        },
    ),
    ("compare", (["r7"],), {}, "GET", "/v1/history/compare", {"run": "r7"}),
    ("source", ("r7",), {}, "GET", "/v1/runs/r7/source", {}),
    ("fleet_history", (5,), {}, "GET", "/v1/history/fleet", {"minutes": "5"}),
    ("drain", ("gpu1", "PSU"), {}, "POST", "/v1/hosts/gpu1/drain", {}),
    ("undrain", ("gpu1",), {}, "POST", "/v1/hosts/gpu1/undrain", {}),
    ("retry_host", ("gpu1",), {}, "POST", "/v1/hosts/gpu1/retry", {}),
    ("submit", ({"pipeline": "x"},), {}, "POST", "/v1/runs", {}),
    ("check", ({"pipeline": "x"},), {}, "POST", "/v1/check", {}),
    ("plan", ({"pipeline": "x"},), {}, "POST", "/v1/plan", {}),
    ("show", ("r7",), {}, "GET", "/v1/runs/r7", {}),
    ("why", ("r7", "a"), {}, "GET", "/v1/runs/r7/why", {"stage": "a"}),
    ("cancel", ("r7",), {}, "POST", "/v1/runs/r7/cancel", {}),
    ("priority", ("r7", -3), {}, "POST", "/v1/runs/r7/priority", {}),
    ("retry", ("r7",), {}, "POST", "/v1/runs/r7/retry", {}),
    ("retry", ("r7",), {"change": {"from": ["a"]}}, "POST", "/v1/runs/r7/retry", {}),
    ("plan_retry", ("r7",), {"change": {}}, "POST", "/v1/runs/r7/retry/plan", {}),
    ("rerun", ("r7",), {"source": {"path": "/x"}}, "POST", "/v1/runs/r7/rerun", {}),
    ("remove", ("r7",), {}, "DELETE", "/v1/runs/r7", {}),
    ("gc", (), {"dry_run": True}, "POST", "/v1/gc", {}),
    ("shutdown", (), {}, "POST", "/v1/shutdown", {}),
]


@pytest.mark.parametrize("call", CALLS, ids=[call[0] for call in CALLS])
def test_each_method_makes_its_call(daemon: ScriptedDaemon, client: Client, call: Any) -> None:
    name, arguments, options, method, path, query = call
    answer = {
        "id": 7, "removed": "r7", "run_id": "r7",
        "name": "gpu1", "transport": "ssh", "condition": "up", "since": 0.0,
    }  # fmt: skip
    if name == "gpus":
        answer = {"at": 0.0, "summary": {"total": 0, "free": 0}, "hosts": []}
    daemon.on(method, path, answer)
    result = getattr(client, name)(*arguments, **options)
    assert not isinstance(result, dict) or result == answer
    asked = daemon.requests(method, path)[0]
    assert asked.query == query
    again = asyncio.run(getattr(AsyncClient(daemon.path), name)(*arguments, **options))
    assert again == result
    assert daemon.requests(method, path)[1] == asked


def test_lists_come_out_of_their_object(daemon: ScriptedDaemon, client: Client) -> None:
    daemon.on("GET", "/v1/runs", {"runs": [{"run_id": "r7"}]})
    daemon.on("GET", "/v1/hosts", {"hosts": []})
    pages = {
        None: {"metrics": [{"attempt_id": "r7-a-1", "name": "loss"}], "next": "0.1"},
        "0.1": {"metrics": [{"attempt_id": "r7-a-1", "name": "acc"}], "next": None},
    }
    rows = "/v1/runs/r7/metrics/a"
    daemon.on("GET", rows, lambda asked: Answer(pages[asked.query.get("after")]))
    assert client.runs(state="open", limit=3) == (RunRow(run_id="r7"),)
    assert daemon.asked[0].query == {"state": "open", "limit": "3"}
    model = Artifact("r7", "a", "r7-a-1", "model", "d" * 64, 5, 1.0)
    daemon.on("GET", "/v1/runs/r7/artifacts", {"artifacts": [to_json(model)]})
    assert client.hosts() == ()
    assert client.artifacts("r7") == (model,)
    both = [MetricView(attempt_id="r7-a-1", name=name) for name in ("loss", "acc")]
    assert client.metrics("r7", "a") == both
    assert asyncio.run(AsyncClient(daemon.path).metrics("r7", "a", points=9)) == both
    assert daemon.requests("GET", rows)[-1].query == {
        "points": "9",
        "after": "0.1",
    }


def test_errors_are_those_of_the_daemon(daemon: ScriptedDaemon, client: Client) -> None:
    with pytest.raises(NotFoundError):
        client.show("r7")
    error = {"error": {"kind": "ConflictError", "message": "has ended", "remedy": ""}}
    daemon.on("POST", "/v1/runs/r7/cancel", Answer(error, 409))
    with pytest.raises(ConflictError, match="has ended"):
        client.cancel("r7")
    with pytest.raises(ConflictError, match="has ended"):
        asyncio.run(AsyncClient(daemon.path).cancel("r7"))


def test_a_snapshot_is_sent_once(daemon: ScriptedDaemon, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "source.tar"
    file.write_bytes(bytes(range(256)) * 4096)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    path = f"/v1/snapshots/{digest}"
    daemon.on("HEAD", path, Answer(status=404))
    daemon.on("PUT", path, {"size": 1})
    client.put_snapshot(digest, file)
    asyncio.run(AsyncClient(daemon.path).put_snapshot(digest, file))
    assert [asked.body for asked in daemon.requests("PUT", path)] == [file.read_bytes()] * 2
    daemon.on("HEAD", path, Answer())
    client.put_snapshot(digest, file)
    asyncio.run(AsyncClient(daemon.path).put_snapshot(digest, file))
    assert len(daemon.requests("PUT", path)) == 2


def test_a_stream_is_read_line_by_line(daemon: ScriptedDaemon, client: Client) -> None:
    event = Event(1, 2.0, "run.submitted", "ana submitted digits")
    parts = json_lines({"event": to_json(event)}, {}, {"run": {"run_id": "r7"}})
    told = [StreamLine(event=event), StreamLine(), StreamLine(run=RunView(run_id="r7"))]
    assert isinstance(parts[2], bytes)
    parts[2:] = [parts[2][:4], parts[2][4:]]
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=parts))
    assert list(client.run_events("r7", after=5)) == told
    assert daemon.asked[0].query == {"after": "5"}

    async def collect() -> list[Any]:
        return [line async for line in AsyncClient(daemon.path).run_events("r7", follow=True)]

    assert asyncio.run(collect()) == told
    assert daemon.asked[1].query == {"follow": "1"}


def test_ticks_come_while_nothing_else_does(daemon: ScriptedDaemon, client: Client) -> None:
    go_on = threading.Event()
    first, second = (Event(seq, 1.0, "x", "it is so") for seq in (1, 2))
    lines = json_lines({"event": to_json(first)}, {"event": to_json(second)})
    parts = [lines[0], go_on, lines[1]]
    daemon.on("GET", "/v1/events", Answer(parts=parts))
    stream = client.events(follow=True, tick=0.02)
    # On a busy machine some come before the first event, too.
    assert next(line for line in stream if line.event) == StreamLine(event=first)
    assert next(stream) == StreamLine()
    go_on.set()
    assert [line for line in stream if line.event] == [StreamLine(event=second)]


def test_a_stream_cut_short_is_told_apart_from_its_end(
    daemon: ScriptedDaemon, client: Client
) -> None:
    daemon.on("GET", "/v1/events", Answer(parts=json_lines({}), cut=True))
    stream = client.events(follow=True)
    assert next(stream) == StreamLine()
    with pytest.raises(NoDaemonError, match="was lost"):
        next(stream)

    async def read() -> None:
        async for _ in AsyncClient(daemon.path).events(follow=True):
            pass

    with pytest.raises(NoDaemonError, match="was lost"):
        asyncio.run(read())


def test_logs_are_bytes_with_their_attempt(daemon: ScriptedDaemon, client: Client) -> None:
    headers = {"X-Hostler-Attempt": "r7-a-2", "X-Hostler-Size": "15", "X-Hostler-Offset": "10"}
    answer = Answer(parts=[b"\xff\x00", b"end"], headers=headers)
    daemon.on("GET", "/v1/runs/r7/logs/a", answer)
    log = client.logs("r7", "a", attempt=2, offset=10, follow=True, length=5)
    assert (log.attempt, log.size, log.offset) == ("r7-a-2", 15, 10)
    assert b"".join(log) == b"\xff\x00end"
    assert daemon.asked[0].query == {
        "attempt": "2", "offset": "10", "follow": "1", "length": "5",
    }  # fmt: skip

    async def read() -> bytes:
        log = await AsyncClient(daemon.path).logs("r7", "a")
        assert (log.attempt, log.size, log.offset) == ("r7-a-2", 15, 10)
        return b"".join([part async for part in log])

    assert asyncio.run(read()) == b"\xff\x00end"
    with pytest.raises(NotFoundError):
        client.logs("r7", "b")


def test_waiting_ends_with_the_run(daemon: ScriptedDaemon, client: Client) -> None:
    lines = json_lines(
        {"run": run()}, {}, {"run": run(stage(status="succeeded"), outcome="succeeded")}
    )
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=lines))
    assert client.wait("r7").outcome == "succeeded"
    assert asyncio.run(AsyncClient(daemon.path).wait("r7")).outcome == "succeeded"


def test_waiting_has_an_end_of_its_own(daemon: ScriptedDaemon, client: Client) -> None:
    never = threading.Event()
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=[*json_lines({"run": run()}), never]))
    with pytest.raises(TimeoutError):
        client.wait("r7", timeout=0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(AsyncClient(daemon.path).wait("r7", timeout=0.05))
    never.set()


def test_a_daemon_that_ends_first_is_not_a_run_that_ended(
    daemon: ScriptedDaemon, client: Client
) -> None:
    daemon.on("GET", "/v1/runs/r7/events", Answer(parts=json_lines({"run": run()})))
    with pytest.raises(NoDaemonError, match="before run r7 did"):
        client.wait("r7")
    with pytest.raises(NoDaemonError, match="before run r7 did"):
        asyncio.run(AsyncClient(daemon.path).wait("r7"))


def test_no_daemon() -> None:
    with pytest.raises(NoDaemonError):
        Client("/nowhere/x.sock").version()
    with pytest.raises(NoDaemonError):
        asyncio.run(AsyncClient("/nowhere/x.sock").version())


def test_a_silent_daemon_is_given_up(daemon: ScriptedDaemon) -> None:
    never = threading.Event()
    daemon.on("GET", "/v1/version", Answer(parts=[never]))
    with pytest.raises(NoDaemonError, match="does not answer"):
        Client(daemon.path, timeout=0.05).version()
    with pytest.raises(NoDaemonError, match="does not answer"):
        asyncio.run(AsyncClient(daemon.path, timeout=0.05).version())
    never.set()


@pytest.mark.parametrize(("level", "remedy"), [("2", "Upgrade hostler here"), ("0", "Ask the")])
def test_a_daemon_of_another_api_level_is_told(
    daemon: ScriptedDaemon, client: Client, level: str, remedy: str
) -> None:
    other = {"Server": f"Hostler/9.1.0 API/{level}"}
    daemon.on("GET", "/v1/gpus", Answer({}, headers=other))
    daemon.on("GET", "/v1/events", Answer(parts=[], headers=other))
    daemon.on("GET", "/v1/version", Answer({"api": int(level)}, headers=other))
    told = rf"version 9\.1\.0\) uses API level {level}, this client uses level 1.*{remedy}"
    with pytest.raises(HostlerError, match=told):
        client.gpus()
    with pytest.raises(HostlerError, match=told):
        list(client.events())
    with pytest.raises(HostlerError, match=told):
        asyncio.run(AsyncClient(daemon.path).gpus())
    assert client.version().api == int(level)
