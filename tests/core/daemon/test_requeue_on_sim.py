"""A stage that reaches its limit again and again and goes on, by a whole daemon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import EngineError
from hostler.daemon.jobs import build_job
from hostler.daemon.views import run_view, why_stages
from hostler.model.pipelines import Cause, Retries, Stage
from hostler.model.runs import Outcome, Phase, Run
from hostler.model.time_limits import OnTimeout
from hostler.show.progress import stage_note
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)


def limited(text: str, **more: Any) -> Stage:
    keys = {"timeout": 0.2, "checkpoint": "ckpt", "on_timeout": OnTimeout.REQUEUE, **more}
    return stage("a", gpus=1, env=sim(text), **keys)


async def requeued(daemon: SimDaemon, run_id: str, times: int) -> Run:
    def enough() -> bool:
        run = daemon.daemon.context.run_cache.find(run_id)
        assert run is not None, "it has ended"
        return sum(a.cause is Cause.REQUEUED for a in run.attempts) >= times

    await daemon.until(enough, "it is not requeued")
    return daemon.daemon.context.run_cache.run(run_id)


async def test_it_goes_on_at_once_with_its_number_shown_and_no_retry_used(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        run_id = await daemon.submit(limited("seconds=60 saves=1"))
        run = await requeued(daemon, run_id, 2)
        hosts = {attempt.host for attempt in run.attempts}
        assert len(hosts) == 1
        await daemon.attempt(run_id, lambda a: a.number > 2 and a.phase is Phase.RUNNING)
        run = daemon.daemon.context.run_cache.run(run_id)
        (view,) = run_view(run, {}, {}, {}).stages
        assert "requeued " in stage_note(view)
        assert "requeued " in why_stages(run, {}, {}, {})[0].sentence
        await daemon.cancel(run_id)
        ended = await daemon.finished(run_id)
        assert ended.outcome is Outcome.CANCELLED
        first = replace(ended, attempts=tuple(a for a in ended.attempts if a.number == 1))
        said = why_stages(first, {}, {}, {})[0].sentence
        host = first.attempts[0].host
        assert said == f"requeued on {host}: ran longer than 0.2s; resumes from its checkpoint"
        kinds = await daemon.kinds(run_id)
        assert kinds.count("attempt.requeued") >= 2
        assert "attempt.failed" not in kinds
        await daemon.clean()


async def test_the_command_is_told_how_often_it_was_requeued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def build(*args: Any) -> Any:
        job = build_job(*args)
        told.append(job.env["HOSTLER_REQUEUE_COUNT"])
        return job

    monkeypatch.setattr("hostler.daemon.start.build_job", build)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(limited("seconds=60 saves=1"))
        await requeued(daemon, run_id, 2)
        await daemon.until(lambda: "2" in told, "no third attempt")
        assert told[:3] == ["0", "1", "2"]


async def test_without_a_newer_checkpoint_it_ends_by_its_limit(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(limited("seconds=60"))
        run = await daemon.finished(run_id)
        (attempt,) = run.attempts
        assert (run.outcome, attempt.cause) == (Outcome.FAILED, Cause.TIME_LIMIT)
        assert "not requeued: nothing was written to its checkpoint ckpt/" in attempt.detail


async def test_retries_are_left_after_requeues_and_used_without_a_checkpoint(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        retries = Retries(max=1, backoff=0.01)
        run_id = await daemon.submit(limited("seconds=60", retries=retries))
        run = await daemon.finished(run_id)
        assert [a.cause for a in run.attempts] == [Cause.TIME_LIMIT] * 2


async def test_a_checkpoint_that_cannot_be_checked_does_not_count(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        faults_on(daemon.lab, "gpu1").fail("job.checkpoint", EngineError("gpu1", "it hangs"))
        run = await daemon.finished(await daemon.submit(limited("seconds=60 saves=1")))
        assert "its checkpoint cannot be checked: it hangs" in run.attempts[0].detail


async def test_a_lost_link_and_a_killed_daemon_requeue_it_once(tmp_path: Path) -> None:
    daemon = SimDaemon(small_lab(1), tmp_path)
    async with daemon:
        faults_on(daemon.lab, "gpu1").lose_reply("job.checkpoint")
        run_id = await daemon.submit(limited("seconds=60 saves=1"))
        await requeued(daemon, run_id, 1)
        await daemon.kill()
        await daemon.begin()
        run = await requeued(daemon, run_id, 2)
        numbers = [attempt.number for attempt in run.attempts]
        assert numbers == sorted(set(numbers))


async def test_one_that_ends_well_in_the_end_has_succeeded(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(limited("seconds=60 saves=1"))
        await requeued(daemon, run_id, 1)
        await daemon.attempt(run_id, lambda a: a.number > 1 and a.phase is Phase.RUNNING)
        (host,) = daemon.lab.hosts.values()
        for work in list(host.works.values()):
            if work.running:
                host.end(work, host.clock.now(), 0)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED or run.attempts[-1].number > 2
