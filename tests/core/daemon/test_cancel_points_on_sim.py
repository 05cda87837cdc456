"""A run cancelled, or its host rebooted, while the daemon is in the middle of a start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hostler.model.pipelines import Cause, Retries
from hostler.model.runs import Outcome, Phase
from hostler.sim.link import SimLink
from hostler.sim.runtime import SimRuntime
from hostler.store.database import Store
from tests.support.daemons.simdaemon import SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

STEPS: dict[str, tuple[Any, str]] = {
    "intent": (Store, "add_attempt"),
    "claim": (SimLink, "claim"),
    "create": (SimRuntime, "create"),
    "bind": (SimLink, "bind"),
    "start": (SimRuntime, "start"),
    "record": (Store, "change_attempt"),
}
each_step = pytest.mark.parametrize("step", STEPS)
each_side = pytest.mark.parametrize("when", ["before", "after"])
each_runtime = pytest.mark.parametrize("runtime", ["docker", "process"])


class Gate:
    """Holds the first call of a step up until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str, when: str) -> None:
        owner, name = STEPS[step]
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        real = getattr(owner, name)

        async def held(*args: Any, **more: Any) -> Any:
            if self.reached.is_set():
                return await real(*args, **more)
            if when == "before":
                await self.pass_through()
                return await real(*args, **more)
            result = await real(*args, **more)
            await self.pass_through()
            return result

        monkeypatch.setattr(owner, name, held)

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


def kind(runtime: str) -> dict[str, Any]:
    return {"runtime": runtime, "image": "i" if runtime == "docker" else None}


@each_runtime
@each_side
@each_step
async def test_a_cancel_at_this_step_ends_all_and_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str, runtime: str
) -> None:
    lab = small_lab(1, gpus=1)
    gate = Gate(monkeypatch, step, when)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, grace=0.05, env=sim("seconds=60"), **kind(runtime))
        )
        async with asyncio.timeout(30):
            await gate.reached.wait()
            await daemon.cancel(run_id)
        gate.opened.set()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED
        ends = {(a.phase, a.cause, a.detail.split(",")[0]) for a in run.attempts}
        assert ends <= {(Phase.CANCELLED, Cause.STOPPED, "by ana")}, told(run)
        await daemon.clean()
        assert lab.running() == []
        after = await daemon.submit(stage("next", gpus=1, env=sim("seconds=0.01")))
        assert (await daemon.finished(after)).outcome is Outcome.SUCCEEDED
        assert lab.referee.violations == []


@each_runtime
@each_side
@each_step
async def test_a_reboot_at_this_step_leads_to_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str, runtime: str
) -> None:
    lab = small_lab(1, gpus=1)
    gate = Gate(monkeypatch, step, when)
    async with SimDaemon(lab, tmp_path) as daemon:
        again = Retries(max=2, backoff=0.0)
        run_id = await daemon.submit(
            stage("train", gpus=1, retries=again, env=sim("seconds=0.1"), **kind(runtime))
        )
        async with asyncio.timeout(30):
            await gate.reached.wait()
        monitor = daemon.daemon.context.monitors["gpu1"]

        def boot() -> str | None:
            return monitor.host.look.boot_id if monitor.host.look is not None else None

        before = boot()
        faults_on(lab, "gpu1").reboot()
        await daemon.until(lambda: boot() not in (None, before), "the reboot is not seen")
        gate.opened.set()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        causes = {a.cause for a in run.attempts[:-1]}
        assert causes <= {Cause.NOT_STARTED, Cause.HOST_REBOOTED}, told(run)
        await daemon.clean()
        assert [a for a, n in lab.referee.starts.items() if n > 1] == []
        assert lab.referee.violations == []
