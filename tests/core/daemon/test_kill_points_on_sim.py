"""The daemon killed just before and just after each step of a stage's life: nothing is lost,
nothing is done twice, nothing is left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hostler.daemon import collecting
from hostler.model.runs import Outcome
from hostler.runtimes.metrics import MetricsReader
from hostler.sim.link import SimLink
from hostler.sim.runtime import SimRuntime
from hostler.store.database import Store
from tests.support.daemons.simdaemon import SimDaemon, sim, told
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage

STEPS: dict[str, tuple[Any, str, int]] = {
    "intent": (Store, "add_attempt", 1),
    "claim": (SimLink, "claim", 1),
    "create": (SimRuntime, "create", 1),
    "bind": (SimLink, "bind", 1),
    "start": (SimRuntime, "start", 1),
    "record the start": (Store, "change_attempt", 1),
    "metrics": (MetricsReader, "read", 1),
    "record the verdict": (Store, "change_attempt", 2),
    "outputs": (collecting, "collect_output", 1),
    "artifact": (Store, "add_artifact", 1),
    "record the end": (Store, "change_attempt", 3),
    "remove": (SimRuntime, "remove", 1),
    "release": (SimLink, "release", 1),
    "end the run": (Store, "end_run", 1),
}


def stop_at(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, turn: int, when: str
) -> asyncio.Event:
    """Set when the daemon has come to this step, where it then stays until it is killed."""
    real, reached, calls = getattr(owner, name), asyncio.Event(), 0

    async def step(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        here = calls == turn
        if here and when == "before":
            reached.set()
            await asyncio.Event().wait()
        result = await real(*args, **more)
        if here:
            reached.set()
            await asyncio.Event().wait()
        return result

    monkeypatch.setattr(owner, name, step)
    return reached


@pytest.mark.parametrize("runtime", ["docker", "process"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_daemon_killed_at_this_step_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str, runtime: str
) -> None:
    lab = small_lab(1, gpus=1)
    reached = stop_at(monkeypatch, *STEPS[step], when)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage(
                "train",
                gpus=1,
                runtime=runtime,
                image="i" if runtime == "docker" else None,
                outputs={"o": "out"},
                env=sim("seconds=0.05 lines=3 metric.loss=1"),
            )
        )
        async with asyncio.timeout(30):
            await reached.wait()
        await daemon.kill()
        await daemon.begin()
        run = await daemon.finished(run_id)
        name = f"{run_id}-train-1"
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert [a.attempt_id for a in run.attempts] == [name]
        assert set(run.attempts[0].outputs) == {"o"}
        assert (lab.referee.creates, lab.referee.starts) == ({name: 1}, {name: 1})
        kinds = await daemon.kinds(run_id)
        assert [kinds.count(k) for k in ("attempt.placed", "attempt.succeeded")] == [1, 1]
        log = daemon.daemon.context.store.logs.tail(run_id, name, 100).decode()
        steps = [line.split("  ")[0] for line in log.splitlines()]
        assert steps == [f"{name}: step {n}/3" for n in (1, 2, 3)]
        await daemon.clean()
        assert lab.referee.violations == []
