"""Logs, history and alerts of a real daemon on a simulated lab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler_tui.app import HostlerApp
from hostler_tui.log.view import LogView
from tests.support.programs.simserved import SimServed, sim_served
from tests.support.screens.screen import text_of, until, until_shown

PIPELINE = """
name = "digits"
[params]
lr = {lr}
[stages.fit]
code = "none"
command = "python train.py --lr {{params.lr}}"
env = {{ SIM = "seconds=1 exit={code} lines=300 metric.loss=2:{lr}" }}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimServed]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with sim_served(tmp_path) as served:
        yield served


async def test_from_the_failure_to_its_log_and_its_comparison(lab: SimServed) -> None:
    good = lab.submit(PIPELINE.format(lr=0.1, code=0))
    bad = lab.submit(PIPELINE.format(lr=0.5, code=3))
    app = HostlerApp(find=lambda: lab.found)
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, "alerts!1")
        await pilot.press("6")
        await until_shown(pilot, "fit failed")
        await pilot.press("a")
        await until_shown(pilot, "acked")
        await pilot.press("5")
        await until_shown(pilot, bad)
        await pilot.press("slash", *"param.lr=0.5 metric.loss>0.2", "enter")
        await until(pilot, lambda: good not in text_of(app), "not filtered")
        await pilot.press("slash", "escape")
        await until_shown(pilot, good)
        await pilot.press("home", "space", "space", "c")
        await until_shown(pilot, "rows differ")
        await until_shown(pilot, "0.1 -0.4")  # the newest is the base
        await pilot.press("escape")
        app.open_run(bad)
        await until_shown(pilot, "step 300/300")
        view = app.screen.query_one(LogView)
        await until(pilot, lambda: len(view.spool.shown) >= 300 if view.spool else False, "no log")
        spool = view.spool
        assert spool is not None
        whole = b"".join(lab.client().logs(bad, "fit"))
        assert spool.read(0, len(whole) + 1) == whole
