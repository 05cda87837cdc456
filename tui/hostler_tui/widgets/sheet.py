"""Sheets over a screen: opaque, closed by Esc. A list to choose from, and a text to read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input

from hostler.base.text import clean
from hostler_tui.lines import Line, line
from hostler_tui.table_rows import Head, Row
from hostler_tui.widgets.modal import Modal
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.scroll_pane import ScrollPane
from hostler_tui.widgets.table import Table
from hostler_tui.widgets.text_line import TextLine

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp

WIDEST = 110
"""Cells; longer lines are hard to read."""


class Sheet(Modal[str | None]):
    """A title, a body, and what its keys do."""

    app: LabApp

    DEFAULT_CSS = """
    Sheet { align: center top; background: $background; }
    Sheet > Vertical { width: 100%; max-width: 112; height: 100%; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", show=False),
    ]

    def __init__(self, title: str, keys: str) -> None:
        super().__init__()
        self.heading, self.keys = title, keys

    def compose(self) -> ComposeResult:
        """Title, body, keys."""
        with Vertical():
            yield Pane([line((f" {self.heading}", "title"))], id="heading")
            yield from self.body()
            yield Pane([line((f" {self.keys}", "dim"))], id="sheet_keys")

    def body(self) -> Iterable[Widget]:
        """What is between title and keys."""
        return ()

    def action_close(self) -> None:
        """Nothing was chosen."""
        self.dismiss(None)


class Choice(Sheet):
    """One of several things; the key of the chosen row, or None."""

    def __init__(
        self, title: str, heads: Sequence[Head], rows: Sequence[Row], here: str | None = None
    ) -> None:
        super().__init__(title, "enter chooses   esc leaves it as it is")
        self._heads, self._rows, self._here = tuple(heads), tuple(rows), here

    def body(self) -> Iterable[Widget]:
        """The rows."""
        yield Table(self._heads, id="choices")

    def on_mount(self) -> None:
        """The cursor on what holds now."""
        table = self.query_one(Table)
        table.show(self._rows)
        if self._here is not None:
            table.put_cursor(self._here)
        table.focus()

    @on(Table.Chosen)
    def choose(self, message: Table.Chosen) -> None:
        """This one."""
        message.stop()
        self.dismiss(message.key)


class Ask(Sheet):
    """A text from the person; None where it was left."""

    def __init__(self, title: str, effects: Sequence[str], placeholder: str = "") -> None:
        super().__init__(title, "enter continues   esc cancels")
        self._effects, self._placeholder = tuple(effects), placeholder

    def body(self) -> Iterable[Widget]:
        """What it is for, and the text."""
        yield Pane([line(""), *(line(f"   {effect}") for effect in self._effects), line("")])
        yield TextLine(placeholder=self._placeholder, compact=True)
        yield Pane([line("")])

    def on_mount(self) -> None:
        """Ready to type."""
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def take(self, event: Input.Submitted) -> None:
        """This text."""
        event.stop()
        self.dismiss(clean(event.value).strip())


class Refused(Sheet):
    """What cannot be typed now. It takes the letters that come, so that none is a command."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "close", "close", show=False)]

    def __init__(self, why: str) -> None:
        super().__init__(why, "enter or esc goes back; other keys do nothing here")


class Reader(Sheet):
    """Lines to read, broken between words to the width that there is."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "close", "close", show=False)]

    def __init__(self, title: str, keys: str = "") -> None:
        super().__init__(title, keys or "arrows and PgUp PgDn move   esc closes")

    def text(self, width: int) -> Sequence[Line]:
        """What is read, for a width."""
        return ()

    def body(self) -> Iterable[Widget]:
        """The text."""
        yield ScrollPane(id="text")

    def on_mount(self) -> None:
        """The keys move the text."""
        self.query_one("#text").focus()

    def on_resize(self) -> None:
        """Broken anew."""
        self.query_one("#text", Pane).show(self.text(min(WIDEST, self.size.width - 1)))


def wrapped(text: str, width: int, indent: str = "", role: str = "") -> list[Line]:
    """A text as lines between whose words it is broken, indented from the second line on."""
    parts = textwrap.wrap(text, max(10, width), subsequent_indent=indent, break_on_hyphens=False)
    return [((part, role),) for part in parts] or [(("", ""),)]
