"""A toy gang through the whole daemon on a simulated lab: its ranks start, end, retry together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hostler.daemon.run_cache import RunCache
from hostler.decide.lifecycle import unfolded
from hostler.model.pipelines import Cause, Retries, Stage
from hostler.model.runs import Attempt, Outcome, Phase, Run
from hostler.sim.host import SimHost
from hostler.sim.link import SimLink
from hostler.sim.parts import SimWork
from hostler.sim.runtime import SimRuntime
from hostler.store.database import Store
from tests.core.daemon.test_kill_points_on_sim import stop_at
from tests.support.daemons.simdaemon import SimDaemon, sim, told
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage
from tests.support.values.toykinds import toy_kinds


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    with toy_kinds():
        yield


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Attempts that were started before all of their group were bound: there may be none."""
    found: list[str] = []
    caches: list[RunCache] = []
    made, start = RunCache.__init__, SimHost.start

    def watched_cache(self: RunCache) -> None:
        made(self)
        caches.append(self)

    def watched_start(self: SimHost, attempt_id: str, env: Mapping[str, str]) -> SimWork:
        attempt = caches[-1].attempt(attempt_id)
        run = caches[-1].find(attempt_id.partition("-")[0])
        if attempt is not None and run is not None and not _all_bound(run, attempt):
            found.append(attempt_id)
        return start(self, attempt_id, env)

    monkeypatch.setattr(RunCache, "__init__", watched_cache)
    monkeypatch.setattr(SimHost, "start", watched_start)
    return found


def _all_bound(run: Run, attempt: Attempt) -> bool:
    same = [a for a in run.attempts if a.number == attempt.number]
    return len(same) == len(run.stages) and all(a.ref is not None for a in same)


def _gang(text: str, **fields: Any) -> tuple[Stage, ...]:
    env = {**sim(text), "RANKS": "2"}
    fields = {"gpus": 2, "runtime": "docker", "image": "i", **fields}
    return unfolded([stage("train", kind="gang", env=env, **fields)])


def _ends(run: Run) -> list[tuple[str, int, Phase, Cause | None]]:
    return sorted((a.stage, a.number, a.phase, a.cause) for a in run.attempts)


@pytest.mark.parametrize("runtime", ["docker", "process"])
async def test_ranks_run_together_on_hosts_of_their_own(
    tmp_path: Path, runtime: str, alone: list[str]
) -> None:
    image = "i" if runtime == "docker" else None
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(*_gang("seconds=0.1", runtime=runtime, image=image))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert len({a.host for a in run.attempts}) == 2
        assert _ends(run) == [
            ("train.0", 1, Phase.SUCCEEDED, None),
            ("train.1", 1, Phase.SUCCEEDED, None),
        ]
        assert alone == []
        await daemon.clean()
        assert daemon.lab.referee.violations == []


async def test_no_rank_runs_while_the_image_of_another_is_pulled(
    tmp_path: Path, alone: list[str]
) -> None:
    lab = small_lab(2)
    lab.host("gpu2").pull_seconds = 0.5
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*_gang("seconds=0.05"))
        await daemon.attempt(run_id, lambda a: a.ref is not None)
        assert lab.running() == []
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert alone == []


async def test_a_rank_that_fails_ends_the_other_and_both_are_tried_again(
    tmp_path: Path, alone: list[str]
) -> None:
    ranks = _gang("seconds=60", retries=Retries(max=1, backoff=0.0))
    failing = stage(
        "train.1", base="train", kind="gang", gpus=2, runtime="docker", image="i",
        retries=Retries(max=1, backoff=0.0), env=sim("seconds=0.05 exit=3"),
    )  # fmt: skip
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        run_id = await daemon.submit(ranks[0], failing)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.FAILED, told(run)
        assert _ends(run) == [
            ("train.0", 1, Phase.CANCELLED, Cause.DEPENDENCY),
            ("train.0", 2, Phase.CANCELLED, Cause.DEPENDENCY),
            ("train.1", 1, Phase.FAILED, Cause.USER_ERROR),
            ("train.1", 2, Phase.FAILED, Cause.USER_ERROR),
        ]
        assert alone == []
        await daemon.clean()
        assert daemon.lab.referee.violations == []


async def test_a_gang_waits_as_a_whole_for_a_gpu_that_somebody_uses_by_hand(
    tmp_path: Path, alone: list[str]
) -> None:
    lab = small_lab(2)
    host = lab.host("gpu2")
    pid = host.start_by_hand(host.gpus[0].uuid, "bob")
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*_gang("seconds=0.05"))
        key = (run_id, "train.0")
        controller = daemon.daemon.controller
        await daemon.until(
            lambda: (
                key in controller.plan.reasons
                and "1 have free capacity now" in controller.plan.reasons[key].sentence
            ),
            "there is no reason",
        )
        assert lab.left() == []
        del host.by_hand[pid]
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert alone == []


async def test_a_gang_is_cancelled_while_it_is_bound(tmp_path: Path, alone: list[str]) -> None:
    lab = small_lab(2)
    lab.host("gpu2").pull_seconds = 30.0
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*_gang("seconds=0.05"))
        await daemon.attempt(run_id, lambda a: a.ref is not None)
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED, told(run)
        assert alone == []
        await daemon.clean()


STEPS: dict[str, tuple[Any, str, int]] = {
    "first intent": (Store, "add_attempt", 1),
    "second intent": (Store, "add_attempt", 2),
    "second create": (SimRuntime, "create", 2),
    "second bind": (SimLink, "bind", 2),
    "first start": (SimRuntime, "start", 1),
    "second start": (SimRuntime, "start", 2),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_daemon_killed_at_this_step_brings_the_gang_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str, alone: list[str]
) -> None:
    reached = stop_at(monkeypatch, *STEPS[step], when)
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        run_id = await daemon.submit(*_gang("seconds=0.05"))
        async with asyncio.timeout(30):
            await reached.wait()
        await daemon.kill()
        await daemon.begin()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert all(a.phase is Phase.SUCCEEDED or a.cause is Cause.NOT_STARTED for a in run.attempts)
        assert alone == []
        await daemon.clean()
        assert daemon.lab.referee.violations == []
