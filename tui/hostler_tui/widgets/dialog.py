"""Questions before something that cannot be undone. The safe answer has the focus.

A dialog is opaque: under a translucent one every change below repaints the whole screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input

from hostler_tui.lines import line, wrapped
from hostler_tui.widgets.modal import Modal
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.scroll_pane import ScrollPane
from hostler_tui.widgets.text_line import TextLine

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


_MOST_COMMAND = 3
"""Lines of a command that are always in sight; a longer one scrolls with the effects."""


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
        """The safe answer first; where a word is to be typed, the field."""
        self.set_focus(self.query_one("#typed" if self.typed else "#no"))

    def on_resize(self) -> None:
        """Question and answers are always in sight; effects that have no room scroll."""
        self.draw_soon()

    def draw(self) -> None:
        """What is asked, for the size that there is."""
        size = self.app.size
        width, gap = min(72, size.width) - 4, [line("")] if size.height >= 20 else []
        said = [part for text in self.effects for part in wrapped(text, width - 3, "  ")]
        command = wrapped(f"the same: {self.command}", width - 3) if self.command else []
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
        """Only the whole word opens the way."""
        self.query_one("#yes", Button).disabled = event.value.strip() != self.typed

    @on(Input.Submitted)
    def go_to_no(self) -> None:
        """Enter never answers yes by itself."""
        self.set_focus(self.query_one("#no"))

    @on(Button.Pressed)
    def close(self, event: Button.Pressed) -> None:
        """One of the two answers."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """Escape leaves everything as it is."""
        self.dismiss(yes)
