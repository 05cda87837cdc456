"""The screen of one run: what it says at every size, and what its keys do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from hostler.base.errors import NotFoundError
from hostler.model.views.plans import WhyStage, WhyView
from hostler.model.views.runs import RunView, StageView
from hostler_tui.log import spool as log_spool
from hostler_tui.log.view import LogView
from hostler_tui.run.data import RunData
from hostler_tui.run.pages import needs_text, page_labels, thinned, why_page
from hostler_tui.run.screen import RunScreen
from hostler_tui.widgets.modal import Confirm
from hostler_tui.widgets.table import Table
from tests.support.screens.madefleet import Shown, made_fleet
from tests.support.screens.maderuns import StoredRuns, grid, training
from tests.support.screens.pictures import check_picture
from tests.support.screens.screen import text_of, until, until_shown

SIZES = [(40, 12), (80, 24), (120, 36), (160, 45), (200, 60)]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shown]:
    monkeypatch.setattr(log_spool, "BATCH_S", 0.01)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield Shown(monkeypatch, tmp_path)
    monkeypatch.undo()
    time.tzset()


async def _open(
    shown: Shown, pilot: Pilot[int], run: RunView | None = None, stage: str = ""
) -> StoredRuns:
    told = run or training(uid=os.getuid())
    client = StoredRuns(told)
    shown.app._client = client  # type: ignore[assignment]
    await shown.see(pilot, made_fleet(), told)
    shown.app.open_run(told.run_id, stage)
    await until(pilot, lambda: _run(shown).is_whole and bool(_table(shown).rows), "no stages")
    return client


def _run(shown: Shown) -> RunScreen:
    screen = shown.app.screen
    assert isinstance(screen, RunScreen)
    return screen


def _table(shown: Shown) -> Table:
    return _run(shown).query_one("#stages", Table)


def _keys(shown: Shown) -> list[str]:
    return [row.key for row in _table(shown).rows if row.selectable]


@pytest.mark.parametrize(("columns", "rows"), SIZES)
async def test_the_picture_of_log_and_stages(shown: Shown, columns: int, rows: int) -> None:
    async with shown.run(columns, rows) as pilot:
        await _open(shown, pilot, stage="stats")
        await until_shown(pilot, "step=59")
        if columns >= 140 and rows >= 40:
            await until_shown(pilot, "GPU utilization")
            await until_shown(pilot, "41.2 GiB")
        shown.app._tick()
        await pilot.pause()
        await check_picture(pilot, f"run-{columns}x{rows}", lambda: text_of(shown.app))


async def test_the_picture_of_metrics(shown: Shown) -> None:
    async with shown.run(120, 36) as pilot:
        await _open(shown, pilot, stage="stats")
        await pilot.press("m")
        await until_shown(pilot, "GPU memory")
        await check_picture(pilot, "run-metrics-120x36", lambda: text_of(shown.app))


async def test_every_page_says_what_is_known(shown: Shown) -> None:
    async with shown.run(120, 36) as pilot:
        await _open(shown, pilot, stage="train")
        for key, text in (
            ("W", "train: no host has 8 GPUs of 79 GiB free"), ("i", "batch        512"),
            ("a", "41.2 GiB"), ("e", "tokenize: host lost, tried again"), ("D", "+lr = 2"),
            ("l", "It has not started, so it has no log."),
        ):  # fmt: skip
            await pilot.press(key)
            await until_shown(pilot, text)


async def test_an_earlier_attempt_has_its_row_and_its_log(shown: Shown) -> None:
    async with shown.run(120, 36) as pilot:
        client = await _open(shown, pilot, stage="tokenize")
        assert "tokenize#1" in _keys(shown)
        await pilot.press("down")
        await until(
            pilot, lambda: any(asked["attempt"] == 1 for asked in client.asked), "no log asked"
        )
        await until_shown(pilot, "LOG tokenize try 1")


async def test_a_matrix_of_a_thousand_cells_is_folded_and_opens(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot, grid())
        assert _keys(shown) == [
            "prepare", "train/", "train.0", "train.1", "train.2", "train/waiting", "select",
        ]  # fmt: skip
        await pilot.press("up", "enter")
        await until(pilot, lambda: len(_keys(shown)) == 1003, "it did not open")
        await pilot.press("enter")
        await until(pilot, lambda: len(_keys(shown)) == 7, "it did not close")


async def test_a_stage_that_is_folded_away_is_found_at_its_matrix(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot, grid(), "train.500")
        assert _table(shown).cursor == "train/"


async def test_the_cursor_begins_where_eyes_are_needed(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        over = training(outcome="failed", state="failed", finished_at=1764000000.0)
        stages = list(over.stages)
        stages[3] = replace(stages[3], status="failed")
        await _open(shown, pilot, replace(over, stages=tuple(stages)))
        assert _table(shown).cursor == "stats"


def test_long_series_are_thinned_to_what_a_screen_can_show() -> None:
    points = [(float(n), float(n)) for n in range(100_000)]
    found = thinned(points)
    assert len(found) == 1000
    assert found[-1] == points[-1]
    assert found[0][1] == pytest.approx(50, abs=1)
    assert thinned(points[:10]) == tuple(points[:10])


async def test_news_of_the_run_are_shown_and_its_end(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        client = await _open(shown, pilot, stage="stats")
        stages = tuple(replace(stage, status="cancelled") for stage in training().stages)
        over = {"state": "cancelled", "outcome": "cancelled", "finished_at": 1764000000.0}
        client.change("r7f3a2k", training(**over, stages=stages))
        await until_shown(pilot, "r7f3a2k llm-sft  cancelled")


async def test_keys_of_the_log_work_from_the_stages(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot, stage="stats")
        await until_shown(pilot, "step=59")
        await pilot.press("m", "f")
        log = _run(shown).query_one(LogView)
        await until(pilot, lambda: _run(shown).page == "log" and log.has_focus, "no log")
        assert not log.is_following
        await pilot.press("F")
        assert not _run(shown).query_one("#left").is_on_screen or _run(shown).has_class("-full")
        await pilot.press("escape")
        assert not _run(shown).has_class("-full")


async def test_pages_open_by_a_click_and_an_old_picture_is_marked(shown: Shown) -> None:
    async with shown.run(120, 36) as pilot:
        await _open(shown, pilot, stage="stats")
        await pilot.click("#pages", offset=(10, 0))
        assert _run(shown).page == "metrics"
        shown.app.lab.lose("gone", 1764000000.0)
        shown.app._tick()
        await until_shown(pilot, "~ as of 16:00:00")


def test_where_names_of_pages_do_not_fit_that_of_the_page_on_show_stays() -> None:
    wide, narrow = page_labels("diff", 57), page_labels("diff", 56)
    assert [shown for _, _, shown in wide] == [name for name, _, _ in wide]
    assert [shown for _, _, shown in narrow] == ["", "", "", "", "", "", "diff"]
    assert page_labels("diff", 0) == wide, "not laid out yet"


async def test_cancel_asks_and_enter_enter_enter_never_does_it(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        client = await _open(shown, pilot)
        await pilot.press("X")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        assert "Cancel run r7f3a2k of ana?" in text_of(shown.app)
        await pilot.press("enter", "enter", "enter")
        assert client.done == []
        await pilot.press("X")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        await pilot.press("right", "enter")
        await until(pilot, lambda: client.done == [("cancel", "r7f3a2k")], "not cancelled")


async def test_a_run_that_is_over_cannot_be_cancelled(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        over = training(outcome="failed", state="failed", finished_at=1764000000.0)
        await _open(shown, pilot, over)
        await pilot.press("X")
        await pilot.pause()
        assert isinstance(shown.app.screen, RunScreen)
        assert shown.app.lab.notices[0].text == "no stage here is running or pending"


async def test_a_retry_is_asked_for_and_says_what_is_kept(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        over = training(outcome="failed", state="failed", finished_at=1764000000.0)
        client = await _open(shown, pilot, over)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        picture = text_of(shown.app)
        assert "A new run of llm-sft: tokenize, stats, train, eval" in picture
        assert "2 that succeeded are kept" in picture
        await pilot.press("right", "enter")
        await until(pilot, lambda: client.done == [("retry", "r7f3a2k")], "not retried")
        await until(
            pilot, lambda: shown.app.lab.notices[0].text == "submitted rnew000", "it was not told"
        )


async def test_what_cannot_be_answered_says_why(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        client = await _open(shown, pilot)

        async def refuse(run_id: str) -> Any:
            raise NotFoundError("the source of r7f3a2k is gone", remedy="keep it longer")

        client.source = refuse  # type: ignore[method-assign]
        await pilot.press("D")
        await until_shown(pilot, "the source of r7f3a2k is gone")


async def test_without_a_run_it_says_where_runs_are(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        shown.app._client = StoredRuns()  # type: ignore[assignment]
        await shown.see(pilot)
        shown.app.lab.see_runs(())
        await pilot.press("3")
        await until_shown(pilot, "There is no run yet.")


async def test_a_key_before_the_widgets_are_there_does_nothing(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        shown.app.action_go("run")
        screen = shown.app.screen
        assert isinstance(screen, RunScreen)
        assert not screen.is_whole
        assert await shown.app.run_action("screen.page('why')") is False
        await pilot.pause()
        assert shown.app.screen is screen
        assert _run(shown).page == "log"
        await pilot.press("W")
        assert _run(shown).page == "why"


def test_the_reason_of_the_only_stage_is_said_once() -> None:
    stages = [WhyStage(name=name, label=name, sentence="running on gpu1") for name in ("a", "b")]
    for shown in (stages[:1], stages):
        data = RunData("r7f3a2k", why=WhyView(stages=tuple(shown)))
        text = "".join(span for line in why_page(data, "a", 60) for span, _ in line)
        assert text.count("a: running on gpu1") == len(shown)
        assert text.count("b: running on gpu1") == len(shown) - 1


async def test_the_cursor_stays_on_its_stage_through_sizes(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot, stage="stats")
        for size in ((160, 45), (40, 12), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            shown.app._tick()
            assert _table(shown).cursor == "stats", size


@pytest.mark.parametrize(
    ("key", "command"),
    [("l", "hostler logs r7f3a2k/stats"), ("W", "hostler why r7f3a2k/stats"),
     ("m", "hostler usage r7f3a2k"), ("i", "hostler show r7f3a2k"),
     ("e", "hostler events r7f3a2k")],
)  # fmt: skip
async def test_the_command_that_shows_the_same(shown: Shown, key: str, command: str) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot, stage="stats")
        await pilot.press(key)
        assert _run(shown).selected_command() == command
        assert _run(shown).selected_id() == "r7f3a2k"


def test_needs_are_told_as_the_file_has_them() -> None:
    stage = StageView(name="tell", needs=("train", "eval"), needs_ended=("eval",))
    assert needs_text(stage) == "train, eval?"
