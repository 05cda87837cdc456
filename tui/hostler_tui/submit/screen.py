"""The submit form: the steps of choosing a file, setting parameters, seeing the plan and running
it, and the sizes of their windows.

Nothing is submitted before the plan was shown and answered. Esc goes one step back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input

from hostler.base.errors import HostlerError
from hostler.base.text import clean
from hostler.client.submission import plan
from hostler.model.views.plans import PlanView
from hostler.show.errors import error_lines
from hostler_tui.lines import Line, line, wrapped
from hostler_tui.submit.pipeline_files import (
    changed,
    command_text,
    completed,
    entries,
    params_of,
    priority_of,
    run_args,
)
from hostler_tui.submit.plan_lines import plan_lines
from hostler_tui.table_rows import Head, Row
from hostler_tui.widgets.form import Field, Form
from hostler_tui.widgets.modal import Modal
from hostler_tui.widgets.pane import Pane, ScrollPane
from hostler_tui.widgets.table import Table
from hostler_tui.widgets.text_line import TextLine

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp
if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


PATH_MAX = 4096
"""Characters of a path: Linux's limit."""

T = TypeVar("T")
Say = Callable[[str], object]


class WorkScreen(Modal[T | None], Generic[T]):
    """Does some work; ends with what came of it.

    `picture` turns that into lines to show; then `yes` is the answer that continues. Without
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
        """The task, its messages, and the answers."""
        with Vertical():
            yield Pane(id="told")
            yield ScrollPane([line(("working ...", "dim"))], id="output")
            with Horizontal(classes="answers"):
                yield Button(self.leave, id="leave", compact=True)
                yield Button(self.yes or "go on", id="yes", compact=True, disabled=True)

    def on_mount(self) -> None:
        """Start the work."""
        self.query_one("#yes").display = bool(self.yes)
        self.query_one("#leave").focus()
        self._work()

    def on_resize(self) -> None:
        """The answers are always visible; output that does not fit scrolls."""
        self.draw_soon()

    def draw(self) -> None:
        """Draw for the present size."""
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
        self.query_one("#yes").display = False  # there is nothing to confirm

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
        """Continue, or not."""
        self.dismiss(self.made if event.button.id == "yes" else None)

    def action_leave(self) -> None:
        """Escape: stop the running work."""
        self.dismiss(None)


class FilePicker(Modal[Path | None]):
    """A folder's TOML files and folders, and a text field for a path."""

    app: LabApp

    DEFAULT_CSS = """
    FilePicker { align: center middle; background: $background; }
    FilePicker > Vertical { width: 100%; max-width: 100; height: 100%; max-height: 34;
                            border: solid $foreground; padding: 0 1; }
    FilePicker Input, FilePicker Input:focus { border: none; height: 1; padding: 0 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "leave", show=False),
        Binding("tab", "complete", "complete", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", "list", show=False),
    ]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def compose(self) -> ComposeResult:
        """The question, the path, the folder."""
        with Vertical():
            yield Pane([line(("Which pipeline?", "title"))])
            yield Pane([line(("ent opens   tab completes the path   esc cancels",
                              "dim"))])  # fmt: skip
            yield TextLine(placeholder="path of a pipeline file", id="path", most=PATH_MAX)
            yield Pane(id="amiss")
            yield Table((Head("NAME", 20, flex=True), Head("WHAT", 24, drop=1)), id="entries")

    def on_mount(self) -> None:
        """Show the folder, with its files first."""
        self.go_to(self.folder)
        self.query_one(Table).focus()

    def go_to(self, folder: Path) -> None:
        """List another folder."""
        try:
            found = entries(folder)
        except HostlerError as error:
            self._amiss(str(error))
            return
        self.folder = folder
        self._amiss("")
        self.query_one("#path", Input).value = f"{folder}/".replace("//", "/")
        self.query_one(Table).show([
            Row(str(one.path), (_name(one.path, one.is_folder, one.note), (one.note, "dim")))
            for one in found
        ], view=folder)  # fmt: skip

    @on(Table.Chosen)
    def choose(self, message: Table.Chosen) -> None:
        """Open a folder, or choose this file."""
        if message.key is not None:
            self._take(Path(message.key))

    @on(Input.Submitted)
    def take_typed(self, event: Input.Submitted) -> None:
        """Take the typed path."""
        self._take(Path(event.value).expanduser())

    def action_complete(self) -> None:
        """In the path: complete it. In the list: to the path."""
        typed = self.query_one("#path", Input)
        if self.focused is not typed:
            typed.focus()
            return
        typed.value = completed(typed.value)
        typed.cursor_position = len(typed.value)

    def action_leave(self) -> None:
        """Close without a choice."""
        self.dismiss(None)

    def _take(self, path: Path) -> None:
        if path.is_dir():
            self.go_to(path)
            self.query_one(Table).focus()
            return
        if not path.is_file():
            self._amiss(f"there is no file {path}")
            return
        self.dismiss(path)

    def _amiss(self, text: str) -> None:
        self.query_one("#amiss", Pane).show([line((text, "bad"))] if text else ())


def _name(path: Path, is_folder: bool, note: str) -> str:
    return "../" if note == "up" else f"{path.name}/" if is_folder else path.name


async def submit_pipeline(app: LabApp) -> str | None:
    """All steps; the id of the new run, or None if nothing was submitted."""
    return await with_chosen_file(app, _with_parameters)


async def with_chosen_file(
    app: LabApp, then: Callable[[LabApp, Path, Mapping[str, str]], Awaitable[T | None]]
) -> T | None:
    """Have a pipeline file chosen, and do with it and its parameters what follows: until that has a
    result, or the choice is left, with None."""
    folder = Path.cwd()
    while True:
        file = await app.push_screen_wait(FilePicker(folder))
        if file is None:
            return None
        folder = file.parent
        try:
            defaults = params_of(file)
        except HostlerError as error:
            app.tell_error(error)
            continue
        made = await then(app, file, defaults)
        if made is not None:
            return made


async def _with_parameters(app: LabApp, file: Path, defaults: Mapping[str, str]) -> str | None:
    """Parameters, plan and submission; None to go back to the files."""
    values: Mapping[str, str] = {**defaults, "--title": "", "--priority": "0"}
    while True:
        form = Form(
            f"Submit {file.name}",
            [f"from {file.parent}, which is sent if a stage uses a copy of the code"],
            [("plan", "show the plan")],
            fields=[Field(name, value, _help(name)) for name, value in values.items()],
            command=lambda of: Submission.of(file, defaults, of).told(),
            leave="back",
            is_safe=True,
        )
        answer = await app.push_screen_wait(form)
        if answer is None:
            return None
        values = answer.values
        run_id = await _plan_and_run(app, Submission.of(file, defaults, values))
        if run_id is not None:
            return run_id


@dataclass(frozen=True, slots=True)
class Submission:
    """The chosen file and the typed values."""

    file: Path
    params: Mapping[str, str]
    title: str
    priority: str

    @classmethod
    def of(cls, file: Path, defaults: Mapping[str, str], values: Mapping[str, str]) -> Submission:
        """From the fields of the form."""
        params = changed(defaults, values)
        return cls(file, params, values["--title"], values["--priority"])

    def told(self, *ends: str) -> str:
        """The same as a command."""
        return command_text(run_args(self.file, self.params, self.title, self.priority, ends))


async def _plan_and_run(app: LabApp, chosen: Submission) -> str | None:
    async def planned(say: Say) -> PlanView:
        priority = priority_of(chosen.priority)
        return await app.client.carry_out(plan(chosen.file, chosen.params, priority=priority))

    async def submitted(say: Say) -> str:
        run = await app.client.run(
            chosen.file, params=chosen.params, title=chosen.title,
            priority=priority_of(chosen.priority), say=say,
        )  # fmt: skip
        return run.id

    looked = await app.push_screen_wait(
        WorkScreen(
            f"Where it would go now: {chosen.told('--plan')}",
            planned,
            picture=plan_lines,
            yes="submit it",
            leave="back",
        )
    )
    if looked is None:
        return None
    return await app.push_screen_wait(WorkScreen(chosen.told(), submitted))


def _help(name: str) -> str:
    helps = {"--title": "a short title", "--priority": "0 or less"}
    return helps.get(name, "")
