"""Alerts, on the screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from hostler.base.errors import StateError
from hostler.model.codec import from_answer
from hostler.model.views.alerts import AlertView, EventView, StreamLine
from hostler_tui.alerts.screen import AlertsScreen
from hostler_tui.app import HostlerApp
from hostler_tui.messages import AlertsSeen, FleetSeen
from hostler_tui.widgets.table import Table
from tests.support.screens.madefleet import made_fleet
from tests.support.screens.pictures import check_picture
from tests.support.screens.screen import no_daemon, text_of, until, until_shown
from tests.support.values.fleets import NOW

HOUR = 3600.0


def alert(number: int, severity: str, what: str, **more: Any) -> AlertView:
    made = {
        "id": number, "severity": severity, "at": NOW - HOUR, "count": 1, "last_at": NOW - HOUR,
        "where": "gpu-02", "what": what, "remedy": "hostler doctor gpu-02", "run_id": None,
        "host": "gpu-02", "gpu": None, "acknowledged_by": None, "acknowledged_at": None,
        "resolved_at": None,
    }  # fmt: skip
    return from_answer(AlertView, made | more)


ALERTS = (
    alert(7, "info", "gpu-02 drained by ana: power supply", remedy="hostler undrain gpu-02"),
    alert(5, "warning", "train on gpu-01 failed: out of memory", where="r7f3a2k", run_id="r7f3a2k",
          host="gpu-01", at=NOW - 120, last_at=NOW - 30, count=3,
          remedy="hostler show r7f3a2k; hostler logs r7f3a2k; hostler retry r7f3a2k"),
    alert(3, "critical", "gpu-02: GPU 2 is unhealthy: Xid 79", gpu="GPU-2"),
    alert(2, "warning", "gpu-09 cannot be reached", where="gpu-09", host="gpu-09",
          acknowledged_by="ana", acknowledged_at=NOW - 60),
    alert(1, "critical", "gpu-03: GPU 0 is unhealthy", where="gpu-03", host="gpu-03",
          resolved_at=NOW - 10),
)  # fmt: skip
EVENTS = [
    {"seq": n, "at": NOW - 100 + n, "kind": kind, "message": message, "severity": severity,
     "run_id": None, "stage": None, "attempt_id": None, "host": host, "actor": None, "gpu": None}
    for n, (kind, message, severity, host) in enumerate((
        ("host.returned", "gpu-01 answers again", "info", "gpu-01"),
        ("gpu.unhealthy", "gpu-02: GPU 2 is unhealthy: Xid 79", "error", "gpu-02"),
        ("host.drained", "gpu-02 drained by ana: power supply", "info", "gpu-02"),
    ), 1)
]  # fmt: skip


class Answers:
    """What the screen asks of a daemon."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, int]] = []
        self.refusal: StateError | None = None

    async def acknowledge(self, alert_id: int) -> None:
        if self.refusal:
            raise self.refusal
        self.noted.append(("ack", alert_id))

    async def unacknowledge(self, alert_id: int) -> None:
        self.noted.append(("unack", alert_id))

    async def events(self, **asked: Any) -> AsyncIterator[StreamLine]:
        for event in EVENTS:
            if event["seq"] > asked["after"]:
                yield StreamLine(event=from_answer(EventView, event))
        await asyncio.Event().wait()


class AlertsApp(HostlerApp):
    MAIN_SCREENS = {"alerts": AlertsScreen}  # noqa: RUF012
    DEFAULT_MODE = "alerts"

    def __init__(self) -> None:
        super().__init__(find=no_daemon)
        self.answers = Answers()
        self.opened: list[str] = []
        self.copied: list[str] = []

    @property
    def client(self) -> Any:
        return self.answers

    def _connect(self) -> Any:
        """Nobody is asked: the test tells."""

    @property
    def newest_event(self) -> int:
        return len(EVENTS)

    def open_run(self, run_id: str, stage: str = "", page: str = "") -> None:
        self.opened.append(f"run {run_id}")

    def open_host(self, name: str) -> None:
        self.opened.append(f"host {name}")

    def copy_text(self, text: str | None, what: str = "") -> None:
        self.copied.append(text or "")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AlertsApp:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr("time.localtime", time.gmtime)
    return AlertsApp()


async def told(pilot: Pilot[int], app: AlertsApp, alerts: Any = ALERTS) -> None:
    """The daemon answered."""
    app.post_message(FleetSeen(made_fleet(), NOW))
    app.post_message(AlertsSeen(alerts, 2))
    wanted = "critical" if alerts else "No alerts"
    await until_shown(pilot, wanted)
    await until(pilot, lambda: len(app.screen._events) == 3, "no events")  # type: ignore[attr-defined]
    app._tick()
    await pilot.pause()


def keys(app: AlertsApp) -> list[str]:
    screen = app.screen
    assert isinstance(screen, AlertsScreen)
    return [row.key for row in screen.table.rows]


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (160, 45), (200, 60)])
async def test_how_it_looks(app: AlertsApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await told(pilot, app)
        await check_picture(pilot, f"alerts-{size[0]}x{size[1]}", lambda: text_of(app))


async def test_the_gravest_that_nobody_has_seen_comes_first(app: AlertsApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        assert keys(app) == ["3", "5", "7", "2", "1"]
        assert "alerts!2" in text_of(app).lower().splitlines()[0]
        await pilot.press("slash", *"state=open severity!=info", "enter")
        assert keys(app) == ["3", "5"]
        assert "2 shown" in text_of(app)
        await pilot.press("slash", "escape")
        assert len(keys(app)) == 5


async def test_acknowledging_one_and_several(app: AlertsApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await pilot.press("a")
        await until(pilot, lambda: app.answers.noted == [("ack", 3)], "not acknowledged")
        await pilot.press("space", "space", "u")
        await until(pilot, lambda: len(app.answers.noted) == 3, "not taken back")
        assert {("unack", 3), ("unack", 5)} == set(app.answers.noted[1:])
        await until(pilot, lambda: not app.screen.query_one(Table).marks, "still marked")
        app.answers.refusal = StateError("the alert is gone", remedy="look again")
        await pilot.press("a")
        await until(pilot, lambda: "the alert is gone" in app.lab.notices[0].text, "no error")


async def test_enter_goes_to_the_run_or_the_host(app: AlertsApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app)
        await pilot.press("enter", "down", "enter", "y", "Y", "up", "Y")
        assert app.opened == ["host gpu-02", "run r7f3a2k"]
        assert app.copied == ["r7f3a2k", "hostler show r7f3a2k", "hostler doctor gpu-02"]


async def test_the_detail_says_what_to_do_and_what_happened(app: AlertsApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await told(pilot, app)
        shown = text_of(app)
        assert "remedy  hostler doctor gpu-02" in shown
        assert "gpu-02 drained by ana" in shown.split("  events  ")[1]
        await pilot.press("down")
        assert "count   3 times" in text_of(app)


async def test_the_log_of_events(app: AlertsApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await told(pilot, app)
        await pilot.press("e")
        await until_shown(pilot, "3 events")
        assert keys(app) == ["3", "2", "1"]
        await pilot.press("slash", *"kind=gpu.unhealthy", "enter")
        assert keys(app) == ["2"]
        await pilot.press("Y", "enter", "e")
        assert app.copied == ["hostler doctor gpu-02"]
        assert app.opened == ["host gpu-02"]
        assert len(keys(app)) == 5


async def test_nothing_to_see_says_so(app: AlertsApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app, ())
        await pilot.press("a", "enter")
        assert app.lab.notices[0].text == "nothing is selected"


async def test_hostile_words_stay_words(app: AlertsApp) -> None:
    evil = alert(9, "critical", "\x1b]52;c;UFdO\x07[/red]\n\u202egnp", where="\x1b[2Jx")
    async with app.run_test(size=(80, 24)) as pilot:
        await told(pilot, app, (*ALERTS, evil))
        assert "\x1b" not in text_of(app)
        assert "[/red]" in text_of(app)
