"""The wall clock of the daemon's machine is set while no daemon runs: only what passed counts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.model.pipelines import Cause, OnLost, Retries
from hostler.model.runs import Outcome, Phase
from tests.support.daemons.simdaemon import SetClock, SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)

JUMPS = [pytest.param(3600.0, id="ahead"), pytest.param(-3600.0, id="back")]


async def restart(daemon: SimDaemon, by: float) -> None:
    await daemon.kill()
    daemon.clock = SetClock(daemon.lab.clock, by)
    await daemon.begin()


@pytest.mark.parametrize("by", JUMPS)
async def test_a_job_within_its_time_limit_goes_on(tmp_path: Path, by: float) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("a", gpus=1, timeout=600.0, env=sim("seconds=1.5")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await restart(daemon, by)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        (attempt,) = run.attempts
        assert attempt.duration == pytest.approx(1.5, abs=0.5)


@pytest.mark.parametrize("by", JUMPS)
async def test_a_job_over_its_time_limit_ends_by_what_its_host_measured(
    tmp_path: Path, by: float
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("a", gpus=1, timeout=1.0, env=sim("seconds=30")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await restart(daemon, by)
        run = await daemon.finished(run_id)
        assert [a.cause for a in run.attempts] == [Cause.TIME_LIMIT], told(run)


@pytest.mark.parametrize("by", JUMPS)
async def test_the_wall_clock_of_a_host_ends_nothing(tmp_path: Path, by: float) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        run_id = await daemon.submit(stage("a", gpus=1, timeout=600.0, env=sim("seconds=1.5")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        host.wall_ahead = by
        await restart(daemon, 0.0)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)


@pytest.mark.parametrize("by", JUMPS)
async def test_what_ended_meanwhile_is_found_and_its_gpu_given_again(
    tmp_path: Path, by: float
) -> None:
    async with SimDaemon(small_lab(1, gpus=1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("a", gpus=1, env=sim("seconds=0.3")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await daemon.kill()
        (host,) = daemon.lab.hosts.values()
        async with asyncio.timeout(30):
            while host.advance() and any(work.running for work in host.works.values()):
                await asyncio.sleep(0.01)
        daemon.clock = SetClock(daemon.lab.clock, by)
        await daemon.begin()
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED
        other = await daemon.submit(stage("b", gpus=1, env=sim("seconds=0.05")))
        assert (await daemon.finished(other)).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("by", JUMPS)
async def test_a_start_that_was_cut_short_is_carried_out(tmp_path: Path, by: float) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (name,) = daemon.lab.hosts
        monitor = daemon.daemon.context.monitors[name]
        await daemon.until(lambda: monitor.is_connected, "it does not connect")
        faults_on(daemon.lab, name).slow(0.1)
        run_id = await daemon.submit(stage("a", gpus=1, env=sim("seconds=0.05")))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.STARTING)
        await daemon.kill()
        faults_on(daemon.lab, name).slow(0.0)
        daemon.clock = SetClock(daemon.lab.clock, by)
        await daemon.begin()
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED


async def test_a_silent_host_is_given_up_after_the_time_that_this_daemon_waited(
    tmp_path: Path,
) -> None:
    """Not at once by a clock set ahead, and not never by one set back."""
    for by in (3600.0, -3600.0):
        async with SimDaemon(small_lab(2), tmp_path / str(by)) as daemon:
            run_id = await daemon.submit(
                stage("a", gpus=1, on_lost=OnLost.RESTART, lost_after=900.0,
                      env=sim("seconds=6000"), retries=Retries(max=1, backoff=0.05))
            )  # fmt: skip
            first = await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
            faults_on(daemon.lab, first.host).cut()
            await daemon.kill()
            daemon.clock = SetClock(daemon.lab.clock, by)
            began = daemon.clock.now()
            await daemon.begin()
            await daemon.wait_silent(first.host)  # ten minutes
            await daemon.next_plan()
            assert (await daemon.run(run_id)).attempts[0].phase is Phase.RUNNING
            daemon.clock.by += 600.0
            lost = await daemon.attempt(run_id, lambda a: a.phase is Phase.LOST)
            assert lost.finished_at is not None
            assert lost.finished_at - began >= 900
            second = await daemon.attempt(
                run_id, lambda a: a.number == 2 and a.phase is Phase.RUNNING
            )
            host = daemon.lab.host(second.host)
            host.end(host.works[second.attempt_id], daemon.lab.clock.now(), 0)
            run = await daemon.finished(run_id)
            assert run.outcome is Outcome.SUCCEEDED, told(run)


async def test_a_retry_waits_no_longer_than_its_delay(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        retries = Retries(max=1, backoff=0.5)
        run_id = await daemon.submit(
            stage("a", gpus=1, retries=retries, env=sim("seconds=0.05 exit=1"))
        )
        await daemon.attempt(run_id, lambda a: a.phase is Phase.FAILED)
        await restart(daemon, -3600.0)
        run = await daemon.finished(run_id)
        assert len(run.attempts) == 2


async def test_times_of_one_daemon_are_compared_as_they_are(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("a", gpus=1, env=sim("seconds=30")))
        running = await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        context = daemon.daemon.context
        assert context.earlier == set()
        await restart(daemon, 0.0)
        context = daemon.daemon.context
        assert context.earlier == {running.attempt_id}
        assert context.since(running) == context.begun_at
        assert context.since(replace(running, attempt_id="other")) == running.placed_at
