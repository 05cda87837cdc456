"""The run screen: layout of stages and pages, which run and page it opens, going back;
run/pages.py has the pages."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from textual import events, on, work
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from hostler.base.errors import HostlerError
from hostler.model.views.runs import RunView
from hostler.show.progress import Indices, gpu_indices
from hostler_tui.lines import Line, Span, line
from hostler_tui.log.view import LogView
from hostler_tui.run.data import RunData
from hostler_tui.run.feed import RunAnswered, RunFeed, RunTold
from hostler_tui.run.files import FilesSheet
from hostler_tui.run.pages import QUESTIONS, metric_strip, page_labels, page_lines, summary_lines
from hostler_tui.run.rows import RUN_HEADS, RunRow, first_stage, row_for, stage_rows
from hostler_tui.runs.acts import RunActs
from hostler_tui.runs.lines import as_of, run_title
from hostler_tui.widgets.modal import Refused
from hostler_tui.widgets.pane import Pane, ScrollPane
from hostler_tui.widgets.table import Table


class RunScreen(RunActs):
    """The third screen. `open` shows a run."""

    NAME = "run"

    DEFAULT_CSS = """
    RunScreen #left { width: 44%; max-width: 78; }
    RunScreen.-narrow #left { width: 36; }
    RunScreen #right { width: 1fr; border-left: solid $foreground-darken-3; }
    RunScreen #below, RunScreen #strip { display: none; }
    RunScreen.-wide.-tall #below, RunScreen.-wide.-tall #strip { display: block; }
    RunScreen #below { height: 40%; border-top: solid $foreground-darken-3; }
    RunScreen #strip { height: 12; border-top: solid $foreground-darken-3; }
    RunScreen.-full #left, RunScreen.-full #strip { display: none; }
    RunScreen.-stacked #upper { layout: vertical; }
    RunScreen.-stacked #left { width: 1fr; height: 4; max-width: 100%; }
    RunScreen.-stacked #right { border-left: none; height: 1fr; width: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.data: RunData | None = None
        self.page = "log"
        self._opened: frozenset[str] = frozenset()
        self._rows: tuple[RunRow, ...] = ()
        self._wanted_stage: str | None = None
        """The stage to which the cursor will move; "" for the first stage with a problem."""
        self._drawn: object = None
        self._pages_drawn: object = None
        self._asks: object = None
        self._came_from = "queue"
        self._looked_for = -1
        """The version of the open runs at which the newest of all was asked for."""

    def body(self) -> Iterable[Widget]:
        """The run in one line, its stages, and the pages."""
        yield Pane(id="title")
        with Horizontal(id="upper"):
            with Vertical(id="left"):
                yield Table(RUN_HEADS, kin=lambda key: "", id="stages")  # keys act on the run
                yield ScrollPane(id="below")
            with Vertical(id="right"):
                yield Pane(id="pages")
                yield LogView(id="log")
                yield ScrollPane(id="page")
                yield ScrollPane(id="strip")

    def on_mount(self) -> None:
        """The stages get the focus."""
        self.query_one("#stages").focus()

    def open(
        self, run_id: str, stage: str = "", came_from: str | None = None, page: str = ""
    ) -> None:
        """Show a run, with the cursor on a stage; Esc goes back to `came_from`. Without a `page`,
        the one that was looked at last."""
        self._came_from, self.page = came_from or self._came_from, page or self.page
        if self.data is None or self.data.run_id != run_id:
            self._wanted_stage = ""
            self.data = RunData(run_id)
            self._opened, self._rows, self._asks = frozenset(), (), None
            if self.is_whole:
                self.query_one(LogView).close()
            self._follow(run_id)
        self._wanted_stage = stage or self._wanted_stage
        self._drawn = None
        if self.is_whole:
            self.draw()

    @work(exclusive=True, group="run", exit_on_error=False)
    async def _follow(self, run_id: str) -> None:
        await RunFeed(self.app.client, self.post_message).follow(run_id)

    @work(exclusive=True, group="aside", exit_on_error=False)
    async def _ask(self, data: RunData, stage: str, questions: Sequence[str]) -> None:
        feed = RunFeed(self.app.client, self.post_message)
        await feed.ask(data.run_id, stage, questions, lambda: data.is_over)

    @on(RunTold)
    def take_news(self, message: RunTold) -> None:
        """Take new states and events."""
        if self.data is not None and message.run_id == self.data.run_id:
            first = self.data.run is None
            self.data.see(message.run, message.events)
            if first:
                self.draw()

    @on(RunAnswered)
    def take_answer(self, message: RunAnswered) -> None:
        """Take the answer to a separate request."""
        data = self.data
        if data is None or message.run_id != data.run_id:
            return
        if message.question == "run":
            data.problem = message.why
            data.version += 1
        elif message.value is None:
            data.refuse(message.question, message.why)
        else:
            data.answer(message.question, message.stage, message.value)

    def draw_body(self) -> None:
        """Draw the known data of the run."""
        if self.data is None:
            self._open_newest()
        data, now = self.data, as_of(self.lab, time.time())
        self.set_class(self.size.width < 70, "-stacked")
        if data is None or data.run is None:
            self._draw_unknown(data)
            return
        second = 0 if data.is_over else int(now)
        seen = (data.version, self.lab.fleet_version, self._opened, second, self.size,
                self.app.palette_of_look)  # fmt: skip
        if seen != self._drawn:
            self._drawn = seen
            self._draw_stages(data.run, now)
        self._draw_pages(data)

    def _draw_unknown(self, data: RunData | None) -> None:
        """An earlier opened run no longer exists."""
        self.query_one("#title", Pane).show(_nothing(data))
        self._rows = ()
        self.query_one("#stages", Table).show(())
        for place in ("#pages", "#page", "#below", "#strip"):
            self.query_one(place, Pane).show(())

    def _open_newest(self) -> None:
        """If no run was opened yet, open the newest open run, else the newest of all."""
        if self.lab.connected and self.lab.runs:
            self.open(self.lab.runs[-1].run_id)
        elif self.lab.are_runs_known and self._looked_for != self.lab.runs_version:
            self._looked_for = self.lab.runs_version
            self._find_newest()

    @work(exclusive=True, group="newest", exit_on_error=False)
    async def _find_newest(self) -> None:
        try:
            runs = await self.app.client.runs(limit=1)
        except HostlerError:
            self._looked_for = -1  # the feed tells where the daemon is away
            return
        if runs and self.data is None:
            self.open(runs[0].run_id)

    def _draw_stages(self, run: RunView, now: float) -> None:
        self.query_one("#title", Pane).show([self._title(run, now)])
        self._rows = tuple(stage_rows(run, now, self._indices, self._opened))
        table = self.query_one("#stages", Table)
        table.show([row.row for row in self._rows])
        if self._wanted_stage is not None:
            wanted = self._wanted_stage or first_stage(run)
            self._wanted_stage = None
            table.put_cursor(row_for(wanted, self._rows))

    def _title(self, run: RunView, now: float) -> Line:
        """The run's title, with facts that its state lacks: a cancel in progress, or data that may
        be old."""
        is_open = run.outcome is None
        cancelled = f"  {run.cancelled_by} cancels it" if run.cancelled_by else ""
        old = (
            ""
            if self.lab.is_live
            else "  ~ as of " + time.strftime("%H:%M:%S", time.localtime(now))
        )
        return (*run_title(run, now), (f"{cancelled}{old}" if is_open else "", "warn"))

    def _draw_pages(self, data: RunData) -> None:
        stage = self.stage
        log, page = self.query_one(LogView), self.query_one("#page", ScrollPane)
        found = data.stage(stage)
        has_log = self.page == "log" and found is not None and bool(found.attempts)
        log.display, page.display = has_log, not has_log
        self.query_one("#strip").display = self._has_strip
        pages = self.query_one("#pages", Pane)
        pages.show([self._page_line(stage, pages.size.width)])
        self._begin_asking(data, stage)
        self._show_log(log, data, stage, self.attempt)
        if has_log:
            log.draw()
        panes = [self.query_one(f"#{name}", ScrollPane) for name in ("page", "below", "strip")]
        key = (data.version, self.page, stage, *(pane.size for pane in panes),
               self.app.palette_of_look)  # fmt: skip
        if key != self._pages_drawn:
            self._pages_drawn = key
            self._fill_pages(data, stage, has_log, panes)

    def _fill_pages(
        self, data: RunData, stage: str, has_log: bool, panes: Sequence[ScrollPane]
    ) -> None:
        page, below, strip = panes
        if not has_log:
            size = (max(20, page.size.width - 2), page.size.height)
            page.show(page_lines(self.page, data, stage, size))
        if self._is_large:
            below.show(summary_lines(data, stage, max(20, below.size.width - 2)))
        if self._has_strip:
            strip.show(metric_strip(data, stage, strip.size.width - 1, strip.size.height))

    def _show_log(self, log: LogView, data: RunData, stage: str, attempt: int | None) -> None:
        found = data.stage(stage)
        if found is not None and found.attempts:
            number = attempt or found.attempts[-1].number
            log.open(data.run_id, stage, number)
        elif log.log_of is not None:
            log.close()

    def _begin_asking(self, data: RunData, stage: str) -> None:
        questions = list(QUESTIONS.get(self.page, ()))
        if self._is_large:
            questions += [q for q in ("metrics", "usage", "artifacts") if q not in questions]
        asks = (data.run_id, stage, tuple(questions), data.is_over)
        if asks != self._asks and questions and self.lab.is_live:
            self._asks = asks
            self._ask(data, stage, questions)

    def _page_line(self, stage: str, width: int) -> Line:
        """The pages with their keys; the visible page is highlighted, more so while it has the
        focus."""
        role = "bar" if self._page_on_show.has_focus else "title"
        spans: list[Span] = []
        for name, key, shown in page_labels(self.page, width):
            here = name == self.page
            spans += [(f" {key} ", "key"), (shown.upper() if here else shown, role if here else "")]
        return (*spans, (f"   {stage}", "dim"))

    @on(events.Click, "#pages")
    def open_clicked(self, event: events.Click) -> None:
        """Show the page whose name or key was clicked."""
        end = 0
        for name, key, shown in page_labels(self.page, self.query_one("#pages", Pane).size.width):
            end += len(shown) + len(key) + 2
            if event.x < end:
                self.action_page(name)
                return

    @property
    def _is_large(self) -> bool:
        return self.has_class("-wide") and self.has_class("-tall")

    @property
    def _has_strip(self) -> bool:
        return self._is_large and self.page != "metrics" and not self.has_class("-full")

    @property
    def _indices(self) -> Indices:
        return gpu_indices(self.lab.fleet) if self.lab.fleet else {}

    @property
    def selected(self) -> RunRow | None:
        """The row at the cursor."""
        key = self.query_one("#stages", Table).cursor
        return next((row for row in self._rows if row.row.key == key), None)

    @property
    def stage(self) -> str:
        """The stage of the pages."""
        row = self.selected
        return row.stage if row is not None else ""

    @property
    def attempt(self) -> int | None:
        """The attempt at the cursor; None for the newest."""
        row = self.selected
        return row.attempt if row is not None else None

    def targets(self) -> Sequence[RunView]:
        """The run itself."""
        return [self.data.run] if self.data is not None and self.data.run is not None else []

    def selected_id(self) -> str | None:
        """The run's id."""
        return self.data.run_id if self.data is not None else None

    def selected_command(self) -> str | None:
        """The command that shows the same."""
        if self.data is None:
            return None
        at = f"{self.data.run_id}/{self.stage}" if self.stage else self.data.run_id
        commands = {"log": f"logs {at}", "why": f"why {at}", "metrics": f"usage {self.data.run_id}",
                    "events": f"events {self.data.run_id}"}  # fmt: skip
        return f"hostler {commands.get(self.page, f'show {self.data.run_id}')}"

    @on(Table.Moved)
    def show_selected(self) -> None:
        """Show another stage's pages, at once."""
        if self.data is not None and self.data.run is not None:
            self._draw_pages(self.data)

    @on(Table.Chosen)
    def open_chosen(self) -> None:
        """Enter, or a click."""
        self.action_unfold()

    def action_unfold(self) -> None:
        """Open or close a matrix; the log of a stage gets the focus."""
        row = self.selected
        if row is not None and row.matrix:
            self._opened ^= {row.matrix}
            self.draw_body()
        else:
            self.action_page("log")

    def action_page(self, page: str) -> None:
        """Show another page, with the focus."""
        self.page = page
        self._drawn = None
        self.draw_body()
        self.set_focus(self._page_on_show)  # at once: the next key is for it

    @property
    def _page_on_show(self) -> Widget:
        log = self.query_one("#log")
        return log if log.display else self.query_one("#page")

    @property
    def is_typed_into(self) -> bool:
        """Whether keys are letters now: a search in the log is being typed."""
        return self.query_one(LogView).typing is not None and self.focused is self._page_on_show

    async def action_log_do(self, action: str) -> None:
        """Something that the log can do, from wherever the keys are. Where there is no log, what
        is typed next is for the search that cannot be: no letter of it is a command."""
        self.action_page("log")
        if not self.query_one(LogView).display:
            self.app.push_screen(Refused(f"{self.stage or 'This run'} has no log yet"))
            return
        await self.app.run_action(action, self.query_one(LogView))

    def action_files(self) -> None:
        """Show the files of the run; for a running stage, the present files in its folder."""
        if self.data is not None and self.data.run is not None:
            found = self.data.stage(self.stage)
            runs = found is not None and found.status == "running"
            self.app.push_screen(FilesSheet(self.data.run_id, self.stage if runs else None))

    def action_full(self) -> None:
        """Show the page alone, or beside the stages."""
        self.toggle_class("-full")
        self._drawn = None
        if self.has_class("-full"):
            self._page_on_show.focus()
        self.call_after_refresh(self.draw)

    def action_back(self) -> None:
        """From a page to the stages; from there to the screen before."""
        if self.has_class("-full"):
            self.action_full()
        table = self.query_one("#stages")
        if self.focused is not table:
            table.focus()
        else:
            self.app.action_go(self._came_from)


def _nothing(data: RunData | None) -> list[Line]:
    if data is None:
        return [
            line((" There is no run yet.", "title")), line(""),
            line(("   2", "key"), "  running and pending stages; n there submits a pipeline"),
            line(("   5", "key"), "  all runs; ent there opens one"),
            line("   hostler show RUN  the same from a shell"),
        ]  # fmt: skip
    if data.problem:
        return [line((f" {data.problem}", "bad"))]
    return [line((f" loading {data.run_id} ...", "dim"))]
