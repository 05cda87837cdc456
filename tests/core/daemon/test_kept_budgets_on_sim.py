"""What hosts and the store may keep, from the text of the config to what comes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.units import GIB
from hostler.model.hosts import KeptTotal, Look
from hostler.sim.link import SimLink
from tests.core.daemon.test_config_keys_on_sim import QUICK, daemon
from tests.support.daemons.simdaemon import OWNER, SimDaemon
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage


async def waits_because(running: SimDaemon, run_id: str, words: str) -> None:
    """Until the reason says so."""

    def says_so() -> bool:
        reason = running.daemon.controller.plan.reasons.get((run_id, "train"))
        return reason is not None and words in reason.sentence

    await running.until(says_so, f"it does not wait for {words}", 30)


async def open_alerts(running: SimDaemon) -> list[str]:
    found = await running.daemon.service.alerts.list(open_only=True, limit=100)
    return [str(a.what) for a in found.alerts if "[limits]" in a.what]


async def test_a_host_that_keeps_more_than_kept_on_host_gets_no_stage_that_keeps_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, look = [3 * GIB], SimLink.look

    async def seen(self: SimLink, asked_at: float, timeout: float) -> Look:
        return replace(await look(self, asked_at, timeout), kept=KeptTotal(3, kept[0]))

    monkeypatch.setattr(SimLink, "look", seen)
    async with daemon('[limits]\nkept_on_host = "2GiB"\n', tmp_path, small_lab(1)) as running:
        monitor = running.daemon.context.monitors["gpu1"]
        await running.until(lambda: monitor.host.look is not None, "it is not seen", 30)
        waits = await running.submit(stage(env=QUICK))
        await waits_because(
            running, waits, "it keeps 3 GiB of files of ended stages, above its limit of 2 GiB"
        )
        await running.finished(await running.submit(stage(env=QUICK, keep=())), 30)
        await running.daemon.service.budgets.measure()
        (said,) = await open_alerts(running)
        assert said.startswith("gpu1: it keeps 3 GiB of files of ended stages")
        kept[0] = 2 * GIB
        await running.finished(waits, 30)
        await running.daemon.service.budgets.measure()
        assert await open_alerts(running) == []


async def test_a_store_with_more_than_kept_in_store_holds_stages_that_keep_files(
    tmp_path: Path,
) -> None:
    async with daemon('[limits]\nkept_in_store = "999B"\n', tmp_path, small_lab(1)) as running:
        context, service = running.daemon.context, running.daemon.service
        (tmp_path / "source.tar").write_bytes(b"x" * 1000)
        digest = context.content.adopt(tmp_path / "source.tar")
        await service.budgets.measure()
        waits = await running.submit(stage(env=QUICK))
        await waits_because(
            running, waits, "the daemon's machine stores 1000 B of sources, outputs and kept files"
        )
        (said,) = await open_alerts(running)
        assert "[limits] kept_in_store" in said
        context.content.remove([digest])
        await service.collect_garbage(dry_run=False, who=OWNER)
        await running.finished(waits, 30)
        assert await open_alerts(running) == []
