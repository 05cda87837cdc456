"""The daemon dies between the commit of a run and its answer: it is one run all the same."""

from __future__ import annotations

import asyncio

import pytest

from hostler.base.paths import SOCKET_NAME
from hostler.client import AsyncClient, Client, exchange
from tests.support.machines.desk import Desk

BODY = {"command": {"command": ["true"], "code": "none"}}
KILLED = {"HOSTLER_FAILPOINTS": "after_submit:kill"}


def begin(desk: Desk) -> int:
    """Start a daemon that dies at its first submission; its process."""
    desk.more_env = dict(KILLED)
    desk.ok("daemon", "start")
    desk.more_env = {}
    return desk.daemon_pid()


def only_run(desk: Desk) -> str:
    """The id of the one run there is."""
    (run,) = desk.ok("runs", "--json").json["runs"]
    return str(run["run_id"])


def test_the_command_line_starts_the_daemon_and_asks_again(alone: Desk) -> None:
    pid = begin(alone)
    alone.cold = True
    said = alone.ok("run", "-d", "--code", "none", "--", "true")
    assert alone.daemon_pid() != pid
    assert said.out.strip() == only_run(alone)


def test_a_client_asks_again_with_the_same_key_to_submit_retry_and_rerun(alone: Desk) -> None:
    alone.more_env = dict(KILLED)  # every daemon dies at its first submission
    alone.ok("daemon", "start")
    pids = [alone.daemon_pid()]
    client = Client(alone.state / SOCKET_NAME, revive=alone.start_daemon)
    first = client.submit({"command": {"command": ["false"], "code": "none"}}).run_id
    pids.append(alone.daemon_pid())
    alone.ended(first)
    made = [first]
    for verb in (client.retry, client.rerun):
        made.append(verb(first).run_id)
        pids.append(alone.daemon_pid())
        runs = [r["run_id"] for r in alone.ok("runs", "--json").json["runs"]]
        assert sorted(runs) == sorted(made)
    assert len(set(pids)) == 4


async def test_an_asynchronous_client_waits_for_the_daemon_and_asks_again(
    alone: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "AGAIN_WITHIN_S", 120.0)  # a busy machine starts no daemon in 15
    pid = begin(alone)
    submitting = asyncio.create_task(AsyncClient(alone.state / SOCKET_NAME).submit(BODY))
    await asyncio.to_thread(alone.wait_death, pid, 30)
    await asyncio.to_thread(alone.ok, "daemon", "start")
    assert (await submitting).run_id == only_run(alone)
