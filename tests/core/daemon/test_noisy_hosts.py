"""A host that says more than can be kept, within the limits of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hostler.base.errors import InputError
from hostler.daemon import budget
from hostler.daemon.apply import Strangers
from hostler.daemon.budget import EventBudget
from hostler.daemon.overlay import FaultsTold
from hostler.decide import orphans as reap
from hostler.decide.plan import plan
from hostler.insight.alerts import Folded
from hostler.model.events import EventKind
from hostler.model.hosts import HostCondition
from hostler.model.runs import Event, Outcome
from hostler.sim.behaviour import Behaviour
from hostler.sim.host import SimHost
from hostler.sim.parts import SimWork
from tests.core.daemon.test_recover_on_sim import look_around
from tests.support.daemons.simdaemon import FAST, SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values import planning as lab
from tests.support.values.planning import stage
from tests.support.values.stored import last_events


def test_events_of_one_host_are_folded_and_those_of_others_are_not() -> None:
    events = EventBudget()
    made = [events.take("evil", second / 10) for second in range(6000)]  # ten minutes
    assert sum(verdict.kept for verdict in made) < budget.BURST + 30
    said = [verdict.said for verdict in made if verdict.said]
    assert said[0] == "evil sends too many events: some are dropped"
    assert len(said) < 5
    assert any(verdict.put_aside for verdict in made)
    assert events.take("good", 600.0).kept


def test_a_host_that_is_somewhat_noisy_for_days_is_not_put_aside() -> None:
    events = EventBudget()
    made = [events.take("gpu1", second) for second in range(0, 3 * 86400, 10)]
    assert not any(verdict.put_aside for verdict in made)
    assert sum(verdict.kept for verdict in made) > 3 * 86400 / budget.EACH_S


def test_a_fault_is_news_once_a_minute_and_when_its_gpu_was_well_meanwhile() -> None:
    told = FaultsTold()
    assert [told.is_news("GPU-1", 31, float(at), 60.0) for at in (0, 1, 59, 60)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert told.is_news("GPU-1", 48, 61.0, 60.0)
    told.forget("GPU-1")
    assert told.is_news("GPU-1", 48, 62.0, 60.0)
    assert sum(told.is_news("GPU-2", xid, 63.0, 60.0) for xid in range(10_000)) < 300


def test_workloads_of_no_known_run_are_told_by_name_up_to_a_number() -> None:
    strangers = Strangers()
    said = [strangers.news("evil", f"r{n}-a-1") for n in range(4000) for _ in range(2)]
    told = [line for line in said if line]
    assert len(told) == 11
    assert "r0-a-1 on evil" in told[0]
    assert told[-1].startswith("more than 10 workloads on evil")
    assert strangers.news("good", "r1-a-1")


def test_orphans_of_a_host_are_ended_some_at_a_time_and_each_in_its_turn() -> None:
    orphans = tuple(
        lab.workload(lab.attempt(run_id="r-9", number=number)) for number in range(1, 301)
    )
    snapshot = lab.snapshot(lab.host("gpu1", look={"workloads": orphans}))
    seen: set[str] = set()
    while True:
        now = replace(snapshot, in_flight=frozenset(seen))
        keys = {action.key for action in plan(now).actions}
        assert len(keys) <= reap.MOST_AT_ONCE
        if not keys:
            break
        seen |= keys
    assert len(seen) == 300


def test_alerts_of_one_host_do_not_push_out_those_of_others() -> None:
    folded = Folded()
    folded.take([_event(1, "good", "workload.unknown", "look at this")])
    folded.take(
        _event(number, "evil", "workload.unknown", f"w{number}") for number in range(2, 10_000)
    )
    hosts = [alert.host for alert in folded.all()]
    assert hosts.count("good") == 1
    assert hosts.count("evil") <= 200


async def test_a_host_that_causes_events_without_end_is_put_aside_and_comes_back(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(2, gpus=1), tmp_path) as daemon:
        context = daemon.daemon.context
        evil = context.monitors["gpu1"]
        await daemon.until(lambda: evil.host.condition is HostCondition.UP, "it is up")
        for number in range(budget.BURST + budget.TOO_MANY + 10):
            await context.tell(context.event(EventKind.GPU_XID, f"{number}", host="gpu1"))
        await daemon.until(lambda: evil.host.condition is HostCondition.UNREACHABLE, "put aside")
        assert "too many events" in str(evil.host.problem)
        assert f"{FAST.put_aside:g}" in str(evil.host.problem)
        run = await daemon.finished(await daemon.submit(stage(gpus=1, env=sim("seconds=0.01"))))
        assert run.outcome is Outcome.SUCCEEDED
        assert {attempt.host for attempt in run.attempts} == {"gpu2"}
        told = await context.store.events(0, limit=10_000)
        of_evil = [event for event in told if event.host == "gpu1"]
        assert len(of_evil) < budget.BURST + 20
        assert sum(event.kind == "host.noisy" for event in of_evil) == 2
        evil.retry_now()
        await daemon.until(lambda: evil.host.condition is HostCondition.UP, "it is back")


async def _two_that_begin_alike(daemon: SimDaemon) -> None:
    for run_id in ("twin1", "twin2"):
        await daemon.submit(stage("a", env=sim("seconds=0.01")), run_id=run_id)
        await daemon.finished(run_id)
    await daemon.clean()


def _claims_to_run(host: SimHost, daemon_id: str, attempt_id: str) -> None:
    host.works[attempt_id] = SimWork(
        attempt_id, daemon_id, attempt_id.partition("-")[0], "process", attempt_id, "ana", (), 77,
        behaviour=Behaviour(seconds=60), started_at=host.clock.now(),
    )  # fmt: skip


async def test_a_host_that_names_the_beginning_of_run_ids_is_told_of_as_that_host(
    tmp_path: Path,
) -> None:
    """And hinders neither gc nor recovery."""
    async with SimDaemon(small_lab(2, gpus=1), tmp_path) as daemon:
        await _two_that_begin_alike(daemon)
        evil, ours = daemon.lab.host("gpu1"), daemon.daemon.context.daemon_id
        evil.records[ours, "twin"] = ["spec", ""]
        _claims_to_run(evil, ours, "twin-a-1")
        told: list[Event] = []

        async def look() -> bool:
            told[:] = await last_events(daemon.daemon.context.store)
            return any("twin-a-1" in event.message for event in told)

        async with asyncio.timeout(30):
            while not await look():
                await asyncio.sleep(0.01)
        of = {e.host for e in told if e.kind in ("workload.unknown", "stop.failed")}
        assert of == {"gpu1"}
        swept = await daemon.daemon.service.garbage.collect(dry_run=False)
        assert set(swept.hosts) == {"gpu1", "gpu2"}
        await daemon.kill()
        assert "gpu1" in (await look_around(daemon)).heard


async def test_refusals_of_a_host_count_as_its_events(tmp_path: Path) -> None:
    """Also those of a kind that says the daemon asked for something wrong."""
    async with SimDaemon(small_lab(1, gpus=1), tmp_path) as daemon:
        await _two_that_begin_alike(daemon)
        context = daemon.daemon.context
        link, call = context.link("gpu1"), context.link("gpu1").call

        async def refuse(verb: str, payload: Mapping[str, Any], timeout: float = 10.0) -> Any:
            if verb in ("job.stop", "job.signal"):
                raise InputError(f"no, and no again: {payload}")
            return await call(verb, payload, timeout)

        link.call = refuse  # type: ignore[method-assign]
        _claims_to_run(daemon.lab.host("gpu1"), context.daemon_id, "twin1-b-1")
        failed: list[Event] = []
        async with asyncio.timeout(30):
            while not failed:
                await asyncio.sleep(0.01)
                told = await last_events(context.store)
                failed = [e for e in told if e.kind == "stop.failed"]
        assert {event.host for event in failed} == {"gpu1"}


async def test_what_a_host_claims_of_an_ended_attempt_writes_nothing_on_another(
    tmp_path: Path,
) -> None:
    """Nor is it removed: whoever it is of would lose what it has done."""
    async with SimDaemon(small_lab(2, gpus=1), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("a", gpus=1, hosts=("gpu1",), env=sim("seconds=0.01")),
            stage("b", needs=("a",), gpus=1, env=sim("seconds=60"), grace=0.01),
        )
        done = await daemon.attempt(run_id, lambda a: a.stage == "a" and a.phase == "succeeded")
        await daemon.attempt(run_id, lambda a: a.stage == "b" and a.phase == "running")
        good, evil = daemon.lab.host("gpu1"), daemon.lab.host("gpu2")
        await daemon.until(lambda: done.attempt_id not in good.works, "its end is not noted")
        ours = daemon.daemon.context.daemon_id
        before = good.records[ours, run_id][1].count(done.attempt_id)
        _claims_to_run(evil, ours, done.attempt_id)
        evil.end(evil.works[done.attempt_id], evil.clock.now(), 0)
        refused = f"remove:gpu2:{done.attempt_id}"
        await daemon.until(lambda: refused in daemon.daemon.controller._paused, "it is believed")
        assert done.attempt_id in evil.works
        assert good.records[ours, run_id][1].count(done.attempt_id) == before


def _event(seq: int, host: str, kind: str, message: str) -> Event:
    return Event(seq=seq, at=float(seq), kind=kind, message=message, severity="warning", host=host)
