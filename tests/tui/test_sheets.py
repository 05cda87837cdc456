"""The sheets over a screen: help, notices, the command palette."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler_tui.actions import ACTIONS
from hostler_tui.fleet.screen import FleetScreen
from hostler_tui.fuzzy import best, score
from hostler_tui.host.screen import HostScreen
from hostler_tui.screen_actions import SCREEN_ACTIONS
from hostler_tui.widgets.help_sheet import HelpScreen, NoticesScreen
from hostler_tui.widgets.palette_sheet import Finder
from hostler_tui.widgets.table import Table
from tests.support.screens.madefleet import Shown
from tests.support.screens.pictures import check_picture
from tests.support.screens.screen import text_of, until


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shown:
    return Shown(monkeypatch, tmp_path)


def test_every_action_has_a_title_and_a_sentence_of_help() -> None:
    for action in (*SCREEN_ACTIONS, *ACTIONS):
        assert action.title, action.name
        assert len(action.help) > 10, action.name


FORBIDDEN = {"ctrl+a", "ctrl+b", "ctrl+s", "ctrl+d", "ctrl+k", "ctrl+z", "ctrl+space",
             "ctrl+enter"}  # fmt: skip


def test_no_key_is_one_that_never_arrives() -> None:
    for action in (*SCREEN_ACTIONS, *ACTIONS):
        for key in action.keys:
            assert key not in FORBIDDEN, (action.name, key)
            assert not key.startswith(("alt+", "super+", "meta+")), (action.name, key)


@pytest.mark.parametrize(("columns", "rows"), [(40, 12), (80, 24)])
async def test_help_is_made_from_the_table(shown: Shown, columns: int, rows: int) -> None:
    async with shown.run(columns, rows) as pilot:
        await shown.see(pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(shown.app.screen, HelpScreen)
        await check_picture(pilot, f"help-{columns}x{rows}", lambda: text_of(shown.app))
        seen = text_of(shown.app)
        for _ in range(12):
            await pilot.press("pagedown")
            await pilot.pause()
            seen += text_of(shown.app)
        for action in (*SCREEN_ACTIONS, *ACTIONS):
            if "fleet" in action.screens or "everywhere" in action.screens:
                assert action.help.split()[0] in seen, action.name
        assert "Moving" in seen
        assert "without a lease" in " ".join(seen.split())
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(shown.app.screen, FleetScreen)


async def test_notices_are_kept_with_how_often_they_came(shown: Shown) -> None:
    async with shown.run(60, 16) as pilot:
        await shown.see(pilot)
        shown.app.tell("gpu-06: NVML: GPU is lost", "error")
        shown.app.tell("gpu-07: connection reset", "warning")
        shown.app.tell("gpu-07: connection reset", "warning")
        await pilot.press("exclamation_mark")
        await pilot.pause()
        assert isinstance(shown.app.screen, NoticesScreen)
        lines = [line for line in text_of(shown.app).splitlines() if "gpu-0" in line]
        assert "warning: gpu-07: connection reset x2" in lines[0]
        assert "error: gpu-06: NVML: GPU is lost" in lines[1]


async def _search(shown: Shown, pilot: object, letters: str) -> Table:
    from textual.pilot import Pilot

    assert isinstance(pilot, Pilot)
    await pilot.press("colon")
    await until(pilot, lambda: isinstance(shown.app.screen, Finder), "no palette")
    await pilot.press(*letters)
    await pilot.pause()
    return shown.app.screen.query_one(Table)


async def test_the_palette_finds_hosts_runs_and_actions(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        table = await _search(shown, pilot, "")
        keys = {row.key for row in table.rows}
        assert {"host gpu-03", "run r7f3a2k", "do fold", "do help"} <= keys
        await pilot.press(*"gp4")
        await pilot.pause()
        assert table.cursor == "host gpu-04"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(shown.app.screen, HostScreen), "no host screen")
        assert shown.app.screen.host_name == "gpu-04"  # type: ignore[attr-defined]


async def test_the_palette_does_actions_of_the_screen_and_of_the_app(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await _search(shown, pilot, "fold")
        await pilot.press("enter")
        await pilot.pause()
        screen = shown.app.screen
        assert isinstance(screen, FleetScreen)
        assert screen.is_per_gpu
        await _search(shown, pilot, "theme")
        await pilot.press("enter")
        await pilot.pause()
        assert shown.app.palette_of_look.look == "light"


async def test_escape_leaves_the_palette(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await _search(shown, pilot, "gpu")
        await pilot.press("down", "escape")
        await pilot.pause()
        assert isinstance(shown.app.screen, FleetScreen)


def test_letters_in_their_order_find_and_the_begin_of_words_counts_more() -> None:
    names = ["drain", "run", "theme", "copy id", "other run"]
    assert best(names, lambda name: score("ru", name))[0] == "run"
    assert list(best(names, lambda name: score("cid", name))) == ["copy id"]
    assert score("xyz", "theme") is None
    assert list(best(names, lambda name: score("", name))) == names
