"""What is typed and pasted: letters are letters, at any pace and length."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from hostler_tui.filtering import Filter, parse
from hostler_tui.fleet.screen import FleetScreen
from hostler_tui.log import spool as log_spool
from hostler_tui.log.view import LogView
from hostler_tui.run.screen import RunScreen
from hostler_tui.widgets import ask_line
from hostler_tui.widgets.ask_line import AskLine
from hostler_tui.widgets.table import Table
from hostler_tui.widgets.text_line import MOST
from tests.support.screens.madefleet import Shown, made_fleet
from tests.support.screens.maderuns import StoredRuns, training
from tests.support.screens.screen import text_of, until, until_shown


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shown]:
    monkeypatch.setattr(log_spool, "BATCH_S", 0.01)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield Shown(monkeypatch, tmp_path)
    monkeypatch.undo()
    time.tzset()


async def at_stage(shown: Shown, pilot: Pilot[int], stage: str) -> RunScreen:
    told = training(uid=os.getuid())
    shown.app._client = StoredRuns(told)  # type: ignore[assignment]
    await shown.see(pilot, made_fleet(), told)
    shown.app.open_run("r7f3a2k", stage)
    screen = shown.app.screen
    assert isinstance(screen, RunScreen)
    await until(pilot, lambda: screen.is_whole and screen.stage == stage, "no stages")
    return screen


def burst(shown: Shown, text: str) -> None:
    """Keys that come at once, as from a paste without brackets or over a slow link."""
    from textual._xterm_parser import XTermParser

    for event in XTermParser().feed(text):
        event.set_sender(shown.app)
        shown.app.post_message(event)


@pytest.mark.parametrize("keys", ["/error", "&error", "Serror"])
async def test_what_is_looked_for_where_no_log_is_does_nothing_else(
    shown: Shown, keys: str
) -> None:
    async with shown.run(100, 30) as pilot:
        screen = await at_stage(shown, pilot, "train")
        burst(shown, keys)
        await until_shown(pilot, "train has no log yet")
        await pilot.press("q", "X", "enter")
        await until(pilot, lambda: shown.app.screen is screen, "the sheet stayed")
        assert screen.page == "log"
        assert not shown.app.lab.notices


async def test_letters_that_come_close_behind_a_search_belong_to_it(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        screen = await at_stage(shown, pilot, "stats")
        await until_shown(pilot, "step=59")
        burst(shown, "/step=4/q")
        log = screen.query_one(LogView)
        await until(pilot, lambda: log.typing is not None and log.typing.text == "step=4/q", "lost")
        assert screen.page == "log"
        assert shown.app.return_code is None


async def test_letters_that_come_close_behind_a_filter_belong_to_it(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        await shown.see(pilot)
        burst(shown, "/gpu-0/oxq")
        ask = shown.app.screen.query_one(AskLine)
        await until(pilot, lambda: ask.filter.text == "gpu-0/oxq", f"only {ask.filter.text!r}")
        burst(shown, "\x7f" * 6)
        await until(pilot, lambda: ask.filter.text == "gpu", "not taken back")
        assert isinstance(shown.app.screen, FleetScreen)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(shown.app.focused, Table), "the keys are lost")


async def test_three_opens_the_run_that_ended_last_where_none_is_open(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        ended = training(run_id="rlatest", uid=os.getuid(), outcome="failed", state="failed")
        shown.app._client = StoredRuns(ended)  # type: ignore[assignment]
        await shown.see(pilot)
        shown.app.lab.see_runs(())
        await pilot.press("3")
        await until_shown(pilot, "rlatest")
        assert "no run" not in text_of(shown.app)


async def test_a_paste_of_keys_filters_once_and_has_an_end(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def note(text: str, known: Sequence[str]) -> Filter:
        parsed.append(text)
        return parse(text, known)

    monkeypatch.setattr(ask_line, "parse", note)
    async with shown.run(100, 30) as pilot:
        await shown.see(pilot)
        burst(shown, "/" + "gpu " * 2000)
        typed = shown.app.screen.query_one("#asked", Input)
        await until(pilot, lambda: len(typed.value) == MOST, "not taken")
        told = f"no more than {MOST} characters fit here"
        await until(pilot, lambda: told in [n.text for n in shown.app.lab.notices], "not told")
        await until(pilot, lambda: parsed[-1:] == [typed.value], "not read")
        assert len(parsed) < 20
        assert len([n for n in shown.app.lab.notices if "no more than" in n.text]) == 1
        await pilot.press("ctrl+u", "b", "enter")
        assert shown.app.screen.query_one(AskLine).filter.text == "b"


async def test_a_paste_of_keys_into_a_search_has_an_end(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        screen = await at_stage(shown, pilot, "stats")
        await until_shown(pilot, "step=59")
        burst(shown, "/" + "(a|a)*" * 1000)
        log = screen.query_one(LogView)
        await until(pilot, lambda: log.typing is not None and len(log.typing.text) == 4096, "lost")
        await pilot.press("escape")
        assert log.typing is None
