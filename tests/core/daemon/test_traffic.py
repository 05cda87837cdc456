"""The daemon counts the requests that a gateway's log tells, once each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest

from hostler.base.errors import EngineError, NotFoundError
from hostler.daemon.context import Context
from hostler.daemon.run_cache import RunCache
from hostler.daemon.traffic import TrafficCounter
from hostler.daemon.traffic_history import show_traffic
from hostler.decide.routes import Routes, Served
from hostler.gateway.control import Gateway
from hostler.gateway.traffic import Counted
from hostler.model.addresses import path_of
from hostler.model.gateway import WantedGateway
from hostler.model.runs import Outcome, Run
from hostler.model.services import HealthCheck, Service
from hostler.model.timings import Timings
from hostler.model.traffic import NOBODY, Traffic
from hostler.store.database import Store
from hostler.store.traffic import TrafficStore
from tests.support.values.planning import attempt, run, stage

_T = 1_800_000_000.0
SERVED = Served("serve", path_of("serve"))
ROUTES = Routes(WantedGateway(), {("raaaaaa", "serve"): SERVED}, {}, {})


class _Log:
    """What a gateway's log tells."""

    def __init__(self, since: float = 1.0) -> None:
        self.since = since
        self.servers: dict[tuple[str, str], Traffic] = {}
        self.asked = 0
        self.fails = False

    def add(self, server: str, *steps: int, failed: int = 0, service: str = "serve") -> None:
        new = Traffic(sum(steps) + failed, failed, 0, steps)
        self.servers[service, server] = self.servers.get((service, server), Traffic()).plus(new)

    async def counts(self) -> Counted:
        self.asked += 1
        if self.fails:
            raise EngineError("here", "no space left")
        return Counted(self.since, 0, dict(self.servers))


class _World:
    """A daemon's part, with its clock."""

    def __init__(self, store: Store) -> None:
        self.now, self.store = _T, store
        self.begin()

    def begin(self) -> None:
        """Of a daemon that starts."""
        cache = RunCache()
        serve = stage("serve.0", base="serve", service=Service(HealthCheck()))
        made = attempt("raaaaaa", "serve.0")
        cache.add(replace(run("raaaaaa", serve), attempts=(replace(made, attempt_id="a1"),)))
        context = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: self.now), run_cache=cache, store=self.store,
            timings=Timings(traffic_every=5.0), services={},
        )  # fmt: skip
        self.context = cast(Context, context)
        self.cache = cache
        self.counter = TrafficCounter(self.context)

    async def take(self, log: _Log, after: float = 5.0) -> None:
        self.now += after
        await self.counter.take(cast(Gateway, log), ROUTES)

    async def total(self) -> Any:
        found = await TrafficStore(*self.store.metrics.connections).totals(["raaaaaa"])
        return found[0].traffic if found else None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[_World]:
    store = await Store.open(tmp_path / "state")
    yield _World(store)
    await store.close()


async def test_each_request_counts_once(world: _World) -> None:
    log = _Log()
    await world.take(log)
    assert world.counter.recent(("raaaaaa", "serve")) is None  # nothing is known yet
    log.add("a1", 0, 3, failed=1)
    log.add(NOBODY, failed=1)
    log.add("a1", 5, service="else")  # whatever the name: the attempt says whose it is
    log.add("stranger", 7)
    await world.take(log)
    await world.take(log, 1.0)
    assert log.asked == 2  # not more often than need be
    await world.take(log)
    assert await world.total() == Traffic(10, 2, 0, (5, 3))
    recent = world.counter.recent(("raaaaaa", "serve"))
    assert recent is not None
    assert recent.requests == 10
    assert recent.per_second == pytest.approx(10 / 16)  # with what came before the first answer
    found = await show_traffic(world.context, "serve", 5)
    assert found.releases[0].total.requests == 10
    await world.take(log, 120.0)
    assert recent != world.counter.recent(("raaaaaa", "serve"))


async def test_neither_a_new_reader_nor_a_new_daemon_counts_twice(world: _World) -> None:
    log = _Log()
    log.add("a1", 4)
    await world.take(log)
    # The agent was started anew, and has counted nothing before.
    again = _Log(since=2.0)
    again.add("a1", 2)
    await world.take(again)
    assert await world.total() == Traffic(6, 0, 0, (6,))
    # A daemon that starts has an agent of its own.
    world.begin()
    mine = _Log(since=3.0)
    await world.take(mine, 600.0)
    mine.add("a1", 1)  # of the ten minutes
    await world.take(mine)
    recent = world.counter.recent(("raaaaaa", "serve"))
    assert recent is not None
    assert recent.per_second is not None
    assert recent.per_second < 1 / 500
    assert await world.total() == Traffic(7, 0, 0, (7,))
    assert (await show_traffic(world.context, "raaaaaa", 5)).releases[0].total.requests == 7


async def test_a_run_that_is_over_is_counted_to_its_end(world: _World) -> None:
    log = _Log()
    log.add("a1", 4)
    await world.take(log)
    world.cache.drop("raaaaaa", Outcome.CANCELLED)
    log.add("a1", 1)
    await world.take(log)
    assert await world.total() == Traffic(5, 0, 0, (5,))
    # One that ended before its first answer was heard is known to the database.
    asked: list[str] = []

    async def get_run(run_id: str) -> Run:
        asked.append(run_id)
        if run_id != "rbbbbbb":
            raise NotFoundError("no such run")
        serve = stage("serve.0", base="serve", service=Service(HealthCheck()))
        made = replace(attempt("rbbbbbb", "serve.0"), attempt_id="rbbbbbb-serve.0-1")
        return replace(run("rbbbbbb", serve), attempts=(made,))

    with patch.object(world.store, "get_run", get_run):
        log.add("rbbbbbb-serve.0-1", 3)
        for number in range(10):
            log.add(f"r{number}-x-1", 1)
        for _ in range(3):
            await world.take(log)
    found = await TrafficStore(*world.store.metrics.connections).totals(["rbbbbbb"])
    assert [each.traffic.requests for each in found] == [3]
    assert len(asked) == 11  # once each


async def test_what_could_not_be_asked_or_written_is_counted_later(
    world: _World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = _Log()
    log.fails = True
    for _ in range(2):
        await world.take(log)
    log.fails = False
    log.add("a1", 4)
    with monkeypatch.context() as patched:

        async def refuse(*_: object) -> None:
            raise EngineError("disk", "full")

        patched.setattr(TrafficStore, "add", refuse)
        await world.take(log)
    log.add("a1", 1)
    await world.take(log)
    assert await world.total() == Traffic(5, 0, 0, (5,))
    assert [record.message for record in caplog.records] == [
        "requests were not counted: here: no space left", "requests were not counted: disk: full",
    ]  # fmt: skip
