"""A warning before the time limit, by a whole daemon: sent once, and late rather than never."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hostler.model.runs import Attempt, Phase
from hostler.model.time_limits import Warn
from hostler.sim.runtime import SimRuntime
from hostler.store.database import Store
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)
WARN = Warn("USR1", 3600.0)
"""At once, for a stage whose limit comes an hour later and a little."""


async def begin(daemon: SimDaemon, text: str = "seconds=60 catches=1") -> str:
    return await daemon.submit(stage("a", env=sim(text), timeout=3600.2, warn=WARN))


def is_warned(attempt: Attempt) -> bool:
    return bool(attempt.warning)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The signals that hosts were asked for."""
    asked: list[str] = []
    real = SimRuntime.warn

    async def warn(self: SimRuntime, link: Any, workload: Any, warn: Warn) -> Any:
        asked.append(warn.signal)
        return await real(self, link, workload, warn)

    monkeypatch.setattr(SimRuntime, "warn", warn)
    return asked


async def test_a_stage_is_warned_once_and_everybody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await begin(daemon)
        attempt = await daemon.attempt(run_id, is_warned)
        assert attempt.phase is Phase.RUNNING
        assert attempt.warning.startswith("USR1 sent to python3")
        assert attempt.warned_at is not None
        logs = daemon.daemon.context.store.logs
        name = (run_id, attempt.attempt_id)
        await daemon.until(lambda: b"[hostler] USR1 sent" in logs.read(*name), "no line")
        for _ in range(3):
            await daemon.next_plan()
        assert asked == ["USR1"]
        assert (await daemon.kinds(run_id)).count("attempt.warned") == 1
        (host,) = daemon.lab.hosts.values()
        assert host.works[attempt.attempt_id].warned == "USR1"


async def test_that_nobody_catches_it_is_told_as_a_warning(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await begin(daemon, "seconds=60")
        attempt = await daemon.attempt(run_id, is_warned)
        assert "not sent: python3" in attempt.warning
        events = await daemon.daemon.context.store.events(0, run_id)
        (told,) = [event for event in events if event.kind == "attempt.warned"]
        assert (told.severity, told.message) == ("warning", attempt.warning)


@pytest.mark.parametrize(
    ("owner", "name", "when"),
    [(SimRuntime, "warn", "before"), (SimRuntime, "warn", "after"), (Store, "change_attempt", "")],
)
async def test_a_daemon_killed_around_it_warns_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str
) -> None:
    real, reached = getattr(owner, name), asyncio.Event()

    async def step(self: Any, *args: Any, **fields: Any) -> Any:
        is_it = when or fields.get("warning")
        if is_it and when != "after":
            reached.set()
            await asyncio.Event().wait()
        done = await real(self, *args, **fields)
        if is_it:
            reached.set()
            await asyncio.Event().wait()
        return done

    daemon = SimDaemon(small_lab(1), tmp_path)
    async with daemon:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, step)
            run_id = await begin(daemon)
            await asyncio.wait_for(reached.wait(), 30)
            (before,) = (await daemon.run(run_id)).attempts
            assert before.warned_at is not None  # the intent comes first
            assert before.warning == ""
            await daemon.kill()
        await daemon.begin()
        after = await daemon.attempt(run_id, is_warned)
        assert after.warned_at == before.warned_at
        assert (await daemon.kinds(run_id)).count("attempt.warned") == 1


async def test_a_lost_link_sends_it_late(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        limited = stage("a", env=sim("seconds=60 catches=1"), timeout=3601.5, warn=WARN)
        run_id = await daemon.submit(limited)
        await daemon.attempt(run_id, lambda a: a.phase is Phase.RUNNING)
        faults_on(daemon.lab, "gpu1").lose_reply("job.warn")
        attempt = await daemon.attempt(run_id, is_warned)
        assert attempt.warning.startswith("USR1 sent")
