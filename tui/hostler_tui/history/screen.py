"""The screen of past runs: search, compare, export, rerun, remove; how often it asks again, runs
in an export; history/rows.py has the columns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from textual import on, work
from textual.message import Message
from textual.widget import Widget

from hostler.base.errors import HostlerError
from hostler.model.views.history import HistoryPage, HistoryRow
from hostler.show.kept import loss_lines
from hostler_tui.history.export import exported
from hostler_tui.history.query import FIELDS, PAGE, Order, command_of, query_of
from hostler_tui.history.rows import (
    DEFAULT,
    choices,
    columns_of,
    head_lines,
    head_of,
    rows_of,
    sort_of,
)
from hostler_tui.history.sheets import MOST_EFFECTS, Columns, forget_question
from hostler_tui.lines import Line, line
from hostler_tui.runs.acts import RunActs
from hostler_tui.runs.source import SourceReader
from hostler_tui.table_rows import Head, Row
from hostler_tui.widgets.ask_line import AskLine
from hostler_tui.widgets.modal import Ask, Choice
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.table import Table

SETTLE_S = 0.3
"""Seconds for which typing has to rest before the request."""
REST_S = 3.0
"""Seconds between two requests while runs change."""
MOST = 10_000
"""The most runs in one answer of the daemon."""


class HistoryScreen(RunActs):
    """All runs, including open ones."""

    NAME = "history"

    class Told(Message):
        """A page of the history from the daemon, or its refusal."""

        def __init__(self, answer: HistoryPage | None, problem: str, view: object = None) -> None:
            super().__init__()
            self.answer, self.problem, self.view = answer, problem, view

    def __init__(self) -> None:
        super().__init__()
        self.order = Order()
        self.chosen: tuple[str, ...] = DEFAULT
        self.runs: tuple[HistoryRow, ...] = ()
        self.total: int | None = None
        self._limit = PAGE
        self._view: object = None
        """The filter and order for which `runs` is the answer."""
        self._problem = ""
        self._version = 0
        self._drawn: tuple[object, ...] = ()
        self._asked: tuple[object, ...] = ()
        self._asked_at = 0.0

    def body(self) -> Iterable[Widget]:
        """The number of runs, the filter, and the list."""
        yield Pane(id="found")
        yield Table([head_of("run")], id="runs", markable=True)
        yield AskLine(FIELDS)

    def on_mount(self) -> None:
        """The list gets the focus."""
        self.table.focus()

    @property
    def table(self) -> Table:
        """The list."""
        return self.query_one("#runs", Table)

    def draw_body(self) -> None:
        """Draw the latest page; request another if the query or runs changed."""
        self._ask_where_needed()
        state = (
            self._version, self.chosen, self.table.marks, self.size, self.lab.connected,
            self.app.palette_of_look.look,
        )  # fmt: skip
        if state != self._drawn:
            self._drawn = state
            self._draw_all()

    def _draw_all(self) -> None:
        columns = columns_of(self.runs, self.chosen)
        self.table.show(
            rows_of(self.runs, columns), [head_of(column) for column in columns], view=self._view
        )
        filter = self.query_one(AskLine).filter
        lines = head_lines(
            self.total, len(self.runs), filter.text, self.order, len(self.table.marks),
            self._problem,
        )  # fmt: skip
        self.query_one("#found", Pane).show([*lines, *self._nothing(bool(filter))])

    def _nothing(self, filtered: bool) -> list[Line]:
        if self.total != 0:
            return []
        says = (
            "No runs match. / changes the filter, Esc clears it"
            if filtered
            else "No runs yet. n in the queue submits one: hostler run FILE"
        )
        return [line((f"  {says}", "dim"))]

    def _ask_where_needed(self) -> None:
        if not self.lab.is_live:
            return
        filter = self.query_one(AskLine).filter
        wanted = (filter, self.order, self._limit)
        now, version = time.monotonic(), self.lab.runs_version
        changed = wanted != self._asked[:3]
        rest = REST_S * self._limit / PAGE
        if changed or (version != self._asked[3] and now - self._asked_at > rest):
            settle = SETTLE_S if self._asked and filter != self._asked[0] else 0.0
            self._asked, self._asked_at = (*wanted, version), now
            self._ask(settle)

    @work(exclusive=True, group="history", exit_on_error=False)
    async def _ask(self, settle: float) -> None:
        await asyncio.sleep(settle)  # while somebody types, only the last is asked
        view = (self.query_one(AskLine).filter, self.order)
        query = query_of(*view)
        if query.problem:
            self.post_message(self.Told(None, query.problem))
            return
        try:
            answer = await self.app.client.history(**query.asked, limit=self._limit)
        except HostlerError as error:
            self.post_message(self.Told(None, str(error)))
        else:
            self.post_message(self.Told(answer, "", view))

    @on(Told)
    def take_answer(self, message: Told) -> None:
        """Show it; after a refusal the old rows stay."""
        self._problem = message.problem
        if message.answer is not None:
            self.runs, self.total = message.answer.runs, message.answer.total
            self._view = message.view
        self._version += 1
        self.draw_body()

    @on(AskLine.Changed)
    def take_filter(self) -> None:
        """Request other runs, from the first on."""
        self._limit = PAGE
        self.draw_body()

    @on(Table.Moved)
    def ask_for_more(self, message: Table.Moved) -> None:
        """Request more at the end of the list."""
        at_end = bool(self.runs) and message.key == self.runs[-1].run_id
        if at_end and self.total is not None and len(self.runs) < self.total:
            self._limit = min(MOST, len(self.runs) + PAGE)

    @on(Table.Chosen)
    def open_chosen(self) -> None:
        """Enter, or a second click."""
        self.action_open()

    def action_refresh(self) -> None:
        """Request the runs now."""
        self._asked_at = 0.0
        self._asked = ()
        self.draw_body()

    def acted(self) -> None:
        """Clear the marks."""
        self.table.clear_marks()
        self.action_refresh()

    def meant(self) -> Sequence[HistoryRow]:
        """The marked runs, else the one at the cursor."""
        meant = self.table.targets
        return [run for run in self.runs if run.run_id in meant]

    def nothing(self) -> str:
        """Why no run is selected."""
        return self.table.nothing

    def _one_id(self) -> str | None:
        """The run at the cursor; a notice if there is none."""
        if self.table.cursor is None:
            self.app.tell(self.table.nothing, "warning")
        return self.table.cursor

    def action_open(self) -> None:
        """Open the run's own screen."""
        if (run_id := self._one_id()) is not None:
            self.app.open_run(run_id)

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(AskLine).open()

    def action_unmark(self) -> None:
        """Unmark everything."""
        self.table.clear_marks()
        self.draw_body()

    def action_sort(self) -> None:
        """Choose the sort key."""
        names = ["start", *(c for c in choices(self.runs) if sort_of(c) and c != "start")]
        rows = [Row(sort_of(name) or "", (name,)) for name in names]
        title = "Sort runs by (choose it again to reverse the order)"
        self.app.push_screen(
            Choice(title, [Head("COLUMN", 30, flex=True)], rows, self.order.name), self._sort_by
        )

    def _sort_by(self, name: str | None) -> None:
        if name is not None:
            self.order = self.order.by(name)
            self._limit = PAGE
            self.draw_body()

    def action_sort_beside(self, by: int) -> None:
        """Sort by the next column that has a sort key."""
        names = [sort_of(column) for column in columns_of(self.runs, self.chosen)]
        known = [name for name in names if name]
        here = known.index(self.order.name) if self.order.name in known else 0
        self.order = Order(known[(here + by) % len(known)]) if known else self.order
        self.draw_body()

    def action_columns(self) -> None:
        """Choose the columns."""
        shown = columns_of(self.runs, self.chosen)[1:]
        self.app.push_screen(Columns(choices(self.runs), shown), self._show_columns)

    def _show_columns(self, chosen: str | None) -> None:
        if chosen is not None:
            self.chosen = tuple(chosen.split("\n")) if chosen else ()
            self.draw_body()

    def action_compare(self) -> None:
        """Show the marked runs beside each other."""
        ids = [run.run_id for run in self.meant()]
        if len(ids) < 2:
            self.app.tell("mark two or more runs with space, then c compares them", "warning")
        else:
            self.app.compare(ids)

    def action_source(self) -> None:
        """Show the source of the run's code."""
        if (run_id := self._one_id()) is not None:
            self.app.push_screen(SourceReader([run_id]))

    def action_rerun(self) -> None:
        """Run it again, after asking for the code to use."""
        self._with_whole("rerun", self._one(self.meant()))

    def action_retry(self) -> None:
        """Retry stages that did not succeed, after asking."""
        self._with_whole("retry", self._one(self.meant()))

    @work(exclusive=True, group="whole", exit_on_error=False)
    async def _with_whole(self, what: str, meant: Sequence[HistoryRow]) -> None:
        """The list has summaries; the question needs stages."""
        for summary in meant:
            try:
                run = await self.app.client.show(summary.run_id)
            except HostlerError as error:
                self.app.tell_error(error)
                return
            (self._rerun if what == "rerun" else self._retry)(run)

    def action_forget(self) -> None:
        """Forget runs, after asking for the name or the count."""
        meant = self.meant()
        runs = [run for run in meant if run.outcome is not None]
        if runs:
            self._forget(runs)
        else:
            said = "only finished runs can be removed" if meant else self.nothing()
            self.app.tell(said, "warning")

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _forget(self, runs: Sequence[HistoryRow]) -> None:
        losses = await self._losses(runs[:MOST_EFFECTS])
        if not await self._confirmed(forget_question(runs, os.getuid(), losses)):
            return
        done = 0
        for run in runs:
            run_id = run.run_id
            done += await self._try(partial(self.app.client.remove, run_id))
        if done:
            self.app.tell(f"removed {runs[0].run_id if len(runs) == 1 else f'{done} runs'}")
        self._done()

    async def _losses(self, runs: Sequence[HistoryRow]) -> list[str]:
        """Unfetched files of these runs, as far as the daemon reports them: not for runs of
        others."""
        lines: list[str] = []
        for run in runs:
            with contextlib.suppress(HostlerError):
                lines += loss_lines(await self.app.client.kept(run.run_id))
        return lines[:MOST_EFFECTS]

    @work(exclusive=True, group="export", exit_on_error=False)
    async def action_export(self) -> None:
        """Write the filtered runs to a file."""
        folder = Path.cwd()
        ask = Ask(
            "Export runs: where to?",
            [f"All {self.total or 0:,} runs that match the filter, to a .csv or .json file",
             f"A name alone is in {folder}; existing files are not overwritten"],
            "runs.csv",
        )  # fmt: skip
        name = await self.app.push_screen_wait(ask)
        if not name:
            return
        query = query_of(self.query_one(AskLine).filter, self.order)
        try:
            answer = await self.app.client.history(**query.asked, limit=MOST)
        except HostlerError as error:
            self.app.tell_error(error)
            return
        self.app.tell(*await asyncio.to_thread(_write, answer.runs, folder / name))

    def selected_id(self) -> str | None:
        """The run's id."""
        return self.table.cursor

    def selected_command(self) -> str | None:
        """The command that shows the run; without a selection, the command that lists the same
        runs."""
        if self.table.cursor is not None:
            return f"hostler show {self.table.cursor}"
        return command_of(self.query_one(AskLine).filter, self.order)


def _write(runs: Sequence[HistoryRow], path: Path) -> tuple[str, str]:
    """Returns the notice, and its severity."""
    target = path.expanduser()
    try:
        with target.open("x") as file:
            file.write(exported(runs, str(target)))
    except FileExistsError:
        return f"{target} exists already; choose another name", "error"
    except OSError as error:
        return f"cannot write {target}: {error.strerror}", "error"
    return f"wrote {len(runs):,} runs to {target}", "information"
