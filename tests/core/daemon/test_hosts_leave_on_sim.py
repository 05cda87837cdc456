"""Hosts that leave the config, or come back under another name, while something runs on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hostler.daemon.host_monitor import HostMonitor
from hostler.model.pipelines import OnLost
from hostler.model.runs import Outcome, Phase
from tests.support.daemons.simdaemon import ANA, FAST, SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

TIMINGS = replace(FAST, sweep_hosts_every=0.01)


def running(attempt: object) -> bool:
    return getattr(attempt, "phase", None) is Phase.RUNNING


async def test_a_removed_host_goes_once_its_work_has_ended(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path, timings=TIMINGS) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.3")))
        name = (await daemon.attempt(run_id, running)).host
        await daemon.daemon.fleet.apply(
            replace(daemon.config, hosts=tuple(h for h in daemon.config.hosts if h.name != name))
        )
        assert name in daemon.daemon.context.monitors
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED
        await daemon.until(lambda: name not in daemon.daemon.context.monitors, "it is kept")
        await daemon.clean()


async def test_a_renamed_machine_is_kept_once_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=TIMINGS) as daemon:
        context = daemon.daemon.context
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.4")))
        await daemon.attempt(run_id, running)
        (old,) = daemon.config.hosts
        begun: list[str] = []
        real = HostMonitor.run

        async def watched(monitor: HostMonitor) -> None:
            begun.append(monitor.host.name)
            await real(monitor)

        monkeypatch.setattr(HostMonitor, "run", watched)
        renamed = replace(old, name="box", address="gpu1")
        await daemon.daemon.fleet.apply(replace(daemon.config, hosts=(renamed,)))
        assert "gpu1" in str(context.monitors["box"].host.problem)
        assert begun == []
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED
        await daemon.until(lambda: begun == ["box"], "nobody takes over")
        assert list(context.monitors) == ["box"]


async def test_what_a_silent_host_still_runs_for_a_forgotten_run_is_stopped(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        run_id = await daemon.submit(
            stage(
                "train",
                gpus=1,
                grace=0.05,
                on_lost=OnLost.RESTART,
                lost_after=0.05,
                env=sim("seconds=6000"),
            )
        )
        await daemon.attempt(run_id, running)
        await daemon.wait_silent("gpu1")
        assert (await daemon.finished(run_id)).outcome is Outcome.FAILED
        await daemon.daemon.service.remove(run_id, ANA)
        assert lab.left(), "it still runs there"
        faults_on(lab, "gpu1").heal()
        await daemon.clean(timeout=15)
