"""What people do with a log on the screen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widget import Widget

from hostler.quick.socket import Found
from hostler_tui.app import HostlerApp
from hostler_tui.log import spool as log_spool
from hostler_tui.log.view import LogView
from hostler_tui.widgets.lab_screen import LabScreen
from tests.support.daemons.stored_log import StoredLog
from tests.support.screens.screen import text_of, until, until_shown


class LogScreen(LabScreen):
    NAME = "log"

    def body(self) -> Iterable[Widget]:
        yield LogView()


class LogApp(HostlerApp):
    MAIN_SCREENS = {"log": LogScreen}  # noqa: RUF012
    DEFAULT_MODE = "log"

    def __init__(self, log: StoredLog) -> None:
        super().__init__(find=lambda: Found("/nowhere", "flag"))
        self.log_of_test = log
        self.copied: list[str] = []

    @property
    def client(self) -> Any:
        return self.log_of_test

    @property
    def view(self) -> LogView:
        return self.screen.query_one(LogView)

    def copy_text(self, text: str | None, what: str = "") -> None:
        self.copied.append(text or "")


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(log_spool, "BATCH_S", 0.01)
    monkeypatch.setattr(log_spool, "RETRY_S", 0.02)


def numbered(count: int, begin: int = 0) -> bytes:
    return b"".join(b"line %d of many\n" % n for n in range(begin, begin + count))


async def opened(pilot: Pilot[int], app: LogApp, lines: int | None = None) -> LogView:
    """The view, once it shows the end of the log."""
    app.view.open("r1", "train")
    app.view.focus()
    count = app.log_of_test.data.count(b"\n") if lines is None else lines
    await until(pilot, lambda: app.view.count == count, "not all lines are here")
    await pilot.pause()
    return app.view


def shown(app: LogApp) -> list[str]:
    """The rows of the log on the screen."""
    return text_of(app).splitlines()[4:-1]


async def test_it_shows_the_end_and_follows() -> None:
    app = LogApp(StoredLog(numbered(1000)))
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app)
        assert "line 999 of many" in text_of(app)
        app.log_of_test.grow(b"one more\n")
        await until_shown(pilot, ">one more")
        assert "1,001 lines" in text_of(app)
        assert "follow ON" in text_of(app)
        app.log_of_test.end()
        await until_shown(pilot, "ended")


async def test_scrolling_up_ends_the_following_until_the_end_is_asked_for() -> None:
    app = LogApp(StoredLog(numbered(1000)))
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app)
        await pilot.press("up", "up")
        before = shown(app)
        app.log_of_test.grow(numbered(50, 1000))
        await until_shown(pilot, "of 1,050")
        assert shown(app) == before
        assert "line 998 of" in text_of(app)
        assert "follow off" in text_of(app)
        await pilot.press("end")
        await until_shown(pilot, ">line 1049")
        await pilot.press("f")
        assert "follow off" in text_of(app)
        await pilot.press("f")
        app.log_of_test.grow(b"again\n")
        await until_shown(pilot, ">again")


async def test_the_tail_comes_first_and_the_cursor_stays_on_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_spool, "TAIL", 400)
    monkeypatch.setattr(log_spool, "PIECE", 1000)
    app = LogApp(StoredLog(numbered(2000), page=300))
    async with app.run_test(size=(80, 24)) as pilot:
        view = await opened(pilot, app)
        asked = app.log_of_test.asked
        assert asked[0]["length"] == 0
        assert asked[1]["offset"] == len(app.log_of_test.data) - 400
        assert all(one["attempt"] == 2 for one in asked[1:])
        await pilot.press("home")
        await until_shown(pilot, ">line 0 of")
        await pilot.press("pagedown")
        assert view.cursor_line == view._top[0]
        await pilot.press("pageup", "end")
        await until_shown(pilot, ">line 1999")


async def test_what_is_read_stays_where_it_is_when_the_rest_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_spool, "TAIL", 1000)
    app = LogApp(StoredLog(numbered(2000)))
    app.log_of_test.gate.clear()
    async with app.run_test(size=(80, 24)) as pilot:
        app.view.open("r1", "train")
        app.view.focus()
        await until_shown(pilot, "fetching 0%")
        await pilot.press("slash", *"line 197.", "enter")
        await until_shown(pilot, "10 of 10")
        await pilot.press("up", "up")
        before = shown(app)
        app.log_of_test.gate.set()
        await until_shown(pilot, "line 1,978 of 2,000")
        assert shown(app)[:-1] == before[:-1]
        assert ">line 1977 of many" in before
        await pilot.press("n")
        await until_shown(pilot, "10 of 11")  # line 197 too


async def test_search_goes_to_the_last_match_and_round() -> None:
    app = LogApp(StoredLog(numbered(3000)))
    async with app.run_test(size=(80, 24)) as pilot:
        view = await opened(pilot, app)
        await pilot.press("slash", *"LINE 77", "enter")
        await until_shown(pilot, "no match")
        await pilot.press("escape", "end", "slash", *"line 77", "enter")
        await until_shown(pilot, "11 of 11")
        assert view.cursor_line == 779
        await pilot.press("n")
        assert view.cursor_line == 77
        await pilot.press("N", "N")
        assert view.cursor_line == 778
        app.log_of_test.grow(b"line 77 again\n")
        await until_shown(pilot, "10 of 12")
        await pilot.press("escape")
        assert view.hits is None


async def test_keys_that_come_at_once_are_typed_not_done() -> None:
    app = LogApp(StoredLog(numbered(30)))
    async with app.run_test(size=(80, 24)) as pilot:
        view = await opened(pilot, app)
        await pilot.press("slash", "p", "w", "q")
        assert not view.is_paused
        assert not view.is_wrapped
        assert "/pwq" in text_of(app)
        await pilot.press("escape")
        assert view.typing is None
        assert view.hits is None
        await pilot.press("slash", "up", "a", "enter", "slash", "up")
        assert "/a" in text_of(app)


async def test_only_matches_also_those_that_come() -> None:
    app = LogApp(StoredLog(numbered(500)))
    async with app.run_test(size=(80, 24)) as pilot:
        view = await opened(pilot, app)
        await pilot.press("ampersand", *"line 4.9", "enter")
        await until(pilot, lambda: view.count == 10, "not filtered")
        assert next(row for row in shown(app) if "line" in row).strip("> ") == "line 409 of many"
        await pilot.press("end")
        app.log_of_test.grow(b"nothing\nline 4x9\n")
        await until_shown(pilot, ">line 4x9")
        assert "nothing" not in text_of(app)
        await pilot.press("ampersand")
        assert view.cursor_line == 501
        assert "nothing" in text_of(app)
        await pilot.press("ampersand", "escape")
        assert not view.only_matches


async def test_pause_freezes_and_the_rest_is_kept() -> None:
    app = LogApp(StoredLog(numbered(100)))
    async with app.run_test(size=(80, 24)) as pilot:
        view = await opened(pilot, app)
        await pilot.press("p")
        before = shown(app)
        app.log_of_test.grow(b"later\n")
        await until(pilot, lambda: view.count == 101, "it is not fetched")
        assert shown(app) == before
        assert "PAUSED" in text_of(app)
        await pilot.press("p")
        assert ">later" in text_of(app)


async def test_wrap_and_sideways() -> None:
    long = b"begin " + b"0123456789" * 30 + b" finish\n"
    app = LogApp(StoredLog(numbered(50) + long * 3))
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app)
        assert "finish" not in text_of(app)
        await pilot.press("w")
        assert text_of(app).count("finish") == 3
        await pilot.press("up", "up", "up", "home", "w")
        await pilot.press("end", *["right"] * 15)
        assert "finish" in text_of(app)
        await pilot.press(*["left"] * 15)
        assert "begin" in text_of(app)


async def test_a_wrapped_line_longer_than_the_screen_can_be_read_row_by_row() -> None:
    app = LogApp(StoredLog(b"first\n" + b"x" * 3000 + b"END\nlast\n"))
    async with app.run_test(size=(40, 12)) as pilot:
        view = await opened(pilot, app)
        await pilot.press("w", "home", "down", "down")
        seen = set()
        for _ in range(120):
            seen.add(view._rows()[0])
            await pilot.press("down")
        assert view.cursor_line == 2
        assert len({row for line, row in seen if line == 1}) > 60


async def test_copying_a_line_and_a_range_without_colours() -> None:
    app = LogApp(StoredLog(b"a\n\x1b[31mb\x1b[0m\nc\n"))
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app)
        await pilot.press("y", "V", "up", "up", "y")
        assert app.copied == ["c", "a\nb\nc"]
        await pilot.press("V", "escape", "y")
        assert app.copied[-1] == "a"


async def test_saving_asks_where_and_says_where(tmp_path: Path) -> None:
    data = numbered(1000)
    app = LogApp(StoredLog(data))
    async with app.run_test(size=(100, 24)) as pilot:
        view = await opened(pilot, app)
        await pilot.press("S")
        assert view.typing is not None
        assert view.typing.text.endswith("/r1.train.log")
        await pilot.press("ctrl+u", *f"{tmp_path}/x.log", "enter")
        await until(pilot, lambda: bool(app.lab.notices), "nothing is said")
        assert app.lab.notices[0].text == f"saved 16.5 KiB to {tmp_path}/x.log"
        assert (tmp_path / "x.log").read_bytes() == data


async def test_a_daemon_that_goes_and_comes_costs_no_byte() -> None:
    app = LogApp(StoredLog(numbered(10)))
    async with app.run_test(size=(80, 24)) as pilot:
        view = await opened(pilot, app)
        app.log_of_test.cut()
        await until_shown(pilot, "no daemon")
        app.log_of_test.is_away = False
        app.log_of_test.grow(numbered(10, 10))
        await until(pilot, lambda: view.count == 20, "it does not go on")
        await until_shown(pilot, "live")
        assert view.spool is not None
        assert view.spool.read(0, 10_000) == numbered(20)


async def test_a_stage_that_has_not_started_says_so_until_it_has() -> None:
    log = StoredLog()
    log.is_missing = True
    app = LogApp(log)
    async with app.run_test(size=(80, 24)) as pilot:
        app.view.open("r1", "train")
        await until_shown(pilot, "has not started, so it has no log")
        log.is_missing = False
        await until_shown(pilot, "nothing was written yet")
        log.grow(b"hello\n")
        await until_shown(pilot, "hello")


async def test_another_log_in_its_place_and_nothing_left_behind() -> None:
    app = LogApp(StoredLog(numbered(100)))
    async with app.run_test(size=(80, 24)) as pilot:
        view = await opened(pilot, app)
        first = view.spool
        await pilot.press("slash", "9", "enter", "w", "home")
        app.log_of_test.data = b"other\n"
        view.open("r1", "eval")
        await until_shown(pilot, "other")
        assert first is not None
        assert first.read(0, 10) == b""
        assert view.hits is None
        assert "LOG eval" in text_of(app)
        second = view.spool
    assert second is not None
    assert second.read(0, 10) == b""


async def test_nothing_hostile_comes_through() -> None:
    evil = b"\x1b]52;c;UFdO\x07[/red] \x1b[2J\x1b[31mok\x1b[0m\x07 \xe2\x80\xaegnp.exe\n"
    app = LogApp(StoredLog(evil))
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app)
        assert ">[/red] ok␇ �gnp.exe" in text_of(app)
        assert "\x1b" not in text_of(app)


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (160, 45), (200, 60)])
async def test_it_fits_every_size(size: tuple[int, int]) -> None:
    app = LogApp(StoredLog(numbered(1000)))
    async with app.run_test(size=size) as pilot:
        await opened(pilot, app)
        picture = text_of(app)
        assert ">line 999" in picture
        assert "LOG train" in picture
        assert all(len(row) <= size[0] for row in picture.splitlines())


async def test_the_tick_may_come_while_a_screen_is_not_whole() -> None:
    app = LogApp(StoredLog())
    async with app.run_test(size=(80, 24)) as pilot:
        screen = app.screen
        assert isinstance(screen, LogScreen)
        await screen.query("#foot").remove()
        screen.draw()
        assert not screen.is_whole
        await pilot.pause()
