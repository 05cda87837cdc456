"""The queue: what it says at every size, and what its keys do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from hostler.base.errors import ConflictError
from hostler.model.views.runs import RunView
from hostler_tui.messages import FleetSeen
from hostler_tui.queue.screen import QueueScreen
from hostler_tui.widgets.form import Form
from hostler_tui.widgets.modal import Confirm
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.table import Table
from tests.support.screens.madefleet import Shown, made_fleet
from tests.support.screens.maderuns import StoredRuns, grid, training
from tests.support.screens.pictures import check_picture
from tests.support.screens.screen import text_of, until, until_shown

SIZES = [(40, 12), (80, 24), (120, 36), (160, 45), (200, 60)]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shown]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield Shown(monkeypatch, tmp_path)
    monkeypatch.undo()
    time.tzset()


async def _open(shown: Shown, pilot: Pilot[int], *runs: RunView) -> StoredRuns:
    told = runs or (training(uid=os.getuid()), grid())
    client = StoredRuns(*told)
    shown.app._client = client  # type: ignore[assignment]
    await pilot.press("2")
    await shown.see(pilot, made_fleet(), *told)
    return client


def _queue(shown: Shown) -> QueueScreen:
    screen = shown.app.screen
    assert isinstance(screen, QueueScreen)
    return screen


def _told(shown: Shown) -> str:
    notices = shown.app.lab.notices
    return notices[0].text if notices else ""


def _rows(shown: Shown) -> list[str]:
    return [row.key for row in _queue(shown).query_one("#stages", Table).rows]


@pytest.mark.parametrize(("columns", "rows"), SIZES)
async def test_the_picture(shown: Shown, columns: int, rows: int) -> None:
    async with shown.run(columns, rows) as pilot:
        await _open(shown, pilot)
        await pilot.press("down", "down")
        await check_picture(pilot, f"queue-{columns}x{rows}", lambda: text_of(shown.app))


async def test_a_thousand_cells_share_a_few_rows(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot, grid())
        assert _rows(shown) == [
            "r9grid0/train.0", "r9grid0/train.1", "r9grid0/train.2", "r9grid0/train/waiting",
            "r9grid0/select",
        ]  # fmt: skip
        assert "train: 997" in text_of(shown.app)


async def test_why_it_waits_host_by_host_and_what_would_start_now(shown: Shown) -> None:
    async with shown.run(160, 45) as pilot:
        await _open(shown, pilot, training())
        await pilot.press("down", "down")
        picture = text_of(shown.app)
        assert "train: no host has 8 GPUs of 79 GiB free" in picture
        assert "gpu-03: drained: PSU replacement" in picture
        assert "would start now: 7 GPUs on gpu-02" in picture


async def test_the_graph_is_boxes_on_wide_screens_and_b_makes_it_rails(shown: Shown) -> None:
    async with shown.run(160, 45) as pilot:
        await _open(shown, pilot, training())
        assert "│ tokenize   running │" in text_of(shown.app)
        await pilot.press("b")
        assert "o │ tokenize" in text_of(shown.app)


async def test_an_empty_queue_says_what_to_do(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot)
        shown.app.lab.see_runs(())
        shown.app._tick()
        await pilot.pause()
        assert "No stage is running or pending." in text_of(shown.app)
        assert "hostler run pipeline.toml" in text_of(shown.app)


async def test_more_open_runs_than_are_followed_are_told(shown: Shown) -> None:
    async with shown.run(100, 24) as pilot:
        await _open(shown, pilot)
        assert "more are open" not in text_of(shown.app)
        shown.app.lab.see_runs(shown.app.lab.runs, are_more=True)
        shown.app._tick()
        await pilot.pause()
        assert "runs, the newest: more are open (hostler ps)" in text_of(shown.app)


async def test_before_the_daemon_has_told_the_runs_nothing_is_said_of_them(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        shown.app.post_message(FleetSeen(made_fleet(), 1764000000.0))
        await pilot.press("2")
        await until_shown(pilot, "loading the runs ...")
        assert "No stage is running or pending." not in text_of(shown.app)


async def test_a_filter_and_the_order(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot)
        await pilot.press("slash", *"state=waiting gpus>=8", "enter")
        assert _rows(shown) == ["r7f3a2k/train"]
        await pilot.press("slash", "escape", "o")
        assert _rows(shown)[0] == "r7f3a2k/train"
        assert _rows(shown)[-1] == "r9grid0/train.2"


async def test_the_cursor_stays_on_its_stage_when_runs_come_and_sizes_change(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot, training())
        await pilot.press("down", "down")
        assert _queue(shown).query_one("#stages", Table).cursor == "r7f3a2k/train"
        await shown.see(pilot, made_fleet(), grid(), training())
        for size in ((160, 45), (40, 12), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await shown.see(pilot, made_fleet(), grid(), training())
            assert _queue(shown).query_one("#stages", Table).cursor == "r7f3a2k/train", size


async def test_enter_enter_enter_never_cancels_and_esc_leaves_it_undone(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        client = await _open(shown, pilot)
        await pilot.press("X")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        picture = text_of(shown.app)
        assert "Cancel run r7f3a2k of ana?" in picture
        assert "stats is stopped on gpu1" in picture
        assert "2 pending stages never start" in picture
        assert "hostler cancel r7f3a2k" in picture
        await pilot.press("enter", "enter", "enter")
        await pilot.press("2", "X")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(shown.app.screen, QueueScreen), "the dialog stayed")
        assert client.done == []


async def test_cancel_of_ones_own_run_is_one_arrow_and_enter(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        client = await _open(shown, pilot)
        await pilot.press("X")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        await pilot.press("right", "enter")
        await until(pilot, lambda: client.done == [("cancel", "r7f3a2k")], "it was not cancelled")
        await until(pilot, lambda: _told(shown) == "cancelling r7f3a2k", "it was not told")


async def test_somebody_elses_run_wants_the_count_typed(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        client = await _open(shown, pilot, grid())
        await pilot.press("X")
        await until_shown(pilot, "Not yours: bo may need it")
        await pilot.press("enter")
        await _until_focused(shown, pilot, "no")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(shown.app.screen, QueueScreen), "it stayed")
        await pilot.press("X")
        await until_shown(pilot, "Not yours: bo may need it")
        assert client.done == []
        await _type_and_confirm(shown, pilot, "1")
        await until(pilot, lambda: client.done == [("cancel", "r9grid0")], "it was not cancelled")


async def _until_focused(shown: Shown, pilot: Pilot[int], name: str) -> None:
    def is_there() -> bool:
        focused = shown.app.screen.focused
        return focused is not None and focused.id == name

    await until(pilot, is_there, f"{name} has not the focus")


async def _type_and_confirm(shown: Shown, pilot: Pilot[int], word: str) -> None:
    """Each key when what the one before it does is done: the screen may take its time."""
    await _until_focused(shown, pilot, "typed")
    await pilot.press(word)
    yes = shown.app.screen.query_one("#yes", Button)
    await until(pilot, lambda: not yes.disabled, "it does not open")
    await pilot.press("tab", "tab")
    await _until_focused(shown, pilot, "yes")
    await pilot.press("enter")


async def test_several_marked_runs_want_their_count(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        client = await _open(shown, pilot)
        await pilot.press("M", "X")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        await until_shown(pilot, "Cancel 2 runs?")
        picture = text_of(shown.app)
        assert "hostler cancel r7f3a2k r9grid0 --yes" in picture
        await pilot.press("3", "tab", "tab", "enter")
        assert isinstance(shown.app.screen, Confirm)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(shown.app.screen, QueueScreen), "it stayed")
        await pilot.press("X")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        await _type_and_confirm(shown, pilot, "2")
        await until(pilot, lambda: len(client.done) == 2, "they were not cancelled")
        assert not _queue(shown).query_one("#stages", Table).marks


@pytest.mark.parametrize(("columns", "rows"), [(40, 12), (80, 24)])
async def test_a_question_about_many_keeps_its_answers_in_sight(
    shown: Shown, columns: int, rows: int
) -> None:
    async with shown.run(columns, rows) as pilot:
        many = [training(run_id=f"rmany{n:02}", uid=1) for n in range(30)]
        await _open(shown, pilot, *many)
        await pilot.press("M", "X")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        await until_shown(pilot, "rmany00 llm-sft of ana")
        picture = text_of(shown.app)
        for text in ("Cancel 30 runs?", "Type 30 to confirm:", "no, keep it", "cancel them"):
            assert text in picture, picture


async def test_what_the_daemon_refuses_is_told_with_its_remedy(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        client = await _open(shown, pilot)
        client.refusal = ConflictError("run r7f3a2k has already failed", remedy="ask bo")
        await pilot.press("t")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        assert "hostler retry r7f3a2k" in text_of(shown.app)
        await pilot.press("right", "enter")
        await until(pilot, lambda: "already failed. ask bo" in _told(shown), "not told")
        assert client.done == []


async def test_a_lower_priority_is_asked_for(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        client = await _open(shown, pilot)
        await pilot.press("minus")
        await until(pilot, lambda: isinstance(shown.app.screen, Form), "no form")
        await pilot.press("ctrl+u", *"-5")
        await until_shown(pilot, "command: hostler priority r7f3a2k -5")
        await pilot.press("enter", "enter", "enter")
        assert client.done == []
        await pilot.press("minus")
        await until(pilot, lambda: isinstance(shown.app.screen, Form), "no form")
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: client.done == [("priority", "r7f3a2k", -1)], "not lowered")


async def test_while_the_daemon_is_away_rows_are_marked_and_actions_are_off(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot)
        assert "r7f3a2k~" not in text_of(shown.app)
        shown.app.lab.lose("gone", 1764000000.0)
        shown.app._tick()
        await pilot.press("X", "n")
        await pilot.pause()
        assert isinstance(shown.app.screen, QueueScreen)
        assert "r7f3a2k~" in text_of(shown.app)
        assert "3m12s" in text_of(shown.app)


async def test_enter_opens_the_run_at_the_stage_and_esc_comes_back(shown: Shown) -> None:
    async with shown.run(120, 36) as pilot:
        await _open(shown, pilot)
        await pilot.press("down", "enter")
        await until_shown(pilot, "LOG stats")
        assert shown.app.current_mode == "run"
        await pilot.press("escape")
        assert shown.app.current_mode == "queue"


async def test_marked_runs_are_compared(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    monkeypatch.setattr(shown.app, "compare", compared.append)
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot)
        await pilot.press("c")
        assert compared == []
        await pilot.press("space", "space", "end", "space", "c")
        assert compared == [["r7f3a2k", "r9grid0"]]
        shown.app._tick()
        assert "2 runs marked" in _queue(shown).query_one("#answer", Pane).said
        await pilot.press("escape", "X")
        await until(pilot, lambda: isinstance(shown.app.screen, Confirm), "no dialog")
        assert "Cancel run r9grid0 of bo?" in text_of(shown.app)


async def test_copies(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await _open(shown, pilot)
        assert _queue(shown).selected_id() == "r7f3a2k"
        assert _queue(shown).selected_command() == "hostler show r7f3a2k"
        await pilot.press("down", "down")
        assert _queue(shown).selected_command() == "hostler why r7f3a2k"
