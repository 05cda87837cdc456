"""Replicas under which something breaks: a GPU, the container engine, the agent's connection."""

from __future__ import annotations

from pathlib import Path

from hostler.model.pipelines import Cause
from hostler.model.runs import Attempt, Phase
from tests.core.daemon.test_services_on_sim import service
from tests.support.daemons.simdaemon import SimDaemon, told
from tests.support.daemons.simlab import faults_on, small_lab


def _ready(attempt: Attempt) -> bool:
    return attempt.phase is Phase.RUNNING and attempt.ready_at is not None


async def test_a_replica_whose_gpu_is_lost_goes_to_another_one(tmp_path: Path) -> None:
    lab = small_lab(hosts=1, gpus=2)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*service(gpus=1))
        first = await daemon.attempt(run_id, _ready)
        host = lab.host("gpu1")
        lost = next(gpu for gpu in host.gpus if gpu.uuid in first.gpus)
        faults_on(lab, "gpu1").lose_gpu(lost.index)
        second = await daemon.attempt(run_id, lambda a: a.number == 2 and _ready(a))
        run = await daemon.run(run_id)
        assert not set(second.gpus) & set(first.gpus), told(run)
        assert run.attempts[0].cause is Cause.GPU_LOST
        assert lab.referee.violations == []


async def test_a_replica_that_a_restart_of_the_engine_ended_is_started_again_at_once(
    tmp_path: Path,
) -> None:
    lab = small_lab(hosts=1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*service(gpus=1, runtime="docker", image="i"))
        await daemon.attempt(run_id, _ready)
        faults_on(lab, "gpu1").restart_docker()
        second = await daemon.attempt(run_id, lambda a: a.number == 2 and _ready(a))
        run = await daemon.run(run_id)
        assert [a.cause for a in run.attempts] == [Cause.ENGINE_RESTARTED, None], told(run)
        assert second.gpus == run.attempts[0].gpus
        assert lab.referee.violations == []
