"""Something that takes a while: its progress as text, what came of it, its errors in full."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button

from hostler.base.errors import HostlerError
from hostler.base.text import clean
from hostler.show.errors import error_lines
from hostler_tui.lines import Line, line, wrapped
from hostler_tui.widgets.modal import Modal
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.scroll_pane import ScrollPane

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


T = TypeVar("T")
Say = Callable[[str], object]


class WorkScreen(Modal[T | None], Generic[T]):
    """Does some work; ends with what came of it.

    `picture` turns that into lines to be looked at; then `yes` is the answer that goes on. Without
    it a success closes the screen. A failure stays until it was read, and ends with None.
    """

    app: LabApp

    DEFAULT_CSS = """
    WorkScreen { align: center middle; background: $background; }
    WorkScreen > Vertical { width: 100%; max-width: 140; height: auto; max-height: 100%;
                               border: solid $foreground; padding: 0 1; }
    WorkScreen ScrollPane { height: auto; }
    WorkScreen .answers { height: auto; align-horizontal: right; }
    WorkScreen Button { height: 1; min-width: 8; border: none; margin-left: 2; }
    WorkScreen Button:focus { text-style: reverse bold; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", show=False),
        Binding("left,up", "app.focus_previous", "previous", show=False),
        Binding("right,down", "app.focus_next", "next", show=False),
    ]

    def __init__(
        self,
        told: str,
        job: Callable[[Say], Awaitable[T]],
        *,
        picture: Callable[[T, int], Sequence[Line]] | None = None,
        yes: str = "",
        leave: str = "close",
    ) -> None:
        super().__init__()
        self.told, self.job, self.picture, self.yes, self.leave = told, job, picture, yes, leave
        self.progress: tuple[str, ...] = ()
        self.made: T | None = None

    def compose(self) -> ComposeResult:
        """What is done, what is said of it, answers."""
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
        """For the size that there is."""
        height = self.app.size.height
        told = wrapped(self.told, self._room, "", "title")
        shown = told[:2] if height < 20 else [*told, line("")]
        self.query_one("#told", Pane).show(shown)
        self.query_one("#output").styles.max_height = max(1, height - len(shown) - 3)

    @work(exclusive=True, group="work", exit_on_error=False)
    async def _work(self) -> None:
        try:
            made = await self.job(self._tell)
        except HostlerError as error:
            self._fail(error_lines(error))
        except OSError as error:
            self._fail([clean(str(error))])
        else:
            self._finish(made)

    def _tell(self, text: str) -> None:
        self.progress = (*self.progress, clean(text))
        self._show([part for said in self.progress for part in wrapped(said, self._room)])

    def _fail(self, said: Sequence[str]) -> None:
        self._show([part for text in said for part in wrapped(text, self._room, "", "bad")])
        self.query_one("#yes").display = False  # there is nothing to go on with

    def _finish(self, made: T) -> None:
        self.made = made
        if self.picture is None:
            self.dismiss(made)
            return
        self._show(self.picture(made, self._room))
        self.query_one("#yes", Button).disabled = False

    @property
    def _room(self) -> int:
        return max(20, min(136, self.app.size.width - 6))

    def _show(self, lines: Sequence[Line]) -> None:
        self.query_one("#output", ScrollPane).show(lines)

    @on(Button.Pressed)
    def answer(self, event: Button.Pressed) -> None:
        """Go on, or not."""
        self.dismiss(self.made if event.button.id == "yes" else None)

    def action_leave(self) -> None:
        """Escape: what is still at work is ended."""
        self.dismiss(None)
