"""The filter input row: applied at once, Enter keeps it, Esc clears it, arrows recall earlier
ones; how many are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Unpack

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from hostler.base.terms import TermError
from hostler.base.text import clean
from hostler_tui.filtering import Filter, parse
from hostler_tui.lines import line
from hostler_tui.widgets.options import WidgetOptions
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.text_line import TextLine, is_latest

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp

REMEMBERED = 50


class AskLine(Vertical):
    """Hidden until `open`. Posts `Changed` for every valid text."""

    app: LabApp

    DEFAULT_CSS = """
    AskLine { height: auto; display: none; }
    AskLine Input { width: 1fr; background: transparent; }
    AskLine Horizontal { height: 1; }
    AskLine #prompt { width: 3; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "clear", show=False),
        Binding("up", "recall(-1)", "earlier", show=False),
        Binding("down", "recall(1)", "later", show=False),
    ]

    class Changed(Message):
        """The filter changed."""

        def __init__(self, filter: Filter) -> None:
            super().__init__()
            self.filter = filter

    def __init__(self, fields: Sequence[str], **options: Unpack[WidgetOptions]) -> None:
        super().__init__(**options)
        self.fields = tuple(fields)
        """The fields that `field op value` may name."""
        self.filter = Filter()
        self._kept: list[str] = []
        self._at = 0
        self._before: Widget | None = None

    def compose(self) -> ComposeResult:
        """The text, and below it the error."""
        hint = "words, or field=value: " + " ".join(self.fields)
        typed = TextLine(placeholder=hint, id="asked", compact=True)
        with Horizontal():
            yield Pane([line((" / ", "key"))], id="prompt")
            yield typed
        yield Pane(id="amiss")

    def open(self) -> None:
        """Show it with the present filter."""
        self._before = self.screen.focused
        self._at = len(self._kept)
        self.display = True
        typed = self.query_one(Input)
        typed.value = self.filter.text
        self.screen.set_focus(typed)  # at once: the next key is for it

    @on(Input.Changed)
    def try_it(self, event: Input.Changed) -> None:
        """Every valid text takes effect; an invalid one shows the position of the error."""
        event.stop()
        if not self.display or not is_latest(event):
            return
        try:
            self._use(parse(clean(event.value), self.fields))
            self.query_one("#amiss", Pane).show(())
        except TermError as error:
            self.query_one("#amiss", Pane).show([line((f" {error}", "warn"))])

    @on(Input.Submitted)
    def keep(self, event: Input.Submitted) -> None:
        """Enter: the filter stays, if it is valid."""
        event.stop()
        try:
            self._use(parse(clean(event.value), self.fields))
        except TermError:
            return
        if self.filter and self.filter.text not in self._kept[-1:]:
            self._kept = [*self._kept[1 - REMEMBERED :], self.filter.text]
        self._close()

    def action_clear(self) -> None:
        """Esc: show everything again."""
        self._use(Filter())
        self._close()

    def action_recall(self, by: int) -> None:
        """Show an earlier filter; below the latest, an empty row."""
        self._at = max(0, min(len(self._kept), self._at + by))
        typed = self.query_one(Input)
        typed.value = self._kept[self._at] if self._at < len(self._kept) else ""
        typed.cursor_position = len(typed.value)

    def _use(self, filter: Filter) -> None:
        if filter != self.filter:
            self.filter = filter
            self.post_message(self.Changed(filter))

    def _close(self) -> None:
        self.query_one("#amiss", Pane).show(())
        self.display = False
        if self._before is not None and self._before.is_attached:
            self.screen.set_focus(self._before)
