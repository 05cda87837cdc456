"""Toy kinds of stage through the whole daemon on a simulated lab: a service and a build."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import InputError, Unreachable
from hostler.daemon.inline import INLINE_WORK
from hostler.daemon.inline_work import Done, Work
from hostler.decide.lifecycle import unfolded
from hostler.model.pipelines import Cause, Retries
from hostler.model.runs import Outcome, Phase
from tests.support.daemons.simdaemon import SimDaemon, sim, told
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage
from tests.support.values.toykinds import toy_kinds

SERVES = sim("seconds=3600 lines=36000 metric.ready=1:1")


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with toy_kinds():
        yield


class Builder:
    """The work of the toy build: it lasts until the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.cancelled = 0
        self.go_on = asyncio.Event()
        self.problems: list[Exception] = []
        monkeypatch.setitem(INLINE_WORK, "build", self.build)

    async def build(self, work: Work) -> Done:
        """Note how it goes."""
        self.begun += 1
        if self.problems:
            raise self.problems.pop()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Done((Phase.SUCCEEDED, None, ""))


async def test_a_service_keeps_its_run_open_and_what_needs_it_goes_once_it_is_ready(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("serve", gpus=1, kind="forever", env=SERVES),
            stage("load", needs=("serve",), env=sim("seconds=0.05")),
        )
        load = await daemon.attempt(run_id, lambda a: a.stage == "load" and a.phase.is_final)
        assert load.phase is Phase.SUCCEEDED
        await daemon.next_plan()
        serve = await daemon.attempt(run_id, lambda a: a.stage == "serve")
        assert serve.phase is Phase.RUNNING
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED, told(run)
        await daemon.clean()
        assert daemon.lab.referee.violations == []


async def test_replicas_are_replaced_each_for_itself(tmp_path: Path) -> None:
    template = stage(
        "serve", gpus=1, kind="forever", env={**SERVES, "REPLICAS": "2"},
        retries=Retries(backoff=0.0),
    )  # fmt: skip
    dies = replace(unfolded([template])[0], env=sim("seconds=0.05 metric.ready=1:1"))
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(dies, unfolded([template])[1])
        third = await daemon.attempt(run_id, lambda a: a.number == 3)
        assert third.stage == "serve.0"
        second = await daemon.attempt(run_id, lambda a: a.number == 2)
        assert (second.phase, second.cause) == (Phase.FAILED, Cause.USER_ERROR)
        steady = await daemon.attempt(run_id, lambda a: a.stage == "serve.1")
        assert (steady.number, steady.phase) == (1, Phase.RUNNING)
        await daemon.cancel(run_id)
        await daemon.finished(run_id)
        await daemon.clean()
        assert daemon.lab.referee.violations == []


async def test_a_build_is_done_by_the_daemon_and_leaves_nothing_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Builder(monkeypatch)
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("image", kind="build"),
            stage("train", gpus=1, needs=("image",), env=sim("seconds=0.05")),
        )
        image = await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        assert image.stage == "image"
        assert daemon.lab.left() == []
        builder.go_on.set()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert builder.begun == 1
        built = next(a for a in run.attempts if a.stage == "image")
        assert built.duration is not None
        kinds = await daemon.kinds(run_id)
        assert kinds[1:4] == ["attempt.placed", "attempt.started", "attempt.succeeded"]


async def test_a_build_begins_anew_after_the_daemon_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Builder(monkeypatch)
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(stage("image", kind="build"))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await daemon.kill()
        builder.go_on.set()
        await daemon.begin()
        run = await daemon.finished(run_id)
        assert [(a.number, a.phase) for a in run.attempts] == [(1, Phase.SUCCEEDED)]
        assert builder.begun == 2


async def test_a_build_is_left_when_its_run_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Builder(monkeypatch)
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        run_id = await daemon.submit(stage("image", kind="build"))
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED
        assert [(a.phase, a.cause) for a in run.attempts] == [(Phase.CANCELLED, Cause.STOPPED)]
        await daemon.until(lambda: builder.cancelled == 1, "the build goes on")


async def test_a_build_goes_on_once_its_host_answers_and_fails_where_it_cannot_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Builder(monkeypatch)
    builder.problems = [InputError("there is no Dockerfile"), Unreachable("gpu1", "cut")]
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("image", kind="build"))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.FAILED
        assert builder.begun == 2
        (attempt,) = run.attempts
        assert (attempt.cause, attempt.detail) == (Cause.START_FAILED, "there is no Dockerfile")
