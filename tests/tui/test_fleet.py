"""The fleet screen: what it says at every size, and what its keys do."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from hostler.base.table import cell_width
from hostler_tui.app import forget_closed
from hostler_tui.fleet import rows as fleet_rows
from hostler_tui.fleet.head import fits_line
from hostler_tui.fleet.order import Block
from hostler_tui.fleet.screen import FleetScreen
from hostler_tui.host.screen import HostScreen
from hostler_tui.lines import text_of as text_of_line
from hostler_tui.messages import DaemonLost
from hostler_tui.widgets.modal import Confirm, Sheet
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.table import Table
from tests.support.screens.madefleet import Shown, made_fleet, made_run
from tests.support.screens.pictures import check_picture
from tests.support.screens.screen import text_of, until, until_shown
from tests.support.values.fleets import NOW, fleet, host
from tests.support.values.hostile import found_in, poison

SIZES = [(40, 12), (80, 24), (120, 36), (160, 45), (200, 60)]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shown:
    return Shown(monkeypatch, tmp_path)


def _fleet_screen(shown: Shown) -> FleetScreen:
    screen = shown.app.screen
    assert isinstance(screen, FleetScreen)
    return screen


def _hosts(shown: Shown) -> list[str]:
    rows = _fleet_screen(shown).query_one("#hosts", Table).rows
    return [row.key.split("\t")[1] for row in rows if row.selectable]


@pytest.mark.parametrize(("columns", "rows"), SIZES)
async def test_the_picture(shown: Shown, columns: int, rows: int) -> None:
    async with shown.run(columns, rows) as pilot:
        await shown.see(pilot)
        await check_picture(pilot, f"fleet-{columns}x{rows}", lambda: text_of(shown.app))


async def test_a_stale_host_is_marked_with_its_age_and_nothing_of_it_counts_as_free(
    shown: Shown,
) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot, fleet(host("a", ".."), host("b", "..")))
        assert ". 4 free" in text_of(shown.app)
        await shown.see(pilot, fleet(host("a", ".."), host("b", "??", condition="unreachable",
                                                           age_s=65.0)))  # fmt: skip
        picture = text_of(shown.app)
        assert "b~" in picture
        assert "1m05s" in picture
        assert ". 2 free" in picture
        assert "? 2 unknown" in picture


async def test_the_cursor_stays_on_its_host_when_others_come_and_go_and_sizes_change(
    shown: Shown,
) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await pilot.press("down", "down")
        assert _fleet_screen(shown).picked == ("gpu-03", None)
        told = made_fleet()
        await shown.see(pilot, {**told, "hosts": [host("aaa", "...."), *told["hosts"]]})
        assert _fleet_screen(shown).picked == ("gpu-03", None)
        for size in ((160, 45), (40, 12), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            await shown.see(pilot)
            picked = _fleet_screen(shown).picked
            assert picked is not None
            assert picked[0] == "gpu-03", size


async def test_arrows_go_over_the_gpus_of_a_host_and_back_to_the_host(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await pilot.press("right")
        assert _fleet_screen(shown).picked == ("gpu-01", 0)
        assert "r7f3a2k llm-sft/train" in text_of(shown.app)
        await pilot.press("left", "left")
        assert _fleet_screen(shown).picked == ("gpu-01", 7)
        assert "mallory" in text_of(shown.app)
        await pilot.press("right")
        assert _fleet_screen(shown).picked == ("gpu-01", None)


async def test_a_small_screen_says_what_the_chosen_gpu_is(shown: Shown) -> None:
    async with shown.run(40, 12) as pilot:
        await shown.see(pilot)
        assert "foreign  carol" not in text_of(shown.app)
        await pilot.press(*["right"] * 6)
        await pilot.pause()
        assert " gpu-01:5  A100-80G  F foreign  carol" in text_of(shown.app)


async def test_equal_neighbours_share_a_row_and_x_folds_hosts(shown: Shown) -> None:
    async with shown.run(160, 45) as pilot:
        await shown.see(pilot)
        assert ":0-2" in text_of(shown.app)
        await pilot.press("x")
        assert ":0-2" not in text_of(shown.app)
        assert "L89 L89 L89" in text_of(shown.app)
        await pilot.press("x")
        assert ":0-2" in text_of(shown.app)


@pytest.mark.parametrize(
    ("letters", "said"),
    [
        (("....LL..", "L......."), " fits now:  7x80G yes (gpu-02)  8x80G no"),
        (("LLLLLLLL", "LLLLLLLL"), " fits now:  1x80G no"),
        (("........", "........"), " fits now:  8x80G yes (gpu-01)"),
        (("LL...LLL", "...LLLLL"), " fits now:  3x80G yes (gpu-01)  4x80G no"),
    ],
)
def test_the_most_that_one_host_can_give_is_told(letters: tuple[str, ...], said: str) -> None:
    hosts = [host(f"gpu-{n:02}", states) for n, states in enumerate(letters, 1)]
    assert text_of_line(fits_line(fleet(*hosts))).rstrip() == said


async def test_a_filter_shows_what_fits_and_says_so(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await pilot.press("slash", *"state=free free>=4", "enter")
        assert _hosts(shown) == ["gpu-02"]
        assert "/ state=free free>=4 1 of 6" in text_of(shown.app)
        await pilot.press("slash", "escape")
        assert len(_hosts(shown)) == 6


async def test_a_filter_chooses_hosts_or_gpus_as_they_are_listed(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await pilot.press("slash", *"state=idle", "enter")
        assert "i61 C15   2/8" in text_of(shown.app)
        await pilot.press("x")
        await pilot.pause()
        picture = text_of(shown.app)
        assert "gpu-01  2/8 free" in picture
        assert "i idle" in picture
        assert "F foreign" not in picture


async def test_the_host_without_gpus_is_found_by_its_condition(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await pilot.press("slash", *"gpus=0", "enter")
        assert _hosts(shown) == ["login"]


async def test_sorting_by_menu_and_by_the_next_column(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await pilot.press("o")
        await pilot.pause()
        await pilot.press("down", "down", "down", "enter")
        await pilot.pause()
        assert _fleet_screen(shown).order.sort == "free"
        assert _hosts(shown)[0] == "gpu-02"
        await pilot.press("less_than_sign", "less_than_sign")
        assert _fleet_screen(shown).order.sort == "name"
        await pilot.press("greater_than_sign")
        assert _fleet_screen(shown).order.sort == "model"


@pytest.mark.parametrize(
    ("times", "heading"),
    [(1, "-- A100-80G  2 of 12 free --"), (2, "-- ana  0 of 4 free --"), (3, "-- drained  0 of 4")],
)
async def test_groups_have_headings_with_what_is_free(
    shown: Shown, times: int, heading: str
) -> None:
    async with shown.run(120, 50) as pilot:
        await shown.see(pilot)
        await pilot.press(*["g"] * times)
        assert heading in text_of(shown.app)


async def test_an_empty_lab_says_what_to_do(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot, fleet())
        assert "hostler init" in text_of(shown.app)


async def test_what_is_copied(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str | None] = []
    async with shown.run(80, 24) as pilot:
        monkeypatch.setattr(shown.app, "copy_text", lambda text, what="": copied.append(text))
        await shown.see(pilot)
        await pilot.press("y", "right", "y", "Y")
        assert copied == ["gpu-01", "GPU-gpu-01-0", "hostler gpus --host gpu-01 -o wide"]


async def test_enter_opens_the_host_and_escape_comes_back(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(shown.app.screen, HostScreen), "no host screen")
        assert shown.app.screen.host_name == "gpu-02"  # type: ignore[attr-defined]
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(shown.app.screen, FleetScreen), "not back")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(shown.app.screen, HostScreen), "no host screen")
        await pilot.press("1")
        await until(pilot, lambda: isinstance(shown.app.screen, FleetScreen), "not back")


async def test_l_opens_the_run_and_stage_that_hold_the_gpu(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, ...]] = []
    async with shown.run(80, 24) as pilot:
        monkeypatch.setattr(shown.app, "open_run", lambda *held: opened.append(held))
        await shown.see(pilot)
        await pilot.press("right", "right", "l")
        assert opened == [("r7f3a2k", "train", "log")]
        await pilot.press("right", "right", "l")
        assert opened == [("r7f3a2k", "train", "log")]
        assert "select a GPU" in shown.app.lab.notices[0].text


async def test_the_screen_of_a_host_says_how_old_its_values_are(shown: Shown) -> None:
    async with shown.run(100, 30) as pilot:
        await shown.see(pilot)
        shown.app.open_host("gpu-05")
        await until_shown(pilot, "values are 3m04s old~")
        shown.app.open_host("gpu-02")
        await until_shown(pilot, "8 x H100-80G")
        assert "old~" not in text_of(shown.app)


async def test_paused_keeps_the_picture(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot, fleet(host("a", "..")))
        await pilot.press("p")
        await shown.see(pilot, fleet(host("b", "LL")))
        assert "PAUSED" in text_of(shown.app)
        assert ". 2 free" in text_of(shown.app)
        await pilot.press("p")
        await shown.see(pilot, fleet(host("b", "LL")))
        assert ". 0 free" in text_of(shown.app)


async def test_without_a_daemon_values_stay_with_a_banner_and_work_is_off(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained: list[Any] = []
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        monkeypatch.setattr(
            FleetScreen, "action_drain", lambda self: drained.append(self), raising=True
        )
        shown.app.post_message(DaemonLost("nothing listens", NOW - 41))
        await pilot.pause()
        shown.app._tick()
        await pilot.pause()
        picture = text_of(shown.app)
        assert "no daemon for 42s" in picture
        assert "OFFLINE 42s" in picture
        assert "gpu-02" in picture
        await pilot.press("D")
        assert not drained


async def test_old_values_are_marked_and_none_of_them_is_free(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shown.run(100, 30) as pilot:
        await shown.see(pilot, fleet(host("a", "..L"), host("b", "..")))
        assert ". 4 free" in text_of(shown.app)
        shown.app.post_message(DaemonLost("nothing listens", NOW + 1))
        monkeypatch.setattr("time.time", lambda: NOW + 65)
        await pilot.pause()
        shown.app._tick()
        await pilot.pause()
        picture = text_of(shown.app)
        assert ". 0 free" in picture
        assert "? 5 unknown" in picture
        assert "cannot tell" in picture
        assert "a~" in picture
        assert " ?   ?  L00" in picture
        rows = [line for line in picture.splitlines() if "a~" in line]
        assert rows[0].endswith(" 1m")


@pytest.mark.parametrize("columns", [80, 160])
async def test_once_the_daemon_is_away_nothing_is_free_not_for_a_second(
    shown: Shown, columns: int
) -> None:
    async with shown.run(columns, 30) as pilot:
        await shown.see(pilot, fleet(host("a", "..L"), host("b", "..")))
        assert ". 4 free" in text_of(shown.app)
        shown.app.post_message(DaemonLost("nothing listens", NOW + 1))
        await until_shown(pilot, "OFFLINE 0s")
        shown.app._tick()
        await pilot.pause()
        picture = text_of(shown.app)
        assert ". 0 free" in picture
        assert "? 5 unknown" in picture
        assert "x80G yes" not in picture
        assert "free:  A100-80G ?/5" in picture
        assert "?/3" in picture
        assert " ." not in "".join(row for row in picture.splitlines() if row[1:2] in "ab")
        await pilot.press("slash", *"state=free", "enter")
        assert _hosts(shown) == []
        await shown.see(pilot, fleet(host("a", "..L"), host("b", "..")))
        assert ". 4 free" in text_of(shown.app)


async def test_a_click_on_a_title_sorts_and_another_turns_it_round(shown: Shown) -> None:
    async with shown.run(120, 36) as pilot:
        await shown.see(pilot)
        head = next(line for line in text_of(shown.app).splitlines() if "HOST" in line)
        at = head.index("FREE")
        await pilot.click("#hosts", offset=(at, 0))
        await pilot.pause()
        assert _hosts(shown)[0] == "gpu-02"
        await pilot.click("#hosts", offset=(at, 0))
        await pilot.pause()
        assert _hosts(shown)[-1] == "gpu-02"
        await pilot.click("#hosts", offset=(2, 3))
        await pilot.pause()
        picked = _fleet_screen(shown).picked
        assert picked is not None
        assert picked[0] == _hosts(shown)[2]


@pytest.mark.parametrize(("columns", "rows"), SIZES)
async def test_hostile_names_reach_no_terminal_and_move_no_column(
    shown: Shown, columns: int, rows: int
) -> None:
    told = poison(made_fleet())
    async with shown.run(columns, rows) as pilot:
        await shown.see(pilot, told, poison(made_run()))
        for keys in (["right"], ["g"], ["x"], ["colon"], ["escape", "enter"]):
            await pilot.press(*keys)
            await pilot.pause()
            shown.app._tick()
            await pilot.pause()
            picture = text_of(shown.app)
            assert not found_in(picture.encode())
            assert all(cell_width(line) <= columns for line in picture.splitlines())


async def test_escape_twice_at_once_closes_one_sheet_and_no_main_screen(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        await pilot.press("o")
        sheet = shown.app.screen
        assert isinstance(sheet, Sheet)
        for _ in range(2):  # the second is under way before the first was heeded
            sheet.action_close()
        await until(pilot, lambda: isinstance(shown.app.screen, FleetScreen), "not back")
        await pilot.pause()
        assert shown.app.is_running
        assert shown.app.return_code in (None, 0)
        assert isinstance(shown.app.screen, FleetScreen)


async def test_nothing_is_left_of_a_screen_that_was_closed(shown: Shown) -> None:
    async with shown.run(160, 45) as pilot:
        await shown.see(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: len(shown.app.screen_stack) == 2, "no help")
        gone = [weakref.ref(w._styles_cache) for w in shown.app.screen.walk_children()]  # type: ignore[attr-defined]
        await pilot.press("escape")
        await until(pilot, lambda: len(shown.app.screen_stack) == 1, "not closed")

        def are_gone() -> bool:
            forget_closed()
            gc.collect()
            return not any(one() for one in gone)

        assert gone
        await until(pilot, are_gone, "it is remembered")


async def test_a_dialog_that_is_only_being_opened_is_closed_as_soon_as_it_is(shown: Shown) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        answers: list[bool | None] = []
        asks = Confirm("really?", [], "yes")
        shown.app.push_screen(asks, answers.append)
        asks.action_answer(False)
        await until(pilot, lambda: answers == [False], "not closed")
        await pilot.pause()
        assert shown.app.return_code in (None, 0)


async def test_a_main_screen_is_reached_from_a_dialog_that_is_only_being_opened(
    shown: Shown,
) -> None:
    async with shown.run(80, 24) as pilot:
        await shown.see(pilot)
        answers: list[bool | None] = []
        shown.app.push_screen(Confirm("really?", [], "yes"), answers.append)
        shown.app.action_go("fleet")
        await until(pilot, lambda: isinstance(shown.app.screen, FleetScreen), "not back")
        await pilot.pause()
        assert answers == [None]
        assert shown.app.return_code in (None, 0)


def _large(at: float = NOW, utilization: float = 50.0) -> dict[str, Any]:
    """Fifty hosts of eight GPUs (the first has six), none like its neighbour."""
    hosts = []
    for number in range(50):
        made = host(f"gpu-{number:02}", "L.L.L.L." if number else "L.L.L.")
        values = [{**g, "utilization": utilization, "since": NOW - 60} for g in made["gpus"]]
        hosts.append({**made, "gpus": values})
    return {**fleet(*hosts), "at": at}


async def test_only_the_rows_in_sight_are_made(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = fleet_rows._gpu_row_cells

    def cells(block: Block, *rest: Any) -> Any:
        made.append(block.name)
        return real(block, *rest)

    monkeypatch.setattr(fleet_rows, "_gpu_row_cells", cells)
    async with shown.run(160, 45) as pilot:
        await shown.see(pilot, _large())
        assert len(shown.app.screen.query_one("#hosts", Table).rows) == 448
        made.clear()
        await shown.see(pilot, _large(utilization=75.0))
        assert 20 < len(made) <= 45
        assert "75%" in text_of(shown.app)


async def test_ages_go_on_where_nothing_else_changed(shown: Shown) -> None:
    async with shown.run(160, 45) as pilot:
        await shown.see(pilot, _large())
        assert "1m" in text_of(shown.app)
        await shown.see(pilot, _large(at=NOW + 61))
        assert "2m01s" in text_of(shown.app)


async def test_neither_cursor_nor_news_lays_a_wide_screen_out_anew(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[int] = []
    async with shown.run(160, 45) as pilot:
        await shown.see(pilot, _large())
        await pilot.pause()
        screen = _fleet_screen(shown)
        screen.screen_layout_refresh_signal.subscribe(screen, lambda _: laid_out.append(1))
        panel = screen.query_one("#panel", Pane)
        before = len(panel.lines)
        await pilot.press("down")
        await until(pilot, lambda: len(panel.lines) != before, "the panel does not follow")
        alike = _large()
        for told in alike["hosts"][0]["gpus"]:
            told.update(state="leased", owners=["ana"], why="-")  # six rows become one
        await shown.see(pilot, alike)
        table = screen.query_one("#hosts", Table)
        assert len(table.rows) == 443
        assert table.virtual_size.height == table.vertical_scrollbar.window_virtual_size == 444
        assert not laid_out


async def test_lines_out_of_sight_are_forgotten(shown: Shown) -> None:
    async with shown.run(160, 45) as pilot:
        await shown.see(pilot, _large())
        table = shown.app.screen.query_one("#hosts", Table)
        for _ in range(12):
            await pilot.press("pagedown")
        assert len(table._strips) <= 2 * table.size.height + 60


async def test_the_whole_needs_few_css_sources(shown: Shown) -> None:
    async with shown.run(160, 45) as pilot:
        await shown.see(pilot)
        for keys in (["question_mark"], ["escape", "colon"], ["escape", "o"], ["escape", "D"],
                     ["escape", "enter"]):  # fmt: skip
            await pilot.press(*keys)
            await pilot.pause()
        assert len(shown.app.stylesheet.source) < 50
