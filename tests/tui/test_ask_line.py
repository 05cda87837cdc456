"""The row in which a filter is typed."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult

from hostler_tui.app import HostlerApp
from hostler_tui.filtering import Filter
from hostler_tui.table_rows import Head
from hostler_tui.widgets.ask_line import AskLine
from hostler_tui.widgets.lab_screen import LabScreen
from hostler_tui.widgets.table import Table
from tests.support.screens.screen import no_daemon, text_of


class _Asking(LabScreen):
    NAME = "asking"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Filter] = []

    def compose(self) -> ComposeResult:
        yield Table([Head("A", 4)])
        yield AskLine(("state", "free"))

    def draw(self) -> None:
        """Nothing."""

    @on(AskLine.Changed)
    def note(self, message: AskLine.Changed) -> None:
        self.seen.append(message.filter)


async def test_a_filter_works_while_it_is_typed_is_kept_cleared_and_recalled() -> None:
    app = HostlerApp(find=no_daemon)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = _Asking()
        await app.push_screen(screen)
        await pilot.pause()
        asked, table = screen.query_one(AskLine), screen.query_one(Table)
        table.focus()
        await pilot.pause()
        asked.open()
        await pilot.press(*"free>=2", "enter")
        assert asked.filter.text == "free>=2"
        assert not asked.display
        assert screen.focused is table
        assert [f.text for f in screen.seen][-1] == "free>=2"

        asked.open()
        await pilot.press("escape")
        assert not asked.filter
        assert not asked.display

        asked.open()
        await pilot.press("up")
        assert asked.filter.text == "free>=2"
        await pilot.press("down")
        assert not asked.filter


async def test_what_cannot_be_read_is_told_with_its_column_and_not_kept() -> None:
    app = HostlerApp(find=no_daemon)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = _Asking()
        await app.push_screen(screen)
        await pilot.pause()
        screen.query_one(AskLine).open()
        await pilot.press(*"x stat=1", "enter")
        await pilot.pause()
        assert " / x stat=1" in text_of(app)
        assert "column 3: no field 'stat'" in text_of(app)
        assert screen.query_one(AskLine).display
        assert screen.query_one(AskLine).filter.text == "x stat"
