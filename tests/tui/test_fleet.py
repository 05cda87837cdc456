"""The fleet screen: what it says at every size, and what its keys do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostler.quick.table import cell_width
from hostler_tui.messages import DaemonLost
from hostler_tui.screens.fleet import FleetScreen
from hostler_tui.screens.host import HostScreen
from hostler_tui.widgets.table import Table
from tests.support.fleets import NOW, fleet, host
from tests.support.hostile import found_in, poison
from tests.support.madefleet import Shown, made_fleet, made_run
from tests.support.pictures import check_picture
from tests.support.screen import text_of, until, until_shown

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
        check_picture(f"fleet-{columns}x{rows}", text_of(shown.app))


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
    opened: list[tuple[str, str]] = []
    async with shown.run(80, 24) as pilot:
        monkeypatch.setattr(shown.app, "open_run", lambda *held: opened.append(held))
        await shown.see(pilot)
        await pilot.press("right", "right", "l")
        assert opened == [("r7f3a2k", "train")]
        await pilot.press("right", "right", "l")
        assert opened == [("r7f3a2k", "train")]
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
        assert " .   .  L00" in picture
        rows = [line for line in picture.splitlines() if "a~" in line]
        assert rows[0].endswith(" 1m")


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


async def test_the_whole_needs_few_css_sources(shown: Shown) -> None:
    async with shown.run(160, 45) as pilot:
        await shown.see(pilot)
        for keys in (["question_mark"], ["escape", "colon"], ["escape", "o"], ["escape", "D"],
                     ["escape", "enter"]):  # fmt: skip
            await pilot.press(*keys)
            await pilot.pause()
        assert len(shown.app.stylesheet.source) < 50
