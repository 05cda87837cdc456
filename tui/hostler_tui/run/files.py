"""The files sheet of a run: mark, download with progress, ask before replacing, read one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget
from textual.worker import Worker

from hostler.base.errors import ConflictError, HostlerError
from hostler.base.text import clean
from hostler.base.units import counted
from hostler.client.fetch import Fetched
from hostler.client.fetch_places import Wanted
from hostler_tui.lines import Line, line
from hostler_tui.run.file_rows import (
    HEADS,
    MOST_READ,
    by_stage,
    file_rows,
    files_of,
    problem_lines,
    said_of,
    text_lines,
)
from hostler_tui.widgets.form import Field, Form
from hostler_tui.widgets.modal import Confirm, Reader, Sheet
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.table import Table


class FilesSheet(Sheet):
    """The files of a run that can be fetched; for a running stage, the present files in its
    folder."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "fetch", "fetch", show=False),
        Binding("o,enter", "open", "open", show=False, priority=True),
    ]

    class Advanced(Message):
        """The progress of a file changed."""

        def __init__(self, to: str, done: int, size: int) -> None:
            super().__init__()
            self.to, self.done, self.size = to, done, size

    def __init__(self, run_id: str, stage: str | None) -> None:
        at = f"{run_id}/{stage}" if stage else run_id
        super().__init__(
            f"Files of {at}", "space marks   g fetches   o or enter reads   esc closes"
        )
        self.run_id, self.stage_name = run_id, stage
        self._files: dict[str, Wanted] = {}
        self._fetching: Worker[None] | None = None

    def body(self) -> Iterable[Widget]:
        """The progress, and the files."""
        yield Pane(id="state")
        yield Table(HEADS, markable=True, id="files")

    def on_mount(self) -> None:
        """Request the list."""
        self.query_one(Table).focus()
        self._say("loading ...")
        self._ask()

    @work(exclusive=True, group="files", exit_on_error=False)
    async def _ask(self) -> None:
        try:
            told = (await self.app.client.files(self.run_id, stage=self.stage_name)).files
            files = files_of(self.run_id, told)
        except HostlerError as error:
            self._say(clean(str(error)), "bad")
            return
        self._files = {file.to: file for file in files}
        self.query_one(Table).show(file_rows(files, told))
        self._say(said_of(files) if files else "no files were saved (yet)")

    @property
    def _targets(self) -> list[Wanted]:
        keys = self.query_one(Table).targets
        return [file for to, file in self._files.items() if to in keys]

    def action_fetch(self) -> None:
        """Fetch the marked files, after asking for the target folder."""
        if self._fetching is not None:
            self.app.tell("a fetch is already running; esc stops it", "warning")
        elif self._targets:
            self._fetching = self._fetch(self._targets)
        else:
            self.app.tell(self.query_one(Table).nothing, "warning")

    def action_close(self) -> None:
        """Stop a running fetch, else close."""
        if self._fetching is not None:
            self._fetching.cancel()
        else:
            self.dismiss(None)

    @work(exclusive=True, group="fetch", exit_on_error=False)
    async def _fetch(self, files: Sequence[Wanted]) -> None:
        try:
            folder = await self._asked_folder(files)
            if folder is not None:
                await self._bring(files, folder)
        except asyncio.CancelledError:
            self.app.tell("stopped; fetch again to continue")
            self._say(said_of(list(self._files.values())))
            raise
        finally:
            self._fetching = None

    async def _asked_folder(self, files: Sequence[Wanted]) -> Path | None:
        at = f"{self.run_id}/{self.stage_name}" if self.stage_name else self.run_id
        names = " ".join(file.path for file in files[:3]) + (" ..." if len(files) > 3 else "")
        form = Form(
            f"Fetch {said_of(files)}?",
            ["Existing files are replaced only if you agree."],
            [("fetch", "fetch")],
            fields=[Field("folder", str(Path.cwd()), "created if it is missing")],
            command=lambda values: f"hostler get {at} {names} -o {values['folder']}",
            is_safe=True,
        )
        answer = await self.app.push_screen_wait(form)
        return _folder(answer.values["folder"]) if answer is not None else None

    async def _bring(self, files: Sequence[Wanted], folder: Path) -> None:
        try:
            done = await self._download(files, folder, force=False)
        except ConflictError as error:
            if not error.problems or not await self._may_replace(error):
                self.app.tell_error(error)
                return
            try:
                done = await self._download(files, folder, force=True)
            except (HostlerError, OSError) as again:
                self._tell_failed(again)
                return
        except (HostlerError, OSError) as error:
            self._tell_failed(error)
            return
        self._tell_done(done, folder)

    async def _may_replace(self, error: ConflictError) -> bool:
        dialog = Confirm("Replace files that differ?", problem_lines(error), "replace them")
        answer: bool | None = await self.app.push_screen_wait(dialog)
        return answer is True

    async def _download(
        self, files: Sequence[Wanted], folder: Path, *, force: bool
    ) -> list[Fetched]:
        stages, done = by_stage(files), list[Fetched]()
        several = len({file.stage for file in self._files.values()}) > 1
        for stage, own in stages.items():
            to = folder / stage if several else folder
            done += await self.app.client.download(
                self.run_id, [file.path for file in own], to, stage=stage, force=force,
                progress=self._advance,
            )  # fmt: skip
        return done

    def _advance(self, to: str, done: int, size: int) -> None:
        """Called in the fetching thread."""
        with contextlib.suppress(RuntimeError):  # the app is being closed
            self.post_message(self.Advanced(to, done, size))

    @on(Advanced)
    def show_progress(self, message: Advanced) -> None:
        """Show the progress."""
        if self._fetching is not None:
            percent = 100 * message.done // message.size if message.size else 100
            self._say(f"{percent} % of {clean(message.to)}; esc stops it", "accent")

    def _tell_done(self, done: Sequence[Fetched], folder: Path) -> None:
        new = [file for file in done if file.state in ("fetched", "link")]
        missing = [file for file in done if file.state == "missing"]
        there = sum(file.state == "there" for file in done)
        said = f"fetched {counted(len(new), 'file')} into {folder}"
        said += f"; {there} there already" if there else ""
        said += f"; {missing[0].to}: {missing[0].why}" if missing else ""
        self.app.tell(said, "warning" if missing else "information")
        self.query_one(Table).clear_marks()
        self._say(said_of(list(self._files.values())))

    def _tell_failed(self, error: Exception) -> None:
        if isinstance(error, HostlerError):
            self.app.tell_error(error)
        else:
            self.app.tell(f"cannot be written: {error}", "error")
        self._say(said_of(list(self._files.values())))

    def action_open(self) -> None:
        """Read the file at the cursor."""
        cursor = self.query_one(Table).cursor
        file = self._files.get(cursor) if cursor is not None else None
        if file is None or file.is_link:
            self.app.tell("a link cannot be read; fetch it" if file else "no file", "warning")
            return
        self._read(file)

    @work(exclusive=True, group="read", exit_on_error=False)
    async def _read(self, file: Wanted) -> None:
        try:
            remote = await self.app.client.read_file(
                self.run_id, file.stage, file.path, artifact=file.artifact, attempt=file.attempt
            )
            data = b""
            try:
                async for part in remote:
                    data += part
                    if len(data) >= MOST_READ:
                        break
            finally:
                await remote.close()
        except HostlerError as error:
            self.app.tell_error(error)
            return
        await self.app.push_screen(
            FileReader(clean(file.to), text_lines(data[:MOST_READ], remote.size))
        )

    def _say(self, text: str, role: str = "dim") -> None:
        self.query_one("#state", Pane).show([line((f" {text}", role))])


def _folder(text: str) -> Path:
    return Path(text.strip() or ".").expanduser()


class FileReader(Reader):
    """The beginning of a file."""

    def __init__(self, name: str, lines: Sequence[Line]) -> None:
        super().__init__(name)
        self._told = tuple(lines)

    def text(self, width: int) -> Sequence[Line]:
        """The text, cut at the width."""
        return self._told
