"""The daemon killed at random moments, hosts cut and rebooted in between, two daemons at once.

Whatever happens: every run reaches one outcome, nothing starts twice, no GPU is shared, nothing is
left on any host.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError
from hostler.model.jobs import Claim, Claimed
from hostler.model.pipelines import Cause, Retries
from hostler.model.runs import Outcome, Run
from hostler.sim.lab import SimLab
from hostler.sim.link import SimLink
from tests.support.daemons.simdaemon import SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage


async def submit_some(daemon: SimDaemon, count: int, seconds: float = 0.06) -> list[str]:
    """Runs of two stages, the first of which makes what the second takes; both runtimes."""
    ids = []
    for number in range(count):
        docker = number % 2 == 0
        kind = {"runtime": "docker", "image": "i:1"} if docker else {"runtime": "process"}
        ids.append(
            await daemon.submit(
                stage("a", gpus=1, outputs={"o": "out"}, env=sim(f"seconds={seconds}"), **kind),
                stage(
                    "b",
                    gpus=1,
                    needs=("a",),
                    inputs={"o": ("a.o",)},
                    env=sim(f"seconds={seconds / 2} lines=3"),
                    **kind,
                ),
            )
        )
    return ids


def check_fair(lab: SimLab) -> None:
    """What must hold whatever happened."""
    assert lab.referee.violations == []
    assert [a for a, count in lab.referee.creates.items() if count > 1] == []


@pytest.mark.parametrize("seed", range(3))
async def test_a_daemon_killed_at_any_moment_goes_on_as_if_nothing_were(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    lab = small_lab(2, gpus=2)
    async with SimDaemon(lab, tmp_path) as daemon:
        runs = await submit_some(daemon, 3)
        for _ in range(7):
            await asyncio.sleep(chance.uniform(0.0, 0.16))
            await daemon.kill()
            await daemon.begin()
        for run_id in runs:
            run = await daemon.finished(run_id)
            assert run.outcome is Outcome.SUCCEEDED, told(run)
            assert [a.attempt_id for a in run.attempts] == [f"{run_id}-a-1", f"{run_id}-b-1"]
            kinds = await daemon.kinds(run_id)
            assert [kinds.count(k) for k in ("run.succeeded", "attempt.succeeded")] == [1, 2]
            check_log(daemon, run_id)
        await daemon.clean()
        check_fair(lab)


def check_log(daemon: SimDaemon, run_id: str) -> None:
    """Neither gap nor repetition."""
    name = f"{run_id}-b-1"
    log = daemon.daemon.context.store.logs.tail(run_id, name, 100).decode().splitlines()
    assert log == [f"{name}: step {n}/3" for n in (1, 2, 3)]


@pytest.mark.parametrize("seed", range(2))
async def test_kills_cuts_and_cancels_together_leave_no_ghost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(100 + seed)
    lab = small_lab(2, gpus=2)
    async with SimDaemon(lab, tmp_path) as daemon:
        runs = await submit_some(daemon, 4, seconds=0.1)
        cancelled = chance.sample(runs, 2)
        for turn in range(6):
            await asyncio.sleep(chance.uniform(0.0, 0.12))
            faults = faults_on(lab, chance.choice(("gpu1", "gpu2")))
            if chance.random() < 0.5:
                faults.cut()
            if turn in (2, 4):
                await cancel_if_open(daemon, cancelled[turn // 2 - 1])
            if chance.random() < 0.6:
                await daemon.kill()
                await daemon.begin()
            await asyncio.sleep(chance.uniform(0.0, 0.12))
            faults.heal()
        for run_id in runs:
            run = await daemon.finished(run_id)
            check_ended(run, was_cancelled=run_id in cancelled)
        await daemon.clean()
        assert lab.running() == []
        check_fair(lab)


async def cancel_if_open(daemon: SimDaemon, run_id: str) -> None:
    """Cancel a run that may end at this very moment."""
    if daemon.daemon.context.run_cache.find(run_id) is not None:
        with contextlib.suppress(ConflictError):
            await daemon.cancel(run_id)


def check_ended(run: Run, *, was_cancelled: bool) -> None:
    """One outcome, and attempts that agree with it."""
    wanted = {Outcome.SUCCEEDED, Outcome.CANCELLED} if was_cancelled else {Outcome.SUCCEEDED}
    assert run.outcome in wanted, told(run)
    assert all(a.phase.is_final and a.finished_at is not None for a in run.attempts)
    counted = [a for a in run.attempts if a.cause not in (Cause.NOT_STARTED, Cause.STOPPED, None)]
    assert counted == [], told(run)


async def test_kills_and_reboots_together_end_every_run(tmp_path: Path) -> None:
    chance = random.Random(7)
    lab = small_lab(2, gpus=2)
    async with SimDaemon(lab, tmp_path) as daemon:
        runs = []
        for _ in range(4):
            again = Retries(max=20, backoff=0.0)
            env = sim("seconds=0.1")
            runs.append(await daemon.submit(stage("train", gpus=1, retries=again, env=env)))
        for _ in range(5):
            await asyncio.sleep(chance.uniform(0.02, 0.15))
            faults_on(lab, chance.choice(("gpu1", "gpu2"))).reboot()
            if chance.random() < 0.5:
                await daemon.kill()
                await daemon.begin()
        for run_id in runs:
            run = await daemon.finished(run_id)
            assert run.outcome is Outcome.SUCCEEDED, told(run)
            causes = {a.cause for a in run.attempts[:-1]}
            assert causes <= {Cause.HOST_REBOOTED, Cause.NOT_STARTED}, told(run)
        await daemon.clean()
        check_fair(lab)


async def test_two_daemons_that_race_for_one_lab_share_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = small_lab(2, gpus=2)
    first, second = SimDaemon(lab, tmp_path / "one"), SimDaemon(lab, tmp_path / "two")
    met, waiting, real = asyncio.Barrier(2), set[str](), SimLink.claim

    async def claim(link: SimLink, wanted: Claim) -> Claimed:
        """The first claim of each is held until the other has planned, too: all GPUs are free then,
        and each wants the same one."""
        if link._daemon_id not in waiting:
            waiting.add(link._daemon_id)
            await met.wait()
        return await real(link, wanted)

    monkeypatch.setattr(SimLink, "claim", claim)
    async with first, second:
        assert first.daemon.context.daemon_id != second.daemon.context.daemon_id
        runs = []
        for _ in range(5):
            for daemon in (first, second):
                env = sim("seconds=0.04")
                run_id = await daemon.submit(stage("train", gpus=1, env=env))
                runs.append((daemon, run_id))
        refused = 0
        for daemon, run_id in runs:
            run = await daemon.finished(run_id)
            assert run.outcome is Outcome.SUCCEEDED, told(run)
            assert {a.cause for a in run.attempts} <= {None, Cause.NOT_STARTED}, told(run)
            refused += len(run.attempts) - 1
        await first.clean()
        assert lab.referee.violations == []
        assert refused > 0
