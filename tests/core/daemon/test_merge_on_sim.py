"""Notes of hosts that are merged one after the other, in the order in which they come back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hostler.daemon.standing import mark
from hostler.model.generations import Generation
from hostler.model.hosts import Workload
from hostler.model.jobs import Job
from hostler.model.pipelines import Retries
from hostler.model.runs import Attempt, Outcome, Phase
from hostler.ports import HostLink, Progress
from hostler.sim.runtime import SimRuntime
from tests.support.daemons.restoring import back_up, restored
from tests.support.daemons.simdaemon import OWNER, SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)


def is_running(attempt: Attempt) -> bool:
    return attempt.phase is Phase.RUNNING


async def test_the_host_of_an_earlier_attempt_that_comes_back_later_ends_no_running_work(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(2), tmp_path / "old") as old:
        file = await back_up(old)
        run_id = await old.submit(
            stage("a", gpus=1, retries=Retries(3, backoff=0.01), env=sim("seconds=600"))
        )
        first = await old.attempt(run_id, is_running)
        await old.daemon.service.drain(first.host, "full", OWNER)
        old.lab.host(first.host).signal(first.attempt_id, 9)
        second = await old.attempt(run_id, lambda a: a.number == 2 and is_running(a))
        assert second.host != first.host
        await old.kill()
        faults_on(old.lab, first.host).cut()
        async with restored(old, file) as new:
            merged = new.daemon.context.standing.merged
            await new.until(lambda: second.host in merged, "not merged")
            faults_on(old.lab, first.host).heal()
            await new.until(lambda: first.host in merged, "not merged")
            host = new.lab.host(second.host)
            host.end(host.works[second.attempt_id], host.clock.now(), 0)
            run = await new.finished(run_id)
            assert [a.phase for a in run.attempts] == [Phase.FAILED, Phase.SUCCEEDED], told(run)
            assert run.outcome is Outcome.SUCCEEDED
            assert second.attempt_id not in host.referee.stops
            (row,) = await new.daemon.context.store.list_runs()
            assert row.phases == {"succeeded": 1}


async def test_work_without_gpus_is_not_started_where_a_newer_daemon_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image took long, and Docker itself asks nobody."""
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        (host,) = daemon.lab.hosts.values()
        context, started = daemon.daemon.context, list[str]()
        create, start = SimRuntime.create, SimRuntime.start

        async def followed(self: SimRuntime, link: HostLink, job: Job, progress: Progress) -> str:
            ref = await create(self, link, job, progress)
            number = 10**12
            host.generations[context.daemon_id] = Generation(number, mark(number, context.signer))
            return ref

        async def noted(self: SimRuntime, link: HostLink, job: Job, ref: str) -> Workload:
            started.append(ref)
            return await start(self, link, job, ref)

        monkeypatch.setattr(SimRuntime, "create", followed)
        monkeypatch.setattr(SimRuntime, "start", noted)
        await daemon.submit(stage("a", runtime="docker", image="i", env=sim("seconds=600")))
        await daemon.until(lambda: bool(context.standing.halted()), "it is not told")
        assert not started


async def test_files_that_a_restored_database_does_not_know_go_only_when_a_person_asks(
    tmp_path: Path,
) -> None:
    """Runs that ended since the backup have saved them, and nothing else says so."""
    async with SimDaemon(small_lab(1), tmp_path / "old") as old:
        file = await back_up(old)
        await old.kill()
        async with restored(old, file) as new:
            context, garbage = new.daemon.context, new.daemon.service.garbage
            await new.until(lambda: not context.standing.unmerged(["gpu1"]), "not merged")
            (tmp_path / "model.pt").write_text("took a day")
            digest = context.content.adopt(tmp_path / "model.pt")
            path, before = context.content.path(digest), time.time() - 7200
            os.utime(path, (before, before))
            assert (await garbage.collect_unasked()).content.blobs == 0
            assert path.exists()
            assert (await garbage.collect(dry_run=False)).content.blobs == 1
