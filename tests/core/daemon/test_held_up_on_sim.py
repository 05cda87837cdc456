"""Starts that are tried again and again: people are told what stands in their way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import Unreachable
from hostler.model.jobs import Job
from hostler.model.runs import Outcome, Phase
from hostler.model.views.runs import ProgressView
from hostler.ports import HostLink, Progress
from hostler.show.progress import stage_note
from hostler.sim.runtime import SimRuntime
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage


async def test_a_start_that_does_not_go_on_is_told_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = small_lab(1)
    full = Unreachable("gpu1", "sshd opened no session", remedy="raise MaxSessions")
    opened = asyncio.Event()
    create = SimRuntime.create

    async def refuse(self: SimRuntime, link: HostLink, job: Job, progress: Progress) -> str:
        if not opened.is_set():
            progress("placing the source", 0, 10)
            raise full
        return await create(self, link, job, progress)

    monkeypatch.setattr(SimRuntime, "create", refuse)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=30")))
        service, held_up = daemon.daemon.service, daemon.daemon.context.held_up
        await daemon.until(lambda: bool(held_up), "nothing is told")
        words = "the start is blocked: sshd opened no session. raise MaxSessions"
        (shown,) = (await service.describe(run_id)).stages
        assert (shown.status, shown.trouble) == ("starting", words)
        assert stage_note(replace(shown, progress=ProgressView(what="x", total=1))) == words
        (line,) = (await service.why(run_id, None)).stages
        assert line.sentence == f"starting on gpu1 with 1 GPU; {words}"
        opened.set()
        await daemon.attempt(run_id, lambda attempt: attempt.phase is Phase.RUNNING)
        (shown,) = (await service.describe(run_id)).stages
        assert (shown.status, shown.trouble) == ("running", None)
        assert held_up == {}


async def test_what_held_a_start_up_is_forgotten_when_its_run_is_cancelled(tmp_path: Path) -> None:
    lab = small_lab(1)
    for _ in range(100):
        faults_on(lab, "gpu1").fail("job.create", Unreachable("gpu1", "sshd opened no session"))
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1))
        held_up = daemon.daemon.context.held_up
        await daemon.until(lambda: bool(held_up), "nothing is told")
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED
        assert held_up == {}
