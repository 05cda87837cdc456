"""Hostler's command line at work: its command, its progress as text, its errors in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button

from hostler_tui.lines import Line, line, wrapped
from hostler_tui.submit.commandline import Ended, command_text, run_command
from hostler_tui.widgets.modal import Modal
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.scroll_pane import ScrollPane

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


class CommandScreen(Modal[Ended | None]):
    """Runs a command; ends with what it said once it has succeeded.

    `picture` turns a success into lines to be looked at; then `yes` is the answer that goes on.
    Without it a success closes the screen. A failure stays until it was read, and ends with None.
    """

    app: LabApp

    DEFAULT_CSS = """
    CommandScreen { align: center middle; background: $background; }
    CommandScreen > Vertical { width: 100%; max-width: 140; height: auto; max-height: 100%;
                               border: solid $foreground; padding: 0 1; }
    CommandScreen ScrollPane { height: auto; }
    CommandScreen .answers { height: auto; align-horizontal: right; }
    CommandScreen Button { height: 1; min-width: 8; border: none; margin-left: 2; }
    CommandScreen Button:focus { text-style: reverse bold; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", show=False),
        Binding("left,up", "app.focus_previous", "previous", show=False),
        Binding("right,down", "app.focus_next", "next", show=False),
    ]

    def __init__(
        self,
        args: Sequence[str],
        *,
        told: str = "",
        picture: Callable[[Ended, int], Sequence[Line]] | None = None,
        yes: str = "",
        leave: str = "close",
    ) -> None:
        super().__init__()
        self.args, self.picture, self.yes, self.leave = tuple(args), picture, yes, leave
        self.told = told or command_text(args)
        self.progress: tuple[str, ...] = ()
        self.ended: Ended | None = None

    def compose(self) -> ComposeResult:
        """The command, what it says, answers."""
        with Vertical():
            yield Pane(id="told")
            yield ScrollPane([line(("working ...", "dim"))], id="output")
            with Horizontal(classes="answers"):
                yield Button(self.leave, id="leave", compact=True)
                yield Button(self.yes or "go on", id="yes", compact=True, disabled=True)

    def on_mount(self) -> None:
        """Begin."""
        self.query_one("#yes").display = bool(self.yes)
        self.query_one("#leave").focus()
        self._work()

    def on_resize(self) -> None:
        """The answers are always in sight; output that has no room scrolls."""
        self.draw_soon()

    def draw(self) -> None:
        """The command, for the size that there is."""
        height = self.app.size.height
        told = wrapped(self.told, self._room, "", "title")
        shown = told[:2] if height < 20 else [*told, line("")]
        self.query_one("#told", Pane).show(shown)
        self.query_one("#output").styles.max_height = max(1, height - len(shown) - 3)

    @work(exclusive=True, group="command", exit_on_error=False)
    async def _work(self) -> None:
        self._finish(await run_command(self.args, self.app.client.found.path, self._tell))

    def _tell(self, text: str) -> None:
        self.progress = (*self.progress, text)
        self._show([part for said in self.progress for part in wrapped(said, self._room)])

    def _finish(self, ended: Ended) -> None:
        if ended.code != 0:
            said = [*ended.errors, *ended.out.splitlines()] or [f"it ended with code {ended.code}"]
            self._show([part for text in said for part in wrapped(text, self._room, "", "bad")])
            self.query_one("#yes").display = False  # there is nothing to go on with
            return
        self.ended = ended
        if self.picture is None:
            self.dismiss(ended)
            return
        self._show(self.picture(ended, self._room))
        self.query_one("#yes", Button).disabled = False

    @property
    def _room(self) -> int:
        return max(20, min(136, self.app.size.width - 6))

    def _show(self, lines: Sequence[Line]) -> None:
        self.query_one("#output", ScrollPane).show(lines)

    @on(Button.Pressed)
    def answer(self, event: Button.Pressed) -> None:
        """Go on, or not."""
        self.dismiss(self.ended if event.button.id == "yes" else None)

    def action_leave(self) -> None:
        """Escape: what is still at work is ended."""
        self.dismiss(None)
