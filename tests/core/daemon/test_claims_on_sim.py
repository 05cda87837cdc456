"""Somebody takes a GPU by hand between our claim of it and our start, minutes later."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.base.errors import AgentError
from hostler.model.hosts import Workload
from hostler.model.pipelines import Cause
from hostler.model.runs import Outcome, Phase
from hostler.sim.link import SimLink
from hostler.sim.runtime import SimRuntime
from tests.support.daemons.simdaemon import SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage


@pytest.mark.parametrize("container", [None, "jupyter:1"])
async def test_a_gpu_that_somebody_took_during_a_pull_is_not_shared(
    tmp_path: Path, container: str | None
) -> None:
    lab = small_lab(1, gpus=1)
    faults = faults_on(lab, "gpu1")
    faults.slow_pull(0.3)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, runtime="docker", image="big:1", env=sim("seconds=0.02"))
        )
        await daemon.until(lambda: bool(daemon.daemon.context.progress), "no pull")
        pid = faults.start_by_hand(0, "bob", image=container)
        first = await daemon.attempt(run_id, lambda a: a.phase.is_final)
        assert (first.phase, first.cause) == (Phase.FAILED, Cause.NOT_STARTED)
        assert f"bob's python train.py ({pid})" in first.detail
        await daemon.clean()  # the container that was made is gone, and the lease given back
        assert lab.referee.starts == {}
        faults.end_by_hand(pid)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert [a.cause for a in run.attempts[:-1]] == [Cause.NOT_STARTED] * (len(run.attempts) - 1)
        await daemon.clean()


@pytest.mark.parametrize("runtime", ["docker", "process"])
async def test_what_runs_already_is_not_given_up_for_whoever_came_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    """The answer to its start was lost, and a bind that is repeated finds a stranger."""
    lab = small_lab(1, gpus=1)
    real = SimRuntime.start

    async def start(self: SimRuntime, link: SimLink, *rest: object) -> Workload:
        await real(self, link, *rest)  # type: ignore[arg-type]
        faults_on(lab, "gpu1").start_by_hand(0, "bob")
        again = {"lease_ids": list(lab.host("gpu1").leases), "workload": "w"}
        (work,) = lab.host("gpu1").works.values()
        claim = {
            "gpus": list(work.gpus), "attempt_id": work.attempt_id, "daemon_id": work.daemon_id,
            "owner": "ana", "memory_floor": 1, "ignore": [], "until": None,
        }  # fmt: skip
        assert (await link.call("bind", {**again, "claim": claim}))["refused"] is None
        raise AgentError("gpu1", "no answer")

    monkeypatch.setattr(SimRuntime, "start", start)
    async with SimDaemon(lab, tmp_path) as daemon:
        image = "i" if runtime == "docker" else None
        run_id = await daemon.submit(  # long enough to be running still as the stranger comes
            stage("train", gpus=1, runtime=runtime, image=image, env=sim("seconds=2"))
        )
        run = await daemon.finished(run_id)
        assert [a.phase for a in run.attempts] == [Phase.SUCCEEDED], told(run)
