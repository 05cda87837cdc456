"""Alerts of a lab in which hosts and GPUs fail and are mended."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.daemon import notify
from hostler.model.config import Config
from hostler.model.views.alerts import AlertList, AlertView
from tests.support.daemons.simdaemon import ANA, FAST, GUARD_S, SetClock, SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

TIMINGS = replace(FAST, alerts_every=0.05)


async def alert(daemon: SimDaemon, where: str, *, over: bool = False) -> AlertView:
    """The alert about a place, once there is one that is open, or over."""
    ends, found = time.monotonic() + GUARD_S, AlertList()
    while time.monotonic() < ends:
        found = await daemon.daemon.service.alerts.list(open_only=False, limit=100)
        for each in found.alerts:
            if each.where == where and (each.resolved_at is not None) is over:
                return each
        await asyncio.sleep(0.01)
    raise AssertionError((where, over, found))


async def test_a_gpu_that_fails_is_an_alert_until_it_is_well(tmp_path: Path) -> None:
    lab = small_lab()
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        faults_on(lab, "gpu1").lose_gpu(1)
        first = await alert(daemon, "gpu1:1")
        assert (first.severity, first.host) == ("critical", "gpu1")
        faults_on(lab, "gpu1").mend_gpu(1)
        ended = await alert(daemon, "gpu1:1", over=True)
        assert ended.id == first.id


async def test_a_host_that_is_cut_while_the_daemon_restarts_is_not_an_alert_for_ever(
    tmp_path: Path,
) -> None:
    lab = small_lab()
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        monitor = daemon.daemon.context.monitors["gpu1"]
        await daemon.until(lambda: monitor.is_connected, "gpu1 does not connect")
        faults_on(lab, "gpu1").cut()
        first = await alert(daemon, "gpu1")
        assert (first.severity, first.remedy) == ("warning", "hostler doctor gpu1")
        await daemon.stop()
        faults_on(lab, "gpu1").heal()
        await daemon.begin()
        assert (await alert(daemon, "gpu1", over=True)).id == first.id


async def test_an_alert_ends_also_where_the_clock_was_set_back_since(tmp_path: Path) -> None:
    lab = small_lab()
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        faults_on(lab, "gpu1").lose_gpu(1)
        first = await alert(daemon, "gpu1:1")
        await daemon.stop()
        faults_on(lab, "gpu1").mend_gpu(1)
        daemon.clock = SetClock(lab.clock, -3600.0)
        await daemon.begin()
        assert (await alert(daemon, "gpu1:1", over=True)).id == first.id


def reported(caplog: pytest.LogCaptureFixture, alert_id: int) -> list[str]:
    """What the log said of an alert, in order: "opened" or "resolved"."""
    lines = [line.split() for line in caplog.messages if line.startswith(f"alert {alert_id} ")]
    return [words[2] for words in lines]


async def test_each_alert_is_reported_once_opened_and_once_resolved_also_over_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hostler.daemon")
    lab = small_lab()
    async with SimDaemon(lab, tmp_path, timings=TIMINGS) as daemon:
        faults_on(lab, "gpu1").lose_gpu(1)
        lost = (await alert(daemon, "gpu1:1")).id
        await daemon.until(lambda: reported(caplog, lost) == ["opened"], "not reported")
        await daemon.stop()
        await daemon.begin()
        faults_on(lab, "gpu1").mend_gpu(1)
        await alert(daemon, "gpu1:1", over=True)
        await daemon.until(lambda: len(reported(caplog, lost)) > 1, "its end is not reported")
        assert reported(caplog, lost) == ["opened", "resolved"]


async def test_a_channel_that_fails_keeps_the_alert_from_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_config: Config, _alert: AlertView) -> None:
        raise OSError("no mail server")

    caplog.set_level("INFO", "hostler.daemon")
    monkeypatch.setattr(notify, "CHANNELS", (broken, *notify.CHANNELS))
    shown = AlertView(id=7, severity="warning", what="gpu1 is away\x1b[2J", where="gpu1")
    await notify.notify(Config(), shown)
    assert caplog.messages[0] == "alert 7 could not be reported"
    assert "opened" in caplog.messages[1]
    assert "\x1b" not in caplog.messages[1]


async def test_a_run_that_fails_is_an_alert_with_its_cause(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path, timings=TIMINGS) as daemon:
        run_id = await daemon.submit(stage("train", env=sim("seconds=0.05 exit=3")))
        await daemon.finished(run_id)
        failed = await alert(daemon, run_id)
        assert (failed.severity, failed.run_id, failed.count) == ("warning", run_id, 1)
        assert "train failed on" in failed.what
        await daemon.daemon.service.remove(run_id, ANA)
        found = (await daemon.daemon.service.alerts.list(open_only=False, limit=100)).alerts
        assert [one for one in found if one.run_id == run_id] == [], "its remedies name no run"
