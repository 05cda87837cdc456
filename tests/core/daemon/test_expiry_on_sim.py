"""Files that stay on hosts: a daemon announces their removal, waits, and removes them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import EngineError
from hostler.daemon.standing import Standing
from hostler.model.events import EventKind
from hostler.model.hosts import Workload
from hostler.model.records import Keep, NewEvent, Remainder
from hostler.model.views.alerts import AlertView
from hostler.ports import HostLink
from hostler.sim.runtime import SimRuntime
from tests.support.daemons.simdaemon import ANA, FAST, SetClock, SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

DAY = 86_400.0
STEP = 600.0
"""Of a longer time between two looks no more counts."""


TIMINGS = replace(FAST, kept_missing=math.inf)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Attempts that a host was told to remove."""
    asked: list[str] = []
    original = SimRuntime.remove

    async def remove(self: SimRuntime, link: HostLink, workload: Workload) -> None:
        assert not workload.running
        asked.append(workload.attempt_id)
        await original(self, link, workload)

    monkeypatch.setattr(SimRuntime, "remove", remove)
    return asked


class Kept:
    """A daemon with a run that has ended and of which files stay on gpu1."""

    def __init__(self, daemon: SimDaemon) -> None:
        self.daemon = daemon
        self.clock = SetClock(daemon.lab.clock)
        daemon.clock = self.clock

    def keep_jobs(self, seconds: float) -> None:
        """As the config has it from now on."""
        self._limits(keep_jobs=seconds)

    def keep_history(self, seconds: float) -> None:
        """As the config has it from now on."""
        self._limits(keep_history=seconds)

    def _limits(self, **changes: Any) -> None:
        config = self.daemon.config
        self.daemon.config = replace(config, limits=replace(config.limits, **changes))
        self.daemon.daemon.context.config = self.daemon.config

    async def begin(self) -> None:
        await self.daemon.begin()
        monitor = self.daemon.daemon.context.monitors["gpu1"]
        await self.daemon.until(lambda: monitor.is_connected, "gpu1 does not connect", 30)

    async def leave(self, run_id: str = "raaaaaa", days: float = 7.0, **changes: Any) -> Remainder:
        await self.daemon.submit(stage(env=sim("seconds=0.05")), run_id=run_id, uid=1000)
        await self.daemon.finished(run_id, 30)
        await self.daemon.clean(30)  # what removes its workload removes nothing that stays
        self.keep_jobs(days * DAY)
        now = self.clock.now()
        left = Remainder(
            attempt_id=f"{run_id}-train-1",
            run_id=run_id,
            stage="train",
            host="gpu1",
            runtime="process",
            ref=f"{run_id}-train-1",
            path="/x",
            files=1,
            size=3 * 1024**3,
            since=now,
            until=now + days * DAY,
            names=("model.pt",),
        )
        left = replace(left, **changes)
        await self.daemon.daemon.context.store.add_remainder(left)
        return left

    async def give_up(self, run_id: str) -> None:
        """As a person's `rm` does, but that nothing is removed from hosts before the next step."""
        event = NewEvent(self.clock.now(), EventKind.RUN_REMOVED, "", actor="ana")
        await self.daemon.daemon.context.store.delete_run(run_id, event)

    async def step(self, times: int = 1, seconds: float = STEP) -> None:
        for _ in range(times):
            self.clock.by += seconds
            await self.daemon.daemon.service.expirer.step()

    async def left(self) -> list[Remainder]:
        return await self.daemon.daemon.context.store.remainders()

    async def alerts(self, *, open_only: bool = True) -> list[AlertView]:
        found = await self.daemon.daemon.service.alerts.list(open_only=open_only, limit=100)
        return list(found.alerts)


@asynccontextmanager
async def kept_lab(folder: Path) -> AsyncIterator[Kept]:
    """One host of a simulated lab and its daemon, both ended afterwards."""
    daemon = SimDaemon(small_lab(1), folder, timings=TIMINGS)
    made = Kept(daemon)
    await made.begin()
    try:
        yield made
    finally:
        await daemon.stop()
        await daemon.lab.close()


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    async with kept_lab(tmp_path) as made:
        yield made


async def test_they_go_after_their_time_and_a_day_of_their_alert(
    kept: Kept, removed: list[str]
) -> None:
    await kept.leave(days=3)
    await kept.step(seconds=DAY / 2)
    assert await kept.alerts() == []
    await kept.step(seconds=DAY)
    (alert,) = await kept.alerts()
    assert alert.severity == "warning"
    assert alert.what.startswith("model.pt (3 GiB) of run raaaaaa on gpu1 will be removed on ")
    assert alert.remedy == "hostler get raaaaaa, or hostler keep raaaaaa"
    assert alert.where == "raaaaaa"
    await kept.step(times=3, seconds=DAY)  # it was suspended: nobody could see the alert
    assert len(await kept.left()) == 1
    await kept.step(times=int(DAY / STEP) - 4)
    assert len(await kept.left()) == 1
    removed.clear()
    await kept.step(times=2)
    assert await kept.left() == []
    assert removed == ["raaaaaa-train-1"]
    await kept.step()
    assert await kept.alerts() == []
    assert (await kept.daemon.kinds("raaaaaa"))[-3:] == [
        "files.expiring", "files.removed", "files.expiry_over",
    ]  # fmt: skip


async def test_a_daemon_that_was_off_for_two_weeks_announces_first(
    kept: Kept, removed: list[str]
) -> None:
    await kept.leave()
    await kept.step(times=2)
    await kept.daemon.stop()
    kept.clock.by += 14 * DAY
    await kept.begin()
    removed.clear()
    await kept.step(times=int(DAY / STEP) - 2)
    assert removed == []
    await kept.step(times=3)
    assert removed == ["raaaaaa-train-1"]


async def test_what_a_daemon_announced_counts_after_its_restart(
    kept: Kept, removed: list[str]
) -> None:
    await kept.leave(days=1)
    removed.clear()
    await kept.step(times=100)
    await kept.daemon.stop()
    await kept.begin()
    await kept.step(times=48)
    assert removed == ["raaaaaa-train-1"]
    (alert,) = [a for a in await kept.alerts(open_only=False) if a.run_id == "raaaaaa"]
    assert alert.count == 1


async def test_a_kept_run_is_left_alone_and_announced_anew(kept: Kept, removed: list[str]) -> None:
    await kept.leave(days=0)
    await kept.step(times=100)
    assert len(await kept.alerts()) == 1
    now = kept.clock.now()
    context = kept.daemon.daemon.context
    await context.store.keep_run(Keep("raaaaaa", "ana", now, now + 10 * DAY))
    await kept.step(times=2)
    assert await kept.alerts() == []
    removed.clear()
    await kept.step(times=150)
    assert removed == []
    kept.clock.by += 10 * DAY
    await kept.step(times=int(DAY / STEP))
    assert removed == []
    assert len(await kept.alerts()) == 1
    await kept.step(times=2)
    assert removed == ["raaaaaa-train-1"]


async def test_files_of_a_removed_run_go_when_their_host_answers(
    kept: Kept, removed: list[str]
) -> None:
    await kept.leave()
    daemon, context = kept.daemon, kept.daemon.daemon.context
    faults_on(daemon.lab, "gpu1").cut()
    await daemon.until(lambda: not context.monitors["gpu1"].is_connected, "gpu1 is connected", 30)
    await kept.give_up("raaaaaa")
    removed.clear()
    await kept.step()
    assert (removed, len(await kept.left())) == ([], 1)
    faults_on(daemon.lab, "gpu1").heal()
    await daemon.until(lambda: context.monitors["gpu1"].is_connected, "gpu1 is not connected", 30)
    await kept.step()
    assert (removed, await kept.left()) == (["raaaaaa-train-1"], [])
    (event,) = [e for e in await context.store.events() if e.kind == "files.removed"]
    assert (event.actor, event.run_id) == ("ana", None)


async def test_nothing_goes_from_a_host_whose_notes_are_not_merged_yet(
    kept: Kept, removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.leave()
    await kept.give_up("raaaaaa")
    removed.clear()
    with monkeypatch.context() as patched:
        patched.setattr(Standing, "is_unmerged", lambda self, host: True)
        await kept.step()
    assert (removed, len(await kept.left())) == ([], 1)
    await kept.step()
    assert (removed, await kept.left()) == (["raaaaaa-train-1"], [])


async def test_a_daemon_that_another_has_followed_announces_and_removes_nothing(
    kept: Kept, removed: list[str]
) -> None:
    await kept.leave(days=0)
    given_up = await kept.leave("rbbbbbb")
    await kept.give_up(given_up.run_id)
    removed.clear()
    kept.daemon.daemon.context.standing.superseded_by = 7
    await kept.step(times=200)
    assert (removed, len(await kept.left())) == ([], 2)
    assert [each.stood for each in await kept.left()] == [None, None]


async def test_what_somebody_fetches_is_not_removed_meanwhile(
    kept: Kept, removed: list[str]
) -> None:
    left = await kept.leave(given_up_by=None)
    expirer = kept.daemon.daemon.service.expirer
    await kept.give_up("raaaaaa")
    removed.clear()
    with expirer.fetching(left.attempt_id):
        await kept.step()
        assert removed == []
    await kept.step()
    assert removed == [left.attempt_id]


async def test_a_host_that_cannot_remove_them_is_an_alert_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.leave()
    await kept.give_up("raaaaaa")

    async def fails(self: SimRuntime, link: HostLink, workload: Workload) -> None:
        raise EngineError("gpu1", "it does not work")

    monkeypatch.setattr(SimRuntime, "remove", fails)
    await kept.step(times=3)
    (alert,) = [a for a in await kept.alerts() if "could not be removed" in a.what]
    assert (alert.host, alert.count) == ("gpu1", 1)
    assert len(await kept.left()) == 1


async def test_a_longer_keep_jobs_counts_for_what_stays_already(kept: Kept) -> None:
    left = await kept.leave(days=7)
    kept.keep_jobs(30 * DAY)
    await kept.step()
    assert [each.until for each in await kept.left()] == [left.since + 30 * DAY]


async def test_what_a_person_removes_goes_at_once(kept: Kept, removed: list[str]) -> None:
    await kept.leave()
    removed.clear()
    await kept.daemon.daemon.service.remove("raaaaaa", ANA)
    gone: Callable[[], bool] = lambda: removed == ["raaaaaa-train-1"]  # noqa: E731
    await kept.daemon.until(gone, "it is not removed", 30)


async def test_it_looks_by_itself(
    kept: Kept, removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.daemon.set_timings(expiry_every=0.02)
    await kept.daemon.stop()
    await kept.begin()
    await kept.leave()
    removed.clear()
    await kept.give_up("raaaaaa")
    gone: Callable[[], bool] = lambda: "raaaaaa-train-1" in removed  # noqa: E731
    await kept.daemon.until(gone, "it is not removed", 30)
