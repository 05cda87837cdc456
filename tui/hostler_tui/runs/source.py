"""The sheet with a run's code: commit, uncommitted changes, colours of the diff."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import work
from textual.message import Message

from hostler.base.errors import HostlerError
from hostler_tui.lines import Line, line
from hostler_tui.widgets.modal import WIDEST, Reader

if TYPE_CHECKING:
    from hostler.model.views.runs import RunSource


def diff_lines(source: RunSource | None) -> list[Line]:
    """The changes relative to the commit that the code was packed with."""
    if source is None:
        return [line((" loading ...", "dim"))]
    commit = source.git_commit
    if not commit:
        return [line((" the code came from no git repository", "dim"))]
    head = line((f" {commit} {source.git_branch or ''}", "title"))
    diff = source.git_diff
    if not diff:
        clean_text = "with changes that were not kept" if source.git_dirty else "no changes"
        return [head, line((f" {clean_text}", "dim"))]
    return [head, *(line((f" {text}", _diff_role(text))) for text in str(diff).splitlines())]


def _diff_role(text: str) -> str:
    if text.startswith(("+++", "---", "diff ", "index ")):
        return "title"
    if text.startswith("@@"):
        return "accent"
    return "good" if text.startswith("+") else "bad" if text.startswith("-") else ""


class SourceReader(Reader):
    """Commit and uncommitted changes of the code of runs, one after the other."""

    class Told(Message):
        """The daemon sent one run's source."""

        def __init__(self, run_id: str, source: RunSource | None, problem: str) -> None:
            super().__init__()
            self.run_id, self.source, self.problem = run_id, source, problem

    def __init__(self, run_ids: Sequence[str]) -> None:
        super().__init__(f"Code of {', '.join(run_ids)}")
        self._ids = tuple(run_ids)
        self._told: dict[str, list[Line]] = {}

    def on_mount(self) -> None:
        """Request the sources."""
        self._ask()

    @work(exclusive=True, group="source", exit_on_error=False)
    async def _ask(self) -> None:
        for run_id in self._ids:
            try:
                source = await self.app.client.source(run_id)
            except HostlerError as error:
                self.post_message(self.Told(run_id, None, str(error)))
            else:
                self.post_message(self.Told(run_id, source, ""))

    def on_source_reader_told(self, message: Told) -> None:
        """Show the answer."""
        lines = diff_lines(message.source) if not message.problem else []
        self._told[message.run_id] = lines or [line((f" {message.problem}", "warn"))]
        self.on_resize()

    def text(self, width: int) -> Sequence[Line]:
        """The text for each run."""
        lines: list[Line] = []
        for run_id in self._ids:
            lines += [line((f" {run_id} " + "─" * max(0, min(width, WIDEST) - 12), "dim"))]
            lines += [*self._told.get(run_id, diff_lines(None)), line("")]
        return lines
