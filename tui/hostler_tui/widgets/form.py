"""The widget of forms: fields, the expected effects, the equivalent command, answers, what Enter
does.

Enter goes from field to field and never answers by itself, unless the answer changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Input

from hostler_tui.lines import Line, line, wrapped
from hostler_tui.widgets.modal import Modal
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.text_line import TextLine, is_latest

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


MOST = 4000
"""The most characters of a field: parameters may be long."""


@dataclass(frozen=True, slots=True)
class Field:
    """One input field."""

    name: str
    value: str = ""
    help: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The pressed button, and the contents of the fields."""

    button: str
    values: Mapping[str, str]


class Form(Modal[Answer | None]):
    """Asks for values. The result is None if the user cancels."""

    app: LabApp

    DEFAULT_CSS = """
    Form { align: center middle; background: $background; }
    Form > Vertical { width: 90%; max-width: 100; height: auto; max-height: 100%;
                      border: solid $foreground; padding: 0 1; }
    Form VerticalScroll { height: auto; }
    Form .field { height: 1; }
    Form .field Pane { width: 24; }
    Form Input, Form Input:focus { border: none; height: 1; padding: 0 1; width: 1fr; }
    Form Input:focus { background: $surface-lighten-2; }
    Form .answers { height: auto; align-horizontal: right; }
    Form Button { height: 1; min-width: 8; border: none; margin-left: 2; }
    Form Button:focus { text-style: reverse bold; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", show=False),
        Binding("enter", "go_on", "go on", show=False, priority=True),
        Binding("up", "app.focus_previous", "previous", show=False),
        Binding("down", "app.focus_next", "next", show=False),
    ]

    def __init__(
        self,
        title: str,
        said: Sequence[str],
        answers: Sequence[tuple[str, str]],
        *,
        fields: Sequence[Field] = (),
        command: Callable[[Mapping[str, str]], str] | None = None,
        leave: str = "no, leave it",
        is_safe: bool = False,
    ) -> None:
        super().__init__()
        self.title_text, self.said, self.answers = title, tuple(said), tuple(answers)
        self.fields, self.command, self.leave = tuple(fields), command, leave
        self.is_safe = is_safe
        """Answering changes nothing yet: Enter after the last field may do it."""

    def compose(self) -> ComposeResult:
        """Title, fields, the command, answers."""
        with Vertical():
            yield Pane(id="said")
            if self.fields:
                with VerticalScroll():
                    for number, field in enumerate(self.fields):
                        with Horizontal(classes="field"):
                            yield Pane([line((f"{field.name} ", "title"))])
                            yield TextLine(
                                field.value, placeholder=field.help, id=f"field-{number}", most=MOST
                            )
            yield Pane(id="command")
            with Horizontal(classes="answers"):
                yield Button(self.leave, id="leave", compact=True)
                for name, label in self.answers:
                    yield Button(label, id=f"answer-{name}", compact=True)

    def on_mount(self) -> None:
        """Focus the first field, or the safe answer."""
        self.set_focus(self.query_one("#field-0" if self.fields else "#leave"))

    def on_resize(self) -> None:
        """Answers are always visible; fields that do not fit scroll."""
        self.draw_soon()

    def draw(self) -> None:
        """Draw the question and the command for the present size."""
        head, command = self._head(), self._command()
        self.query_one("#said", Pane).show(head)
        self.query_one("#command", Pane).show(command)
        for fields in self.query(VerticalScroll):
            room = self.app.size.height - len(head) - len(command) - 3
            fields.styles.max_height = max(1, room)

    @property
    def _is_short(self) -> bool:
        return self.app.size.height < 20

    @property
    def values(self) -> dict[str, str]:
        """The contents of the fields."""
        return {
            field.name: self.query_one(f"#field-{number}", Input).value
            for number, field in enumerate(self.fields)
        }

    @property
    def _room(self) -> int:
        return min(100, self.app.size.width * 9 // 10) - 5

    def _head(self) -> list[Line]:
        lines = wrapped(self.title_text, self._room, "", "title")
        if self._is_short and self.fields:
            return lines
        said = [part for text in self.said for part in wrapped(text, self._room, " ")]
        return [*lines, *said] if self._is_short else [*lines, line(""), *said, line("")]

    def _command(self) -> list[Line]:
        if self.command is None:
            return []
        lines = wrapped(f"command: {self.command(self.values)}", self._room)
        return lines[:2] if self._is_short else [line(""), *lines, line("")]

    @on(Input.Changed)
    def tell_command(self, event: Input.Changed) -> None:
        """Show the command with the present contents of the fields."""
        if is_latest(event):
            self.draw_open()

    def action_go_on(self) -> None:
        """From a field to the next, after the last to the answer that is safe; a button is pressed.

        It has priority, so that keys that come close behind meet the next field.
        """
        if isinstance(self.focused, Button):
            self.focused.press()
            return
        number = int((self.focused.id if self.focused and self.focused.id else "-0").split("-")[1])
        if number + 1 < len(self.fields):
            self.set_focus(self.query_one(f"#field-{number + 1}"))
        else:
            last = f"#answer-{self.answers[0][0]}" if self.is_safe else "#leave"
            self.set_focus(self.query_one(last))

    @on(Button.Pressed)
    def answer(self, event: Button.Pressed) -> None:
        """One of the answers."""
        name = event.button.id or ""
        if name == "leave":
            self.dismiss(None)
        else:
            self.dismiss(Answer(name.removeprefix("answer-"), self.values))

    def action_leave(self) -> None:
        """Escape changes nothing."""
        self.dismiss(None)
