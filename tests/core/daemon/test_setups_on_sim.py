"""What a stage wants done before its command: without GPUs, once, through kills of the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from hostler.base import failpoints
from hostler.model.jobs import Job, SetupEnd
from hostler.model.pipelines import Cause
from hostler.model.runs import Outcome, Phase
from hostler.sim.lab import SimLab
from hostler.sim.runtime import SimRuntime
from tests.core.daemon.test_kill_points_on_sim import stop_at
from tests.support.daemons.simdaemon import SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

LONG = "seconds=0.05 setup=1000"
SETUP = {"setup": "pip install -r requirements.txt", "runtime": "process"}


def finish(lab: SimLab) -> None:
    """Let the setups that run have taken their time."""
    for work in lab.host("gpu1").works.values():
        if work.setup_at is not None:
            work.setup_at -= 1000


async def begin_setup(daemon: SimDaemon, lab: SimLab) -> str:
    """Submit a stage with a long setup, and wait until that has begun; its run's id."""
    run_id = await daemon.submit(stage("train", gpus=1, env=sim(LONG), **SETUP))
    await daemon.until(lambda: bool(lab.referee.setups), "no setup")
    return run_id


async def test_a_setup_holds_no_gpu_on_the_host_and_the_command_starts_after_it(
    tmp_path: Path,
) -> None:
    lab = small_lab(1, gpus=1)
    host = lab.host("gpu1")
    async with SimDaemon(lab, tmp_path) as daemon:
        asked = stage("train", gpus=1, env=sim(LONG), **SETUP)
        run_id = await daemon.submit(asked)
        await daemon.until(lambda: sum(host.referee.setups.values()) == 1, "no setup")
        assert host.leases == {}
        progress = daemon.daemon.context.progress
        await daemon.until(lambda: bool(progress), "nothing is told")
        assert [what for what, _, _ in progress.values()] == ["preparing its environment (setup)"]
        (line,) = (await daemon.daemon.service.why(run_id, None)).stages
        assert line.sentence == "starting on gpu1 with 1 GPU; preparing its environment (setup)"
        finish(lab)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert lab.referee.violations == []
        assert set(lab.referee.setups.values()) == {1}


async def test_a_file_for_conda_is_built_as_a_setup(tmp_path: Path) -> None:
    lab = small_lab(1)
    faults_on(lab, "gpu1").no_environment("*")
    async with SimDaemon(lab, tmp_path) as daemon:
        asked = stage("train", env=sim("seconds=0.1 setup=0.1"), conda="conda/env.yml")
        run = await daemon.finished(await daemon.submit(asked))
        assert run.outcome is Outcome.SUCCEEDED, "no host is asked for what is built there"
        assert set(lab.referee.setups.values()) == {1}


@pytest.mark.parametrize(
    ("told", "limit", "cause", "detail"),
    [
        ("setup=0.1 setup_exit=3", 600.0, Cause.SETUP_FAILED, "setup ended with exit code 3"),
        ("setup=600", 0.2, Cause.SETUP_TIME_LIMIT, "setup took longer than 0.2s"),
    ],
)
async def test_a_setup_that_fails_has_a_cause_of_its_own(
    tmp_path: Path, told: str, limit: float, cause: Cause, detail: str
) -> None:
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        asked = stage("train", gpus=1, env=sim(told), setup_timeout=limit, **SETUP)
        run = await daemon.finished(await daemon.submit(asked))
        (attempt,) = run.attempts
        assert (run.outcome, attempt.phase) == (Outcome.FAILED, Phase.FAILED)
        assert attempt.cause is cause
        assert attempt.detail.startswith(detail)
        await daemon.until(lambda: not lab.host("gpu1").works, "its folder stays")
        assert lab.referee.starts == {}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_daemon_killed_at_a_setup_comes_back_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    lab = small_lab(1, gpus=1)
    reached = stop_at(monkeypatch, SimRuntime, "prepare", 1, when)
    async with SimDaemon(lab, tmp_path) as daemon:
        asked = stage("train", gpus=1, env=sim("seconds=0.05 setup=0.05"), **SETUP)
        run_id = await daemon.submit(asked)
        await reached.wait()
        await daemon.kill()
        monkeypatch.undo()
        assert lab.host("gpu1").leases == {}
        await daemon.begin()
        run = await daemon.finished(run_id)
    assert run.outcome is Outcome.SUCCEEDED, told(run)
    assert len(run.attempts) == 1
    assert (set(lab.referee.setups.values()), lab.referee.violations) == ({1}, [])


async def test_a_daemon_killed_within_a_setup_comes_back_to_it(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await begin_setup(daemon, lab)
        await daemon.kill()
        finish(lab)
        await daemon.begin()
        run = await daemon.finished(run_id)
    assert run.outcome is Outcome.SUCCEEDED, told(run)
    assert set(lab.referee.setups.values()) == {1}


@pytest.mark.parametrize("point", ["before_setup", "after_setup"])
async def test_a_start_that_is_cut_short_at_this_point_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(failpoints, "_armed", failpoints.read_failpoints(f"{point}:error"))
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        asked = stage("train", gpus=1, env=sim("seconds=0.05 setup=0.05"), **SETUP)
        run = await daemon.finished(await daemon.submit(asked))
        assert (run.outcome, len(run.attempts)) == (Outcome.SUCCEEDED, 1)
        assert (set(lab.referee.setups.values()), lab.referee.violations) == ({1}, [])


async def test_a_cancelled_run_does_not_wait_for_a_setup(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        asked = stage("train", gpus=1, env=sim("seconds=0.05 setup=6000"), **SETUP)
        run_id = await daemon.submit(asked)
        await daemon.until(lambda: bool(lab.referee.setups), "no setup")
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED
        await daemon.until(lambda: not lab.host("gpu1").works, "its folder stays")
        assert lab.referee.starts == {}


async def test_a_gpu_that_is_taken_during_a_setup_puts_the_stage_back_uncounted(
    tmp_path: Path,
) -> None:
    lab = small_lab(1, gpus=1)
    faults_on(lab, "gpu1").take_at_claim("bob")
    async with SimDaemon(lab, tmp_path) as daemon:
        asked = stage("train", gpus=1, env=sim("seconds=0.05 setup=0.05"), **SETUP)
        run_id = await daemon.submit(asked)
        attempt = await daemon.attempt(run_id, lambda found: found.phase.is_final)
        assert attempt.cause is Cause.NOT_STARTED


async def test_an_unreachable_host_keeps_its_setup(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await begin_setup(daemon, lab)
        faults_on(lab, "gpu1").lose_reply("job.prepare")
        finish(lab)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert (len(run.attempts), set(lab.referee.setups.values())) == (1, {1})


async def test_a_setup_of_a_cell_ends_when_another_cell_fails(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=2)
    slow = stage("t.0", base="t", gpus=1, env=sim("seconds=0.05 setup=6000"), **SETUP)
    bad = stage("t.1", base="t", gpus=1, env=sim("setup=0.2 setup_exit=1"), **SETUP)
    async with SimDaemon(lab, tmp_path) as daemon:
        run = await daemon.finished(await daemon.submit(slow, bad))
        ends = {attempt.stage: (attempt.phase, attempt.cause) for attempt in run.attempts}
        assert ends["t.0"] == (Phase.CANCELLED, Cause.DEPENDENCY)
        assert ends["t.1"] == (Phase.FAILED, Cause.SETUP_FAILED)
        await daemon.until(lambda: not lab.host("gpu1").works, "its folder stays")


async def test_a_setup_goes_on_while_its_host_cannot_be_heard(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await begin_setup(daemon, lab)
        faults_on(lab, "gpu1").cut()
        await daemon.wait_silent("gpu1")
        await daemon.until(lambda: not daemon.daemon.applier.starter.setups.attempts, "it is asked")
        assert (await daemon.run(run_id)).attempts[0].phase is Phase.STARTING
        finish(lab)
        faults_on(lab, "gpu1").heal()
        run = await daemon.finished(run_id)
        assert (run.outcome, len(run.attempts)) == (Outcome.SUCCEEDED, 1)
        assert (set(lab.referee.setups.values()), lab.referee.violations) == ({1}, [])


async def test_a_reboot_during_a_setup_counts_as_no_try(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await begin_setup(daemon, lab)
        faults_on(lab, "gpu1").reboot()
        await daemon.until(lambda: len(lab.referee.setups) == 2, "no other try")
        finish(lab)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert [attempt.cause for attempt in run.attempts] == [Cause.NOT_STARTED, None]
        assert lab.referee.violations == []


async def test_two_setups_of_a_run_begin_with_one_image_though_its_tag_moves(
    tmp_path: Path,
) -> None:
    asked: list[str | None] = []
    digests = (f"lab/torch@sha256:{digit * 64}" for digit in "12")

    async def moves(*_: object) -> str:
        return next(digests)

    async def noted(_self: object, _link: object, job: Job, *_more: object) -> SetupEnd:
        asked.append(job.image_digest)
        return SetupEnd(0, base=job.image_digest or "")

    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        with (
            patch.object(SimRuntime, "base_digest", moves),
            patch.object(SimRuntime, "prepare", noted),
        ):
            keys: Any = {"image": "lab/torch:2", "setup": "x", "env": sim("seconds=0.05 setup=0.1")}
            stages = [
                stage(host, runtime="docker", hosts=(host,), **keys) for host in ("gpu1", "gpu2")
            ]
            run = await daemon.finished(await daemon.submit(*stages))
    assert run.outcome is Outcome.SUCCEEDED, told(run)
    assert asked == [f"lab/torch@sha256:{'1' * 64}"] * 2
