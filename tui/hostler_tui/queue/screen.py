"""The queue screen: its table, reason pane and graph (rails, or boxes from which width on),
marks, the text of an empty queue; queue/rows.py has the columns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from textual import on, work
from textual.containers import Horizontal
from textual.widget import Widget

from hostler.model.views.runs import RunView
from hostler.show.progress import Indices, gpu_indices
from hostler_tui.filtering import Filter
from hostler_tui.lines import Line, line
from hostler_tui.queue.rows import (
    FIELDS,
    HEADS,
    ORDERS,
    Entry,
    answer_text,
    entries,
    run_of,
    table_rows,
)
from hostler_tui.runs.acts import RunActs
from hostler_tui.runs.lines import (
    as_of,
    count_text,
    fact_lines,
    graph_lines,
    reason_lines,
    run_title,
)
from hostler_tui.submit.screen import submit_pipeline
from hostler_tui.widgets.ask_line import AskLine
from hostler_tui.widgets.pane import Pane, ScrollPane
from hostler_tui.widgets.table import Table

_EMPTY: tuple[Line, ...] = (
    line(("No stage is running or pending.", "title")),
    line(""),
    line(("  n", "key"), "                          submit a pipeline"),
    line("  hostler run pipeline.toml   the same from a shell"),
    line(("  5", "key"), "                          all runs, also finished ones"),
)


class QueueScreen(RunActs):
    """The second screen."""

    NAME = "queue"

    DEFAULT_CSS = """
    QueueScreen #upper { height: 1fr; }
    QueueScreen #why { display: none; width: 56; border-left: solid $foreground-darken-3; }
    QueueScreen.-wide #why { display: block; }
    QueueScreen #graph { height: 45%; border-top: solid $foreground-darken-3; }
    QueueScreen.-short #graph { height: 4; }
    QueueScreen #none { display: none; height: auto; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.boxes = True
        """Whether the graph is drawn as boxes if there is space."""
        self.order = ORDERS[0]
        self._wanted = Filter()
        self._shown: tuple[Entry, ...] = ()
        self._drawn: object = None
        self._counts = ""

    def body(self) -> Iterable[Widget]:
        """Counts, the table, the reason beside it, the graph below."""
        yield Pane(id="answer")
        yield AskLine(FIELDS, id="ask")
        yield Pane(_EMPTY, id="none")
        with Horizontal(id="upper"):
            yield Table(HEADS, markable=True, kin=run_of, id="stages")
            yield ScrollPane(id="why")
        yield ScrollPane(id="graph")

    def on_mount(self) -> None:
        """The table gets the focus."""
        self._table.focus()

    def draw_body(self) -> None:
        """Draw the latest open runs."""
        now, stale = as_of(self.lab, time.time()), not self.lab.is_live
        seen = (
            stale,
            self.lab.are_runs_known,
            self.lab.runs_version,
            self.lab.fleet_version,
            self._wanted,
            self.order,
            int(now),
        )
        if seen != self._drawn:
            self._drawn = seen
            self._shown = tuple(
                entries(self.lab.runs, now, self._indices, self._wanted, self.order)
            )
            self._counts = answer_text(self.lab.runs)
            self._table.show(table_rows(self._shown, stale=stale), view=(self._wanted, self.order))
            # The table stays: hiding it would take the keys from it.
            self.query_one("#none").display = self.lab.are_runs_known and not self.lab.runs
        self.query_one("#answer", Pane).show([self._answer()])
        self._draw_selected(now)

    def _answer(self) -> Line:
        if not self.lab.are_runs_known:
            said = " loading the runs ..." if self.lab.connected else " connecting ..."
            return line((said, "dim"))
        marks = self._table.marks
        marked = f"   {len(self._marked(marks))} runs marked" if marks else ""
        filtered = f"   / {self._wanted.text} ({len(self._shown)} shown)" if self._wanted else ""
        more = ", the newest: more are open (hostler ps)" if self.lab.are_more_runs else ""
        return line(
            f" {self._counts}", (more, "warn"), (f"{marked}{filtered}", "accent"),
            f"   order: {self.order}",
        )  # fmt: skip

    def _draw_selected(self, now: float) -> None:
        entry = self.selected
        why, graph = self.query_one("#why", ScrollPane), self.query_one("#graph", ScrollPane)
        graph.display = bool(self._shown)
        if entry is None:
            why.show(())
            graph.show([line((f" {self._table.nothing}", "warn"))])
            return
        wide = self.has_class("-wide")
        if wide:
            room = max(20, why.size.width - 2)
            why.show([*reason_lines(entry.stage, room), line(""), *fact_lines(entry.run, room)])
        graph.show(self._graph(entry, now, with_reason=not wide))

    def _graph(self, entry: Entry, now: float, *, with_reason: bool) -> Sequence[Line]:
        width = max(20, self.size.width - 2)
        head = (*run_title(entry.run, now), (f"   {count_text(entry.run.stages)}", "dim"))
        lines, is_boxes = graph_lines(entry.run, now, self._indices, width, boxes=self._wants_boxes)
        if self._wants_boxes and not is_boxes:
            head = (*head, ("   (boxes need a wider screen)", "dim"))
        if not with_reason:
            return [head, *lines]
        reason = reason_lines(entry.stage, width)
        return [*reason, head, *lines] if self.has_class("-short") else [head, *reason, *lines]

    @property
    def _wants_boxes(self) -> bool:
        return self.boxes and self.has_class("-wide")

    @property
    def _indices(self) -> Indices:
        return gpu_indices(self.lab.fleet) if self.lab.fleet else {}

    @property
    def _table(self) -> Table:
        return self.query_one("#stages", Table)

    @property
    def selected(self) -> Entry | None:
        """The entry at the cursor."""
        key = self._table.cursor
        return next((entry for entry in self._shown if entry.key == key), None)

    def targets(self) -> Sequence[RunView]:
        """The marked runs, else the run at the cursor."""
        return self._marked(self._table.targets)

    def nothing(self) -> str:
        """Why no run is selected."""
        return self._table.nothing

    def _marked(self, marks: Iterable[str]) -> list[RunView]:
        """The marked runs; several rows may belong to one run."""
        keys = frozenset(marks)
        found = {e.run.run_id: e.run for e in self._shown if e.key in keys}
        return list(found.values())

    def acted(self) -> None:
        """Clear the marks."""
        self._table.clear_marks()

    def selected_id(self) -> str | None:
        """The run's id."""
        return str(self.selected.run.run_id) if self.selected else None

    def selected_command(self) -> str | None:
        """The command that shows the run: why it waits, or its log."""
        entry = self.selected
        if entry is None:
            return None
        verb = "why" if entry.waits else "show"
        return f"hostler {verb} {entry.run.run_id}"

    @on(Table.Moved)
    def show_selected(self, message: Table.Moved) -> None:
        """Show its reason and its graph, at once."""
        if type(message) is Table.Moved:
            self._draw_selected(as_of(self.lab, time.time()))

    @on(Table.Chosen)
    def open_chosen(self) -> None:
        """Enter, or a click."""
        self.action_open()

    @on(AskLine.Changed)
    def use_filter(self, message: AskLine.Changed) -> None:
        """Show only matching rows."""
        self._wanted = message.filter
        self.draw_body()

    def action_open(self) -> None:
        """Open the run, at this stage, on the last viewed page."""
        self._open()

    def action_log(self) -> None:
        """Open the run, at this stage, with its log."""
        self._open("log")

    def _open(self, page: str = "") -> None:
        entry = self.selected
        if entry is None:
            self.app.tell(self._table.nothing, "warning")
            return
        self.app.open_run(entry.run.run_id, entry.first.name, page)

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(AskLine).open()

    def action_order(self) -> None:
        """Change the order."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.draw_body()

    def action_boxes(self) -> None:
        """Draw boxes or rails."""
        self.boxes = not self.boxes
        if not self.has_class("-wide"):
            self.app.tell("boxes need a screen of 140 columns", "warning")
        self.draw_body()

    def action_unmark(self) -> None:
        """Clear the marks."""
        self.acted()

    def action_mark(self) -> None:
        """Mark the row at the cursor."""
        self._table.action_mark()

    def action_mark_all(self) -> None:
        """Mark all visible rows."""
        self._table.mark_all()

    def action_compare(self) -> None:
        """Show the marked runs side by side."""
        ids = [run.run_id for run in self.targets()]
        if len(ids) < 2:
            self.app.tell("mark two runs or more with space, then compare them", "warning")
            return
        self.app.compare(ids)

    def action_submit(self) -> None:
        """Choose a pipeline."""
        self._submit()

    @work(exclusive=True, group="submit", exit_on_error=False)
    async def _submit(self) -> None:
        run_id = await submit_pipeline(self.app)
        if run_id is not None:
            self._table.expect(run_id)
            self.app.tell(f"submitted {run_id}")
            self.app.action_refresh()
