"""Which image the attempts of a run are given when its tag moves meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostler.model.jobs import Job
from hostler.model.pipelines import Cause, Retries
from hostler.model.runs import Outcome
from hostler.ports import HostLink, Progress
from hostler.sim.fleet import small_lab
from hostler.sim.runtime import SimRuntime
from tests.support.planning import stage
from tests.support.simdaemon import ANA, SimDaemon, pace, sim, told


@pytest.fixture(autouse=True)
def _pace(monkeypatch: pytest.MonkeyPatch) -> None:
    pace(monkeypatch)


async def test_retries_later_stages_and_a_retried_run_are_given_the_image_of_the_first_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, str | None]] = []
    create = SimRuntime.create

    async def note(self: SimRuntime, link: HostLink, job: Job, progress: Progress) -> str:
        given.append((job.stage, job.image_digest))
        return await create(self, link, job, progress)

    async def digest(self: SimRuntime, link: HostLink, ref: str) -> str:
        return given[-1][1] or f"lab/tool@sha256:{len(given):064x}"  # the tag moves each time

    monkeypatch.setattr(SimRuntime, "create", note)
    monkeypatch.setattr(SimRuntime, "image_digest", digest)
    box: dict[str, Any] = {"runtime": "docker", "image": "lab/tool:1"}
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        once_more = Retries(max=1, on=(Cause.USER_ERROR,), backoff=0.01)
        run_id = await daemon.submit(
            stage("prepare", env=sim("seconds=0.02"), **box),
            stage(
                "train",
                needs=("prepare",),
                retries=once_more,
                env=sim("seconds=0.02 exit=1"),
                **box,
            ),
        )
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.FAILED, told(run)
        again = await daemon.daemon.service.retry(run_id, ANA)
        await daemon.finished(again.run_id)
    first = f"lab/tool@sha256:{1:064x}"
    assert given == [
        ("prepare", None),
        ("train", first),
        ("train", first),
        ("train", first),
        ("train", first),
    ]
