"""The host screen: its layout, how often the host and its last hour are asked for, check, drain,
trust of its key; host/rows.py has the lines."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import SuspendNotSupported
from textual.containers import Horizontal
from textual.widget import Widget

from hostler.base.errors import HostlerError
from hostler.model.views.gpus import FleetView
from hostler_tui.gpus import host_acts
from hostler_tui.gpus.detail import Detail, find
from hostler_tui.gpus.holders import doubted, holders
from hostler_tui.host import rows as host_view
from hostler_tui.host import screen as host_work
from hostler_tui.host.rows import Findings
from hostler_tui.lines import Line
from hostler_tui.messages import DoctorEnded, HostSeen
from hostler_tui.widgets.lab_screen import LabScreen
from hostler_tui.widgets.pane import Pane, ScrollPane
from hostler_tui.widgets.table import Table

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


ASK_EVERY = 2.0
"""Seconds between two requests for the host."""
HOUR_EVERY = 10.0
"""Seconds between two requests for its last hour."""
SIDE = 44
"""Cells of the pane with machine and facts, on wide screens."""


class HostScreen(LabScreen):
    """One host, above the fleet's screen."""

    NAME, TAB = "host", "fleet"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.host_name = name
        self.findings = Findings()
        self._detail = Detail(name)
        self._asked_at = self._hour_at = float("-inf")
        self._drawn: tuple[object, ...] = ()

    def body(self) -> Iterable[Widget]:
        """Title, GPUs, and the details below them."""
        yield Pane(id="host_title")
        yield Table(host_view.heads(80), id="gpus")
        with Horizontal():
            yield ScrollPane(id="work")
            yield Pane(id="machine")

    def on_mount(self) -> None:
        """The GPUs get the focus."""
        self.query_one("#machine").styles.width = SIDE
        self.query_one("#gpus").focus()

    def draw_body(self) -> None:
        """Draw the fleet's data and the host's own answer."""
        state = (self.lab.fleet_version, self.lab.runs_version, self._detail, self.size,
                 self.findings, self.app.palette_of_look.look)  # fmt: skip
        if state != self._drawn:
            self._drawn = state
            self._draw_all()
        now = time.monotonic()
        if self.lab.is_live and now - self._asked_at > ASK_EVERY:
            self._asked_at = now
            self._ask()

    def _draw_all(self) -> None:
        entry, _ = find(self._told(), (self.host_name, None))
        if entry is None:
            gone = f" {self.host_name} is no longer in the configuration; esc goes back"
            self.query_one("#host_title", Pane).show([((gone, "warn"),)])
            return
        now = time.time()
        title = host_view.title_lines(entry, self._detail, now, self.lab.age(now))
        self.query_one("#host_title", Pane).show(title)
        table = self.query_one("#gpus", Table)
        table.styles.height = min(len(entry["gpus"]) + 1, max(3, self.size.height // 2 - 2))
        columns = host_view.heads(self.size.width)
        held = holders(self.lab.runs)
        table.show(host_view.rows(entry, held, self._detail, columns), columns)
        self._draw_below()

    def _told(self) -> FleetView:
        """The fleet in the last answer; without a newer answer, no GPU counts as free."""
        fleet = self.lab.told
        return fleet if self.lab.is_live else doubted(fleet)

    def _draw_below(self) -> None:
        entry, gpu = find(self._told(), (self.host_name, self._index()))
        if entry is None:
            return
        wide = self.size.width >= 120
        room = self.size.width - (SIDE if wide else 0)
        work = host_view.work_lines(entry, gpu, self._detail, room)
        machine, doctor = (
            host_view.machine_lines(self._detail), host_view.doctor_lines(self.findings),
        )  # fmt: skip
        side = self.query_one("#machine", Pane)
        side.display = wide
        if wide:
            side.show(machine)
        asked = self.findings != Findings()
        lines: list[Line] = [*doctor, *work] if asked else [*work, *doctor]
        lines += [] if wide else machine
        self.query_one("#work", Pane).show(lines)

    def _index(self) -> int | None:
        key = self.query_one("#gpus", Table).cursor
        return int(key) if key is not None else None

    @work(exclusive=True, group="host", exit_on_error=False)
    async def _ask(self) -> None:
        now = time.monotonic()
        try:
            host = await self.app.client.host(self.host_name)
            hour = self._detail.hour
            if now - self._hour_at > HOUR_EVERY:
                hour = await self.app.client.host_history(self.host_name)
                self._hour_at = now
        except HostlerError:
            return  # the feed tells where the daemon is away
        self.post_message(HostSeen(self.host_name, host, hour, time.time()))

    @on(HostSeen)
    def take_host(self, message: HostSeen) -> None:
        """Take the requested data."""
        self._detail = Detail(message.name, message.host, message.hour, message.at)
        self.draw_body()

    @on(Table.Moved)
    def follow_cursor(self) -> None:
        """Show another GPU's hour at the top."""
        self._draw_below()
        self.query_one("#work", ScrollPane).scroll_home(animate=False)

    def action_back(self) -> None:
        """Back to the fleet."""
        self.app.pop_screen()

    def action_other_pane(self) -> None:
        """Switch between the GPUs and the details below."""
        below = self.query_one("#gpus").has_focus
        self.query_one("#work" if below else "#gpus").focus()

    def action_doctor(self) -> None:
        """Check the host."""
        if not self.findings.is_running:
            self.findings = Findings(is_running=True)
            self.draw_body()
            self.query_one("#work", ScrollPane).scroll_home(animate=False)
            self._run_doctor()

    @work(exclusive=True, group="doctor", exit_on_error=False)
    async def _run_doctor(self) -> None:
        found = await host_work.doctor(self.app, self.host_name)
        self.post_message(DoctorEnded(found.checks, found.error))

    @on(DoctorEnded)
    def take_findings(self, message: DoctorEnded) -> None:
        """Take the result of the check."""
        self.findings = Findings(checks=message.checks, error=message.error)
        self.draw_body()

    @work(exclusive=True, group="drain", exit_on_error=False)
    async def action_drain(self) -> None:
        """Drain, or undrain it."""
        await host_acts.drain_or_undrain(self.app, self.host_name)

    def action_trust(self) -> None:
        """Let the question about the key use the terminal."""
        if host_work.trust_in_terminal(self.app, self.host_name):
            self.action_reconnect()

    @work(exclusive=True, group="connect", exit_on_error=False)
    async def action_reconnect(self) -> None:
        """Connect at once."""
        await host_acts.reconnect(self.app, self.host_name)

    def selected_id(self) -> str | None:
        """The UUID of the selected GPU; the host's name without one."""
        _, gpu = find(self.lab.told, (self.host_name, self._index()))
        return str(gpu["uuid"]) if gpu is not None else self.host_name

    def selected_command(self) -> str | None:
        """The command that shows this host."""
        return f"hostler gpus --host {self.host_name} -o wide"


def trust_in_terminal(app: LabApp, name: str) -> bool:
    """Let the question about the key use the terminal."""
    try:
        with app.suspend():
            is_trusted = app.tools.trust(name)
            input("enter goes back ")
    except SuspendNotSupported:
        app.tell(f"not in this terminal: run hostler host trust {name}", "warning")
        return False
    except EOFError:
        return False
    return is_trusted


async def doctor(app: LabApp, name: str) -> Findings:
    """The result of the check of a host, or why there is none."""
    try:
        return Findings(checks=await app.tools.doctor(name))
    except HostlerError as error:
        return Findings(error=f"{error}: {error.remedy}" if error.remedy else str(error))
