"""The screen that compares runs: how often open ones are asked again, its charts' height;
compare/rows.py has the rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from textual import on, work
from textual.message import Message
from textual.widget import Widget

from hostler.base.errors import HostlerError
from hostler.model.views.history import ComparedRuns
from hostler_tui.compare.rows import chart_of, head_line, heads_of, rows_of
from hostler_tui.runs.source import SourceReader
from hostler_tui.table_rows import Head
from hostler_tui.widgets.lab_screen import LabScreen
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.table import Table

CHART_PART = 3
"""Charts get one of this many parts of the height."""
LEAST_FOR_CHARTS = 20
REST_S = 5.0
"""Seconds between two requests while a run is open."""


class CompareScreen(LabScreen):
    """The differences between runs, and their metrics."""

    NAME = "compare"
    TAB = "history"

    class Told(Message):
        """The daemon sent a comparison, or refused."""

        def __init__(self, told: ComparedRuns | None, problem: str) -> None:
            super().__init__()
            self.told, self.problem = told, problem

    def __init__(self, run_ids: Sequence[str]) -> None:
        super().__init__()
        self.run_ids = tuple(run_ids)
        self.told: ComparedRuns | None = None
        self.is_all = False
        """Show all rows, not only different ones."""
        self.base_place = 0
        self.metric_place = 0
        self._problem = ""
        self._drawn: tuple[object, ...] = ()
        self._asked_at, self._asked_version = 0.0, -1

    def body(self) -> Iterable[Widget]:
        """The number of differences, the rows, and charts."""
        yield Pane(id="differs")
        yield Table([Head("", 18)], id="compared")
        yield Pane(id="courses")

    def on_mount(self) -> None:
        """Request the comparison; the rows get the focus."""
        self.query_one("#compared", Table).focus()
        self._ask()

    @work(exclusive=True, group="compare", exit_on_error=False)
    async def _ask(self) -> None:
        self._asked_at, self._asked_version = time.monotonic(), self.lab.runs_version
        try:
            told = await self.app.client.compare(list(self.run_ids))
        except HostlerError as error:
            self.post_message(self.Told(None, str(error)))
        else:
            self.post_message(self.Told(told, ""))

    @on(Told)
    def take_answer(self, message: Told) -> None:
        """Show it; after a refusal the old rows stay."""
        self.told, self._problem = message.told or self.told, message.problem
        self._drawn = ()
        self.draw_body()

    def _ask_where_changed(self) -> None:
        """Compare again when open runs change, but not too often."""
        now, version = time.monotonic(), self.lab.runs_version
        open_ones = [run for run in (self.told or ComparedRuns()).runs if not run.finished_at]
        if open_ones and version != self._asked_version and now - self._asked_at > REST_S:
            self._ask()

    def draw_body(self) -> None:
        """Draw nothing if nothing changed."""
        self._ask_where_changed()
        state = (
            id(self.told), self._problem, self.is_all, self.base_place, self.metric_place,
            self.size, self.app.palette_of_look.look,
        )  # fmt: skip
        if state != self._drawn:
            self._drawn = state
            self._draw_all()

    def _draw_all(self) -> None:
        table, shown = self.query_one("#compared", Table), 0
        if self.told is not None:
            rows = rows_of(self.told, self.base_place, only_differing=not self.is_all)
            table.show(rows, heads_of(self.told, self.base_place, self.size.width))
            shown = len(rows)
            self._draw_charts(self.told)
        head = head_line(self.told, not self.is_all, shown, self._problem)
        self.query_one("#differs", Pane).show([head])

    def _draw_charts(self, told: ComparedRuns) -> None:
        width, height = self.size
        names = self.metrics
        pane = self.query_one("#courses", Pane)
        pane.display = bool(names) and height >= LEAST_FOR_CHARTS
        if pane.display:
            name = names[self.metric_place % len(names)]
            pane.show([(("─" * width, "dim"),), *chart_of(told, name, width, height // CHART_PART)])

    @property
    def metrics(self) -> list[str]:
        """Metrics with a series of values."""
        return sorted(self.told.series) if self.told else []

    def action_refresh(self) -> None:
        """Compare again."""
        self._ask()

    def action_back(self) -> None:
        """Back to the screen before."""
        self.app.pop_screen()

    def action_all_rows(self) -> None:
        """Show all rows, or only different ones."""
        self.is_all = not self.is_all
        self.draw_body()

    def action_base(self) -> None:
        """Compare the others with the next run."""
        self.base_place = (self.base_place + 1) % len(self.run_ids)
        self.draw_body()

    def action_metric(self, by: int) -> None:
        """Show another metric's charts."""
        self.metric_place += by
        self.draw_body()

    def action_source(self) -> None:
        """Show the source of each run's code."""
        self.app.push_screen(SourceReader(self.run_ids))

    def selected_id(self) -> str | None:
        """The id of the base run."""
        return self.run_ids[self.base_place]

    def selected_command(self) -> str | None:
        """The same on the command line."""
        return " ".join(["hostler", "compare", *self.run_ids])
