"""Keys act on what the person saw under the cursor, whatever comes and goes around it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from hostler.model.views.runs import RunView
from hostler_tui.queue.screen import QueueScreen
from hostler_tui.run.screen import RunScreen
from hostler_tui.table_rows import Cursor, Row, settled, still_marked
from hostler_tui.widgets.table import Table
from tests.support.screens.madefleet import Shown, made_fleet
from tests.support.screens.maderuns import StoredRuns, training
from tests.support.screens.screen import text_of, until, until_shown
from tests.support.values.fleets import fleet, host

MINE = os.getuid()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shown:
    return Shown(monkeypatch, tmp_path)


def rows(*keys: str) -> list[Row]:
    return [Row(key, (key,), selectable=not key.startswith("-")) for key in keys]


def place(before: int, key: str | None, *keys: str, slides: bool = False) -> Cursor:
    return settled(
        Cursor(before), key, rows(*keys), lambda k: k.partition("/")[0], may_slide=slides
    )


def test_a_cursor_stays_on_its_key_its_kin_or_nowhere() -> None:
    assert place(1, "b", "a", "x", "b") == Cursor(2)
    assert place(2, "b/2", "a/1", "b/1", "c/1") == Cursor(1)
    assert place(1, "b", "a", "c") == Cursor(1, "b")
    assert place(1, "b") == Cursor(0, "b")
    assert place(1, "b", "a", "c", slides=True) == Cursor(1)
    assert place(1, "b", slides=True) == Cursor(0, "b")
    assert place(0, None, "-head", "a") == Cursor(1)


def test_a_mark_goes_over_to_kin_of_its_row() -> None:
    kin = lambda key: key.partition("/")[0]  # noqa: E731
    assert still_marked({"a/1", "b/1"}, rows("a/1", "b/2", "b/3", "c/1"), kin) == {"a/1", "b/2"}
    assert still_marked({"a/1"}, rows("c/1"), kin) == frozenset()


def run(run_id: str) -> RunView:
    return training(run_id=run_id, uid=MINE)


async def queue(shown: Shown, pilot: Pilot[int], *runs: RunView) -> StoredRuns:
    client = StoredRuns(*runs)
    shown.app._client = client  # type: ignore[assignment]
    await pilot.press("2")
    await shown.see(pilot, made_fleet(), *runs)
    return client


def table(shown: Shown) -> Table:
    return shown.app.screen.query(Table).first()


def told(shown: Shown) -> str:
    return shown.app.lab.notices[0].text if shown.app.lab.notices else ""


@pytest.mark.parametrize("key", ["X", "R", "t", "minus", "enter", "l"])
async def test_a_run_that_ended_under_the_cursor_leaves_no_other_in_its_place(
    shown: Shown, key: str
) -> None:
    async with shown.run(80, 24) as pilot:
        await queue(shown, pilot, run("raaaaaa"), run("rbbbbbb"))
        assert str(table(shown).cursor).startswith("raaaaaa/")
        await shown.see(pilot, made_fleet(), run("rbbbbbb"))
        await pilot.press(key)
        await until(pilot, lambda: "raaaaaa is not in this list" in told(shown), told(shown))
        assert isinstance(shown.app.screen, QueueScreen)
        assert "raaaaaa is not in this list" in text_of(shown.app)
        await pilot.press("down")
        assert str(table(shown).cursor).startswith("rbbbbbb/")


async def test_a_stage_that_ended_leaves_the_cursor_on_its_run(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await queue(shown, pilot, run("raaaaaa"), run("rbbbbbb"))
        assert table(shown).cursor == "raaaaaa/tokenize"
        on = run("raaaaaa")
        on = replace(on, stages=tuple(s for s in on.stages if s.name != "tokenize"))
        await shown.see(pilot, made_fleet(), on, run("rbbbbbb"))
        assert table(shown).cursor == "raaaaaa/stats"


async def test_marked_runs_that_ended_do_not_pass_on_to_the_cursor(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await queue(shown, pilot, run("raaaaaa"), run("rbbbbbb"))
        await pilot.press("space", "end")
        assert str(table(shown).cursor).startswith("rbbbbbb/")
        await shown.see(pilot, made_fleet(), run("rbbbbbb"))
        await pilot.press("X")
        await until(
            pilot, lambda: "the marked rows are no longer in this list" in told(shown), "acts"
        )
        await pilot.press("up", "X")
        await until_shown(pilot, "Cancel run rbbbbbb")


async def test_a_filter_that_was_typed_moves_the_cursor_to_what_it_leaves(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await queue(shown, pilot, run("raaaaaa"), run("rbbbbbb"))
        await pilot.press("slash", *"rbb", "enter")
        await until(pilot, lambda: str(table(shown).cursor).startswith("rbbbbbb/"), "no cursor")


async def test_the_cursor_goes_to_the_run_that_was_submitted_once_it_is_there(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def submits(app: object) -> str:
        return "rnewnew"

    monkeypatch.setattr("hostler_tui.queue.screen.submit_pipeline", submits)
    async with shown.run(80, 24) as pilot:
        await queue(shown, pilot, run("raaaaaa"))
        await pilot.press("n")
        await until(pilot, lambda: told(shown) == "submitted rnewnew", "not submitted")
        await shown.see(pilot, made_fleet(), run("raaaaaa"))
        assert table(shown).cursor is None
        await shown.see(pilot, made_fleet(), run("raaaaaa"), run("rnewnew"))
        assert str(table(shown).cursor).startswith("rnewnew/")


async def test_a_host_that_left_under_the_cursor_leaves_no_other_in_its_place(
    shown: Shown,
) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot, fleet(host("a", ".."), host("b", "..")))
        shown.app._client = StoredRuns()  # type: ignore[assignment]
        await shown.see(pilot, fleet(host("b", "..")))
        for key in ("D", "c", "enter"):
            shown.app.lab.notices = ()
            await pilot.press(key)
            await until(pilot, lambda: told(shown).startswith("a is not in this list"), key)
        assert len(shown.app.screen_stack) == 1


async def test_l_in_the_queue_opens_the_log_and_enter_the_page_of_last_time(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        await queue(shown, pilot, run("raaaaaa"))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(shown.app.screen, RunScreen), "not opened")
        screen = shown.app.screen
        assert isinstance(screen, RunScreen)
        await until(pilot, lambda: bool(table(shown).rows), "no stages")
        await pilot.press("i", "2", "enter")
        await until(pilot, lambda: shown.app.screen is screen, "not opened")
        assert screen.page == "info"
        await pilot.press("2", "l")
        await until(pilot, lambda: shown.app.screen is screen, "not opened")
        assert screen.page == "log"
