"""Dialogs above a screen: confirmations with the safe answer focused (a word to type), lists to
choose from, texts to read, widths.

Their background is solid: under a translucent one every change below repaints the whole screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen, ScreenResultType
from textual.widget import Widget
from textual.widgets import Button, Input

from hostler.base.text import clean
from hostler_tui.lines import Line, line, wrapped
from hostler_tui.table_rows import Head, Row
from hostler_tui.widgets.pane import Pane, ScrollPane
from hostler_tui.widgets.table import Table
from hostler_tui.widgets.text_line import TextLine

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp
if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


_MOST_COMMAND = 3
"""Lines of a command that are always visible; a longer one scrolls with the effects."""

WIDEST = 110
"""Cells; longer lines are hard to read."""


class Modal(ModalScreen[ScreenResultType]):
    """A screen above others."""

    def draw_soon(self) -> None:
        """Draw once it is laid out, if it is still open then: a closed screen has no widgets."""
        self.call_after_refresh(self.draw_open)

    def draw_open(self) -> None:
        """Draw, unless it is closed."""
        if self in self.app.screen_stack:
            self.draw()

    def draw(self) -> None:
        """Fill the widgets for the present size."""

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Close it; where it is only being made, as soon as it is there: what is taken apart
        before has nothing to give the focus to, and that would end the app."""
        if self.is_mounted:
            return super().dismiss(result)
        self.call_later(self._dismiss_open, result)
        return AwaitComplete.nothing()  # type: ignore[no-untyped-call,no-any-return]

    def _dismiss_open(self, result: ScreenResultType | None) -> None:
        self.dismiss(result)  # nobody here may wait for it


class Confirm(Modal[bool]):
    """Asks, naming what would be lost and the same on the command line.

    `typed`: a word the person has to type (a count, a name) for what others would feel; without
    it the answer "no" has the focus, and "yes" is one arrow or Tab away.
    """

    app: LabApp

    DEFAULT_CSS = """
    Confirm { align: center middle; background: $background; }
    Confirm > Vertical { width: 72; max-width: 100%; height: auto; border: solid $foreground;
                         padding: 0 1; }
    Confirm ScrollPane { height: auto; }
    Confirm Horizontal { height: auto; align-horizontal: right; }
    Confirm Button { height: 1; min-width: 10; border: none; margin-left: 2; }
    Confirm Button:focus { text-style: reverse bold; }
    Confirm Input, Confirm Input:focus { border: none; height: 1; background: $surface; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "no", show=False),
        Binding("left,up", "app.focus_previous", "previous", show=False),
        Binding("right,down", "app.focus_next", "next", show=False),
    ]

    def __init__(
        self, question: str, effects: Sequence[str], yes: str, *, command: str = "", typed: str = ""
    ) -> None:
        super().__init__()
        self.question, self.effects, self.yes = question, tuple(effects), yes
        self.command, self.typed = command, typed

    def compose(self) -> ComposeResult:
        """Question, effects, answers."""
        with Vertical():
            yield Pane(id="question")
            yield ScrollPane(id="effects")
            yield Pane(id="same")
            if self.typed:
                yield TextLine(id="typed", compact=True)
            with Horizontal():
                yield Button("no, keep it", id="no", compact=True)
                yield Button(self.yes, id="yes", compact=True, disabled=bool(self.typed))

    def on_mount(self) -> None:
        """Focus the safe answer first; if a word has to be typed, the field."""
        self.set_focus(self.query_one("#typed" if self.typed else "#no"))

    def on_resize(self) -> None:
        """Question and answers are always visible; effects that do not fit scroll."""
        self.draw_soon()

    def draw(self) -> None:
        """Draw the question for the present size."""
        size = self.app.size
        width, gap = min(72, size.width) - 4, [line("")] if size.height >= 20 else []
        said = [part for text in self.effects for part in wrapped(text, width - 3, "  ")]
        command = wrapped(f"command: {self.command}", width - 3) if self.command else []
        same = [line(f"Type {self.typed} to confirm:")] if self.typed else []
        if len(command) > _MOST_COMMAND:
            said += [*gap, *command]
        else:
            same = [*command, *(gap if same else ()), *same]
        question, same = [*wrapped(self.question, width, "", "title"), *gap], [*gap, *same, *gap]
        effects = self.query_one("#effects", ScrollPane)
        around = len(question) + len(same) + (4 if self.typed else 3)
        effects.styles.max_height = max(2, size.height - around)
        effects.show(said)
        self.query_one("#question", Pane).show(question)
        self.query_one("#same", Pane).show(same)

    @on(Input.Changed)
    def enable_yes(self, event: Input.Changed) -> None:
        """Only the whole word enables the answer yes."""
        self.query_one("#yes", Button).disabled = event.value.strip() != self.typed

    @on(Input.Submitted)
    def go_to_no(self) -> None:
        """Enter alone never answers yes."""
        self.set_focus(self.query_one("#no"))

    @on(Button.Pressed)
    def close(self, event: Button.Pressed) -> None:
        """Close with one of the two answers."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """Escape changes nothing."""
        self.dismiss(yes)


class Sheet(Modal[str | None]):
    """A title, a body, and the meaning of its keys."""

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
        """The widgets between title and keys."""
        return ()

    def action_close(self) -> None:
        """Close without a choice."""
        self.dismiss(None)


class Choice(Sheet):
    """Choose one of several; the key of the chosen row, or None."""

    def __init__(
        self, title: str, heads: Sequence[Head], rows: Sequence[Row], here: str | None = None
    ) -> None:
        super().__init__(title, "enter chooses   esc cancels")
        self._heads, self._rows, self._here = tuple(heads), tuple(rows), here

    def body(self) -> Iterable[Widget]:
        """The rows."""
        yield Table(self._heads, id="choices")

    def on_mount(self) -> None:
        """The cursor starts on the present value."""
        table = self.query_one(Table)
        table.show(self._rows)
        if self._here is not None:
            table.put_cursor(self._here)
        table.focus()

    @on(Table.Chosen)
    def choose(self, message: Table.Chosen) -> None:
        """Choose this row."""
        message.stop()
        self.dismiss(message.key)


class Ask(Sheet):
    """A text from the user; None if the user cancels."""

    def __init__(self, title: str, effects: Sequence[str], placeholder: str = "") -> None:
        super().__init__(title, "enter continues   esc cancels")
        self._effects, self._placeholder = tuple(effects), placeholder

    def body(self) -> Iterable[Widget]:
        """The purpose, and the text."""
        yield Pane([line(""), *(line(f"   {effect}") for effect in self._effects), line("")])
        yield TextLine(placeholder=self._placeholder, compact=True)
        yield Pane([line("")])

    def on_mount(self) -> None:
        """Ready to type."""
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def take(self, event: Input.Submitted) -> None:
        """Take this text."""
        event.stop()
        self.dismiss(clean(event.value).strip())


class Refused(Sheet):
    """Shown when typing is not possible now. It takes the letters that arrive, so that none acts as
    a command."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "close", "close", show=False)]

    def __init__(self, why: str) -> None:
        super().__init__(why, "enter or esc goes back; no other keys work here")


class Reader(Sheet):
    """Lines to read, wrapped between words at the present width."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "close", "close", show=False)]

    def __init__(self, title: str, keys: str = "") -> None:
        super().__init__(title, keys or "arrows and PgUp PgDn move   esc closes")

    def text(self, width: int) -> Sequence[Line]:
        """The text, for a width."""
        return ()

    def body(self) -> Iterable[Widget]:
        """The text."""
        yield ScrollPane(id="text")

    def on_mount(self) -> None:
        """The keys scroll the text."""
        self.query_one("#text").focus()

    def on_resize(self) -> None:
        """Wrap the lines again."""
        self.query_one("#text", Pane).show(self.text(min(WIDEST, self.size.width - 1)))
