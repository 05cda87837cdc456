"""The alerts screen: open alerts, how many events its log keeps, the size of the detail pane;
alerts/rows.py has the columns."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from textual import on, work
from textual.containers import Horizontal
from textual.widget import Widget

from hostler.base.errors import HostlerError
from hostler.model.views.alerts import AlertView, EventView
from hostler_tui.alerts.rows import (
    ALERT_FIELDS,
    ALERT_HEADS,
    EVENT_FIELDS,
    EVENT_HEADS,
    alert_rows,
    detail_lines,
    event_detail,
    event_rows,
    filter_lines,
    summary,
)
from hostler_tui.lines import Line, line
from hostler_tui.widgets.ask_line import AskLine
from hostler_tui.widgets.lab_screen import LabScreen
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.table import Table

WIDE = 140
PANEL = 60
STRIP = 9
"""Rows of the detail strip."""
EVENTS_KEPT = 1000
AGE_STEP_S = 15.0
"""Seconds between two updates of the displayed ages."""
RETRY_S = 2.0


class AlertsScreen(LabScreen):
    """Alerts by severity, the newest first; `e` shows events instead."""

    NAME = "alerts"

    def __init__(self) -> None:
        super().__init__()
        self.shows_events = False
        self._events: deque[EventView] = deque(maxlen=EVENTS_KEPT)
        self._events_version = 0
        self._drawn: tuple[object, ...] = ()
        self._detail_drawn: tuple[object, ...] = ()

    def body(self) -> Iterable[Widget]:
        """Counts, the list, and details of the selected row."""
        yield Pane(id="sum")
        with Horizontal():
            yield Table(ALERT_HEADS, id="alert_table", markable=True)
            yield Table(EVENT_HEADS, id="event_table")
            yield Pane(id="panel")
        yield Pane(id="strip")
        yield AskLine(ALERT_FIELDS, id="ask_alerts")
        yield AskLine(EVENT_FIELDS, id="ask_events")

    def on_mount(self) -> None:
        """The list gets the focus."""
        self.query_one("#panel").styles.width = PANEL
        self.query_one("#event_table").display = False
        self.table.focus()

    @property
    def table(self) -> Table:
        """The list that is shown."""
        return self.query_one("#event_table" if self.shows_events else "#alert_table", Table)

    @property
    def ask(self) -> AskLine:
        """The filter of that list."""
        return self.query_one("#ask_events" if self.shows_events else "#ask_alerts", AskLine)

    def draw_body(self) -> None:
        """Draw the model; nothing if it has not changed."""
        if self.lab.is_live:
            self._follow_events()
        now = time.time()
        state = (
            self.shows_events, self.lab.alerts_version, self._events_version, self.ask.filter,
            self.size, self.app.palette_of_look.look, self.lab.connected, int(now / AGE_STEP_S),
        )  # fmt: skip
        if state != self._drawn:
            self._drawn = state
            self._draw_list(now)
            self._draw_detail(now)

    def _draw_list(self, now: float) -> None:
        head = self.query_one("#sum", Pane)
        if self.shows_events:
            rows = event_rows(reversed(self._events), self.ask.filter)
            head.show([self._events_head(), *filter_lines(self.ask.filter, len(rows))])
        else:
            alerts = self.lab.alerts
            rows = alert_rows(alerts, self.ask.filter, now)
            lines = summary(alerts, len(rows), self.ask.filter)
            head.show(lines if alerts else [*lines, *self._nothing()])
        self.table.show(rows, view=self.ask.filter)

    def _nothing(self) -> list[Line]:
        if not self.lab.connected:
            return []
        return [line(("  No alerts. e shows all events: hostler events", "dim"))]

    def _events_head(self) -> Line:
        count = len(self._events)
        return line(
            (f" {count:,} events", "title"), (", the newest first   e back to alerts", "dim")
        )

    def _draw_detail(self, now: float) -> None:
        wide = self.size.width >= WIDE
        panel, strip = self.query_one("#panel", Pane), self.query_one("#strip", Pane)
        panel.display, strip.display = wide, not wide and self.size.height >= 20
        width = PANEL - 1 if wide else self.size.width
        most = self.size.height - 4 if wide else STRIP
        (panel if wide else strip).show(self._detail(now, width, most))

    def _detail(self, now: float, width: int, most: int) -> list[Line]:
        alert, event = self._selected()
        rule = [] if width < self.size.width else [line(("─" * width, "dim"))]
        if event is not None:
            return [*rule, *event_detail(event, width)][:most]
        if alert is None:
            return []
        newest = list(reversed(self._events))
        return [*rule, *detail_lines(alert, newest, now, width, most - len(rule))]

    def _selected(self) -> tuple[AlertView | None, EventView | None]:
        """The alert, or the event, at the cursor."""
        key = self.table.cursor
        if self.shows_events:
            return None, next((e for e in self._events if str(e.seq) == key), None)
        return next((a for a in self.lab.alerts if str(a.id) == key), None), None

    def _about(self) -> tuple[str, str, str]:
        """Run, host and number of the row at the cursor; "" for missing ones."""
        alert, event = self._selected()
        if event is not None:
            return event.run_id or "", event.host or "", str(event.seq)
        if alert is not None:
            return alert.run_id or "", alert.host or "", str(alert.id)
        return "", "", ""

    @on(Table.Moved)
    def follow_cursor(self) -> None:
        """Show details of another row."""
        self._draw_detail(time.time())

    @on(AskLine.Changed)
    def take_filter(self) -> None:
        """Apply the filter at once."""
        self.draw_body()

    @on(Table.Chosen)
    def open_chosen(self) -> None:
        """Enter, or a second click."""
        self.action_open()

    def action_open(self) -> None:
        """Open the run or the host of the row."""
        run_id, host, number = self._about()
        if not number:
            self.app.tell(self.table.nothing, "warning")
        elif run_id:
            self.app.open_run(run_id)
        elif host:
            self.app.open_host(host)
        else:
            self.app.tell("the alert names no run and no host", "warning")

    def action_filter(self) -> None:
        """Type a filter."""
        self.ask.open()

    def action_events(self) -> None:
        """Show the other list."""
        self.shows_events = not self.shows_events
        self.query_one("#alert_table").display = not self.shows_events
        self.query_one("#event_table").display = self.shows_events
        self.table.focus()
        self.draw_body()

    def action_acknowledge(self) -> None:
        """Acknowledge the alert."""
        self._note(self.app.client.acknowledge, "acknowledged")

    def action_unacknowledge(self) -> None:
        """Undo the acknowledgement."""
        self._note(self.app.client.unacknowledge, "open again")

    def _note(self, do: Callable[[int], Awaitable[object]], done: str) -> None:
        ids = [] if self.shows_events else sorted(int(key) for key in self.table.targets)
        if not ids:
            said = "events cannot be acknowledged; e goes back to alerts"
            self.app.tell(said if self.shows_events else self.table.nothing, "warning")
            return
        self._note_all(do, ids, done)

    @work(exclusive=True, group="acknowledge", exit_on_error=False)
    async def _note_all(
        self, do: Callable[[int], Awaitable[object]], ids: list[int], done: str
    ) -> None:
        for alert_id in ids:
            try:
                await do(alert_id)
            except HostlerError as error:
                self.app.tell_error(error)
                return
        self.app.tell(f"{'1 alert' if len(ids) == 1 else f'{len(ids)} alerts'}: {done}")
        self.query_one("#alert_table", Table).clear_marks()
        self.app.action_refresh()

    def _follow_events(self) -> None:
        if not any(worker.group == "event log" for worker in self.workers):
            self._read_events()

    @work(exclusive=True, group="event log", exit_on_error=False)
    async def _read_events(self) -> None:
        """Read the latest events, and new ones while the screen exists."""
        while True:
            if newest := self.app.newest_event:  # 0: not known yet, or nothing has happened
                with contextlib.suppress(HostlerError):  # the feed tells of it
                    await self._read_on(newest)
            await asyncio.sleep(RETRY_S)

    async def _read_on(self, newest: int) -> None:
        after = self._events[-1].seq if self._events else newest - EVENTS_KEPT
        async for told in self.app.client.events(after=max(0, after), follow=True):
            if told.event is not None:
                self._events.append(told.event)
                self._events_version += 1

    def selected_id(self) -> str | None:
        """The run or host, else the number of the alert."""
        return next(filter(None, self._about()), None)

    def selected_command(self) -> str | None:
        """The command that shows the subject of the row."""
        run_id, host, _ = self._about()
        if run_id:
            return f"hostler show {run_id}"
        if host:
            return f"hostler doctor {host}"
        return "hostler events" if self.shows_events else "hostler alerts"
