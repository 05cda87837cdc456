"""Which image the attempts of a run are given when its tag moves meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import EngineError
from hostler.model.jobs import Job
from hostler.model.pipelines import Cause, Retries
from hostler.model.runs import Outcome, Phase
from hostler.ports import HostLink, Progress
from hostler.sim.runtime import SimRuntime
from tests.support.daemons.simdaemon import ANA, SimDaemon, sim, told
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage


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


async def test_stages_that_begin_together_get_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host would see another one: the tag moves all the time."""
    given: dict[str, str | None] = {}
    under_way, most = set[str](), 0
    create = SimRuntime.create

    async def slow(self: SimRuntime, link: HostLink, job: Job, progress: Progress) -> str:
        nonlocal most
        given[job.attempt_id] = job.image_digest
        under_way.add(job.stage)
        most = max(most, len(under_way))
        await asyncio.sleep(0.01)
        under_way.discard(job.stage)
        return await create(self, link, job, progress)

    async def digest(self: SimRuntime, link: HostLink, ref: str) -> str:
        return given.get(ref) or f"lab/tool@sha256:{hash((ref, link.host)) % 2**256:064x}"

    monkeypatch.setattr(SimRuntime, "create", slow)
    monkeypatch.setattr(SimRuntime, "image_digest", digest)
    box: dict[str, Any] = {"runtime": "docker", "image": "lab/tool:1"}
    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        names = [f"s{number}" for number in range(6)]
        env = sim("seconds=0.1")
        run_id = await daemon.submit(*(stage(name, cpus=1, env=env, **box) for name in names))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
    assert list(given.values()).count(None) == 1
    assert len({digest for digest in given.values() if digest}) == 1
    assert most > 1, "they wait for the first one only"


async def test_a_first_one_that_fails_keeps_the_others_waiting_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = SimRuntime.create
    first = list[str]()

    async def fails(self: SimRuntime, link: HostLink, job: Job, progress: Progress) -> str:
        first.append(job.stage)
        if job.stage == first[0]:
            raise EngineError(link.host, "no space there")
        return await create(self, link, job, progress)

    monkeypatch.setattr(SimRuntime, "create", fails)
    box: dict[str, Any] = {"runtime": "docker", "image": "lab/tool:1"}
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        env = sim("seconds=0.02")
        run_id = await daemon.submit(*(stage(name, cpus=1, env=env, **box) for name in "abc"))
        run = await daemon.finished(run_id)
        ended = {attempt.stage: attempt.phase for attempt in run.attempts}
    assert ended.pop(first[0]) is Phase.FAILED
    assert set(ended.values()) == {Phase.SUCCEEDED}
