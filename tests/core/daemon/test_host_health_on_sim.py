"""A host that starts nothing swallows no work: stages go elsewhere, it is tried now and then, and
nobody can close a host to others by what he asks for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.model.hosts import HostCondition
from hostler.model.pipelines import Cause, Stage
from hostler.model.runs import Outcome, Phase
from hostler.model.timings import StartPauses
from tests.support.daemons.simdaemon import FAST, OWNER, SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

DOWN = "containerd on gpu1 does not answer at /run/containerd/containerd.sock"


TIMINGS = replace(
    FAST, alerts_every=0.05, start=StartPauses(first=0.2, longest=1.0, head_start=0.1)
)


def box(gpus: int = 1, does: str = "seconds=0.05", image: str = "a:1", **fields: Any) -> Stage:
    """A stage in a container."""
    return stage("train", gpus=gpus, runtime="docker", image=image, env=sim(does), **fields)


async def connected(daemon: SimDaemon) -> None:
    """Until every host is up, so that placing is by choice and not by who was heard first."""
    monitors = daemon.daemon.context.monitors.values()
    await daemon.until(
        lambda: all(k.host.condition is HostCondition.UP for k in monitors), "hosts are not up"
    )


async def standing(daemon: SimDaemon) -> list[str]:
    """The hosts of which there is an alert that they start nothing."""
    found = await daemon.daemon.service.alerts.list(open_only=True, limit=100)
    return [a.where for a in found.alerts if "starts no" in a.what]


async def until_standing(daemon: SimDaemon, *hosts: str) -> None:
    """Until there are these alerts and no others."""
    async with asyncio.timeout(30):
        while await standing(daemon) != list(hosts):
            await asyncio.sleep(0.01)


async def test_a_host_whose_containerd_is_down_takes_no_run(tmp_path: Path) -> None:
    lab = small_lab(3, gpus=2)
    faults_on(lab, "gpu1").start_nothing(DOWN)
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        await connected(daemon)
        runs = [await daemon.submit(box()) for _ in range(15)]
        faults = []
        for run_id in runs:
            run = await daemon.finished(run_id, 20.0)
            assert run.outcome is Outcome.SUCCEEDED, told(run)
            faults += [a for a in run.attempts if a.phase is not Phase.SUCCEEDED]
        assert {(a.host, a.cause) for a in faults} == {("gpu1", Cause.HOST_FAULT)}
        assert all(DOWN in a.detail for a in faults)
        assert len(faults) <= 8  # two at once, then one by one with pauses
        await until_standing(daemon, "gpu1")
        await daemon.clean()


async def test_who_can_only_go_there_waits_and_finds_it_mended(tmp_path: Path) -> None:
    lab = small_lab(2, gpus=1)
    faults_on(lab, "gpu1").start_nothing(DOWN)
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        await connected(daemon)
        run_id = await daemon.submit(box(hosts=("gpu1",)))
        await daemon.attempt(run_id, lambda a: a.number == 2 and a.phase.is_final)
        await until_standing(daemon, "gpu1")
        faults_on(lab, "gpu1").start_again()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        kinds = [e.kind for e in await daemon.daemon.context.store.events(0)]
        assert kinds.count("host.starts_nothing") == 1
        assert kinds.count("host.starts") == 1
        await until_standing(daemon)


async def test_where_gpus_cannot_be_given_the_rest_goes_on_and_clears_nothing(
    tmp_path: Path,
) -> None:
    lab = small_lab(2, gpus=1)
    faults_on(lab, "gpu1").start_nothing("NVIDIA's hook on gpu1 fails", gpus=True)
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        await connected(daemon)
        first = await daemon.finished(await daemon.submit(box()))
        assert [a.host for a in first.attempts] == ["gpu1", "gpu2"], told(first)
        plain = await daemon.finished(await daemon.submit(box(0, hosts=("gpu1",))))
        assert [a.phase for a in plain.attempts] == [Phase.SUCCEEDED], told(plain)
        assert ("gpu1", "docker") in daemon.daemon.context.health.ailing
        await until_standing(daemon, "gpu1")


async def test_a_stage_that_makes_every_host_look_broken_fails_and_closes_none(
    tmp_path: Path,
) -> None:
    lab = small_lab(2, gpus=2)
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        await connected(daemon)
        bad = await daemon.submit(box(does="blames_host=containerd_is_down", image="bad:1"))
        others = 0
        while daemon.daemon.context.run_cache.find(bad) is not None:
            run = await daemon.finished(await daemon.submit(box(), owner="bo"), 10.0)
            assert run.outcome is Outcome.SUCCEEDED, told(run)
            assert [a.cause for a in run.attempts] == [None], told(run)
            others += 1
            assert others < 200, "it never ends"
        run = await daemon.run(bad)
        assert run.outcome is Outcome.FAILED, told(run)
        causes = [a.cause for a in run.attempts]
        assert causes[-1] is Cause.START_FAILED
        assert set(causes[:-1]) == {Cause.HOST_FAULT}
        assert len(causes) <= 12
        await daemon.finished(await daemon.submit(box(hosts=("gpu1",)), owner="bo"))
        await daemon.finished(await daemon.submit(box(hosts=("gpu2",)), owner="bo"))
        await until_standing(daemon)


async def test_a_cause_of_the_stage_fails_it_at_once(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2, gpus=1), tmp_path, timings=TIMINGS) as daemon:
        run_id = await daemon.submit(box(does="start_error=no_such_program"))
        run = await daemon.finished(run_id)
        assert [a.cause for a in run.attempts] == [Cause.START_FAILED], told(run)
        assert daemon.daemon.context.health.ailing == {}


async def test_a_restarted_daemon_knows_it_and_the_alert_ends_once_something_starts(
    tmp_path: Path,
) -> None:
    lab = small_lab(1, gpus=4)
    faults_on(lab, "gpu1").start_nothing(DOWN)
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        await connected(daemon)
        waits = await daemon.submit(box())
        await daemon.attempt(waits, lambda a: a.number == 2 and a.phase.is_final)
        await daemon.kill()
        await daemon.begin()
        assert ("gpu1", "docker") in daemon.daemon.context.health.ailing
        await daemon.cancel(waits)
        await daemon.finished(waits)
        await daemon.kill()
        faults_on(lab, "gpu1").start_again()
        await daemon.begin()  # no open run tells of it any more
        await until_standing(daemon, "gpu1")
        await daemon.finished(await daemon.submit(box()))
        await until_standing(daemon)


async def test_why_tells_of_it_and_a_person_who_mended_it_need_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(TIMINGS, start=StartPauses(first=600.0))
    lab = small_lab(1)
    faults_on(lab, "gpu1").start_nothing(DOWN)
    async with SimDaemon(lab, tmp_path, timings=slow) as daemon:
        await connected(daemon)
        run_id = await daemon.submit(box())
        await daemon.attempt(run_id, lambda a: a.phase.is_final)

        def why() -> str:
            reason = daemon.daemon.controller.plan.reasons.get((run_id, "train"))
            return reason.sentence if reason is not None else ""

        await daemon.until(lambda: f"no container starts there: {DOWN}" in why(), "why is silent")
        faults_on(lab, "gpu1").start_again()
        await until_standing(daemon, "gpu1")
        await daemon.daemon.service.undrain("gpu1", OWNER)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        await until_standing(daemon)
