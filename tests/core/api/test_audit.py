"""The audit table: what gets into it, who sees it, and that nobody fills it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from hostler.api.door import call_of
from hostler.base.errors import StateError
from hostler.daemon.audit import RefusalCounts
from hostler.model.calls import Caller
from tests.support.daemons.served import Served, served
from tests.support.machines.callers import ask, connected, open_to_all, send

OWNER, MEMBER, OTHER, OPERATOR, STRANGER = 0, 65534, 2, 1, 65533
"""root, nobody, bin, daemon, and somebody who may not use it."""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
PIPELINE = '{"pipeline": "name = \\"x\\"\\n[stages.a]\\ncommand = \\"true\\"\\n"}'


@pytest.fixture
def daemon(open_path: Path) -> Iterator[Served]:
    allow, operators = ("nobody", "bin"), ("daemon",)
    with served(open_path / "s", allow=allow, operators=operators) as running:
        open_to_all(running.socket_path)
        yield running


def submitted(daemon: Served, uid: int) -> str:
    status, run = ask(daemon.socket_path, uid=uid, call="POST /v1/runs", body=PIPELINE)
    assert status == 201, run
    return str(run["run_id"])


def act(daemon: Served, uid: int, call: str, body: str = "{}") -> int:
    return ask(daemon.socket_path, uid=uid, call=call, body=body)[0]


def entries(daemon: Served, uid: int | None = None, query: str = "") -> list[dict[str, Any]]:
    status, answer = ask(daemon.socket_path, uid=uid, call=f"GET /v1/audit{query}")
    assert status == 200, answer
    return cast("list[dict[str, Any]]", answer["entries"])


def told(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """User and call, the oldest first."""
    return [(entry["user"], entry["call"]) for entry in reversed(found)]


@pytest.mark.programs
def test_what_people_ask_for_is_on_record(daemon: Served) -> None:
    run = submitted(daemon, MEMBER)
    assert act(daemon, OPERATOR, "POST /v1/hosts/nowhere/drain") == 200
    assert act(daemon, MEMBER, f"POST /v1/runs/{run}/cancel") == 200
    status, again = ask(daemon.socket_path, MEMBER, f"POST /v1/runs/{run}/rerun", "{}")
    assert status == 201, again
    wait_for_end(daemon, run)
    status, retry = ask(daemon.socket_path, MEMBER, f"POST /v1/runs/{run}/retry", "{}")
    assert status == 201, retry
    found = entries(daemon)
    assert told(found) == [
        ("nobody", "submit"), ("daemon", "drain"), ("nobody", "cancel"), ("nobody", "rerun"),
        ("nobody", "retry"),
    ]  # fmt: skip
    assert found[-1]["arguments"] == {"run": run, "pipeline": "x"}
    assert found[0]["arguments"] == {"run": retry["run_id"], "pipeline": "x", "of": run}
    assert found[-1]["uid"] == MEMBER


@pytest.mark.programs
def test_who_stopped_the_daemon_is_on_record(daemon: Served) -> None:
    assert act(daemon, OWNER, "POST /v1/shutdown") == 200
    assert told(entries(daemon)) == [("root", "shutdown")]


def wait_for_end(daemon: Served, run: str) -> None:
    async def end() -> None:
        service = daemon.service
        while (await service.run(run)).outcome is None:
            await asyncio.sleep(0.02)

    asyncio.run_coroutine_threadsafe(end(), daemon.loop).result(60)


@pytest.mark.programs
def test_a_submission_that_is_sent_again_is_one_call(daemon: Served) -> None:
    head = "POST /v1/runs HTTP/1.1\r\nIdempotency-Key: " + "k" * 20
    for _ in range(2):  # the helper's own head follows
        status, _run = ask(daemon.socket_path, MEMBER, head + "\r\nX: x", PIPELINE)
        assert status == 201
    assert told(entries(daemon)) == [("nobody", "submit")]


@pytest.mark.programs
def test_members_see_their_own_entries(daemon: Served) -> None:
    mine, theirs = submitted(daemon, MEMBER), submitted(daemon, OTHER)
    assert act(daemon, OWNER, f"POST /v1/runs/{mine}/cancel") == 200
    assert told(entries(daemon, MEMBER)) == [("nobody", "submit")]
    assert told(entries(daemon, MEMBER, "?user=nobody")) == [("nobody", "submit")]
    assert entries(daemon, MEMBER, f"?run={theirs}") == []
    status, answer = ask(daemon.socket_path, MEMBER, "GET /v1/audit?user=bin")
    assert status == 403
    assert "owner and operators" in cast("dict[str, str]", answer["error"])["message"]
    assert ask(daemon.socket_path, STRANGER, "GET /v1/audit")[0] == 403
    for uid in (OWNER, OPERATOR):
        wanted = [("nobody", "submit"), ("bin", "submit"), ("root", "cancel")]
        assert told(entries(daemon, uid))[:3] == wanted


@pytest.mark.programs
def test_entries_are_found_by_run_user_call_and_time(daemon: Served) -> None:
    run, _other = submitted(daemon, MEMBER), submitted(daemon, OTHER)
    assert act(daemon, OTHER, f"POST /v1/runs/{run}/cancel") == 403
    assert act(daemon, MEMBER, f"POST /v1/runs/{run}/cancel") == 200
    about_run = [("nobody", "submit"), ("bin", "refused"), ("nobody", "cancel")]
    assert told(entries(daemon, query=f"?run={run}")) == about_run
    assert told(entries(daemon, query=f"?run={run[:4]}")) == about_run
    assert told(entries(daemon, query="?call=cancel")) == about_run[1:]
    assert told(entries(daemon, query="?call=refused")) == [("bin", "refused")]
    assert told(entries(daemon, query="?user=bin")) == [("bin", "submit"), ("bin", "refused")]
    assert told(entries(daemon, query="?limit=1")) == [("nobody", "cancel")]
    newest = entries(daemon)[0]["at"]
    assert told(entries(daemon, query=f"?since={newest!r}")) == [("nobody", "cancel")]
    assert entries(daemon, query="?run=rnothere") == []


@pytest.mark.programs
def test_a_refusal_says_what_was_refused_and_why(daemon: Served) -> None:
    run = submitted(daemon, MEMBER)
    assert act(daemon, OTHER, f"DELETE /v1/runs/{run}") == 403
    assert act(daemon, OTHER, "POST /v1/gc") == 403
    assert act(daemon, OTHER, "POST /v1/shutdown") == 403
    assert act(daemon, STRANGER, f"POST /v1/runs/{run}/cancel") == 403
    found = entries(daemon, query="?call=refused")
    assert [(e["user"], e["arguments"]["call"]) for e in reversed(found)] == [
        ("bin", "remove"), ("bin", "gc"), ("bin", "shutdown"), ("65533", "connect"),
    ]  # fmt: skip
    first = found[-1]["arguments"]
    assert (first["run"], first["times"]) == (run, 1)
    assert first["why"] == f"run {run} belongs to nobody"
    is_over = daemon.service.context.store.is_over(run)
    assert asyncio.run_coroutine_threadsafe(is_over, daemon.loop).result(30) is False


@pytest.mark.programs
def test_limits_are_refusals_too(daemon: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(daemon, "POST", "/v1/runs", b" " * (17 * 1024**2))[0] == 413
    monkeypatch.setattr("hostler.api.connection_limits.CONNECTIONS_A_USER", 0)
    with connected(daemon) as peer:
        peer.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 409 " in peer.recv(16)
    monkeypatch.undo()
    found = entries(daemon, query="?call=refused")
    assert [entry["arguments"]["call"] for entry in found] == ["connect", "submit"]
    assert "larger than" in found[1]["arguments"]["why"]


@pytest.mark.programs
def test_refusals_without_end_take_few_entries(daemon: Served) -> None:
    owner = daemon.service.audit

    async def refuse() -> None:
        for number in range(1200):
            await owner.refused(Caller(OTHER, "bin"), "gc", "no", None)
            await owner.refused(Caller(100_000 + number, "x"), "connect", "no", None)

    asyncio.run_coroutine_threadsafe(refuse(), daemon.loop).result(60)
    found = entries(daemon, query="?call=refused&limit=10000")
    of_bin = [e["arguments"]["times"] for e in found if e["user"] == "bin"]
    assert of_bin == [1000, 100, 10, 1]
    others = [e["arguments"]["times"] for e in found if "with_others" in e["arguments"]]
    assert others == [1000, 100, 10, 1]
    assert len(found) == 4 + 64 + 4


@pytest.mark.programs
def test_a_refusal_that_cannot_be_stored_is_one_all_the_same(
    daemon: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def full(_entry: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(daemon.service.context.store, "add_audit", full)
    assert act(daemon, MEMBER, "POST /v1/gc") == 403
    assert "not in the audit table: the disk is full" in caplog.text


def test_a_new_day_is_counted_anew() -> None:
    counts = RefusalCounts(1)
    assert [counts.count(1, "gc", 5.0) for _ in range(3)] == [{"times": 1}, None, None]
    assert counts.count(2, "gc", 6.0) == {"times": 1, "with_others": True}
    assert counts.count(2, "gc", 86_405.0) == {"times": 1}
    assert counts.count(2, "gc", 1.0) == {"times": 1}  # the clock was put back


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/v1/runs", "submit"),
        ("POST", "/v1/runs/r1/cancel", "cancel"),
        ("DELETE", "/v1/runs/r1", "remove"),
        ("DELETE", "/v1/runs/r1/keep", "unkeep"),
        ("PUT", "/v1/snapshots/ab", "upload"),
        ("GET", "/v1/audit", "audit"),
        ("POST", "/v1/services/digits/scale", "scale"),
        ("POST", "/v1/services/digits/stop", "stop"),
        ("POST", "/v1/services/digits/extend", "extend"),
        ("DELETE", "/v1/tokens/abc", "token-revoke"),
        ("GET", "/v1/runs", "look"),
        ("POST", "/v1/some/thing", "other"),
        ("BREW", "/v1/x", "other"),
    ],
)
def test_calls_are_of_few_names(method: str, path: str, call: str) -> None:
    assert call_of(method, path) == call


def test_a_refused_plan_of_a_retry_is_a_refused_retry() -> None:
    assert call_of("POST", "/v1/runs/raaaaaa/retry/plan") == "retry"
