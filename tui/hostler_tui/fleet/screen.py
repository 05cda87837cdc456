"""The fleet screen: its panes, how often details of the selected host are asked for, drain,
reconnect, sorting by a click; fleet/rows.py has the columns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from textual import on, work
from textual.containers import Horizontal
from textual.widget import Widget

from hostler.base.errors import HostlerError
from hostler.model.views.gpus import FleetView
from hostler.show.fleet import STALE_AFTER, age_out
from hostler_tui.fleet.head import (
    empty_lines,
    head_lines,
    queue_text,
    still_key,
    still_lines,
    view_line,
)  # fmt: skip
from hostler_tui.fleet.order import FIELDS, GROUPS, SORTS, Group, Order, arrange
from hostler_tui.fleet.rows import GPU_HEADS, gpu_rows, host_heads, host_of, host_rows, pick_of
from hostler_tui.gpus.detail import (
    Detail,
    Pick,  # fmt: skip
    find,
    panel_lines,
    strip_lines,
)
from hostler_tui.gpus.holders import Holders, aged, doubted, holder, holders
from hostler_tui.lines import Line
from hostler_tui.messages import HostSeen
from hostler_tui.table_rows import Head, Row
from hostler_tui.widgets.ask_line import AskLine
from hostler_tui.widgets.lab_screen import LabScreen
from hostler_tui.widgets.modal import Choice
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.table import Table

WIDE = 140
"""Cells; wider screens show each GPU's row and a pane beside the list."""
PANEL = 54
LEARN_EVERY = 5.0
"""Seconds between two requests for the selected host's details."""
NOTHING_HOLDS = -1.0
"""Seconds that values may be old while no daemon answers: no value is young enough."""
OLD_STEP = 30.0
"""Seconds between two redraws of the age while the daemon is away."""
SETTLE = 0.3
"""Seconds for which the cursor has to rest before the details are requested."""


CLICKED = {"HOST": "name", "GPU": "name", "MODEL": "model", "FREE": "free", "UTIL": "util",
           "OWNERS": "owner", "OWNER": "owner", "AGE": "age", "TEMP": "temperature"}  # fmt: skip
"""The sort key for a click on a column's title."""


class FleetScreen(LabScreen):
    """The first screen."""

    NAME = "fleet"

    def __init__(self) -> None:
        super().__init__()
        self.order = Order()
        self._per_gpu: bool | None = None
        """One row per GPU; None: depends on the width."""
        self._chosen: Pick | None = None
        """The GPU that is highlighted in its host's row."""
        self._drawn: tuple[object, ...] = ()
        self._fleet: FleetView | None = None
        """The fleet as last drawn."""
        self._still: tuple[tuple[object, ...], tuple[Line, ...]] = ((), ())
        """The lines at the top without values of GPUs, and their source values."""
        self._held: tuple[int, Holders] = (-1, {})
        self._detail = Detail()
        self._learning: tuple[str, float] = ("", 0.0)

    def body(self) -> Iterable[Widget]:
        """The number of free GPUs, the hosts, and the selected row."""
        yield Pane(id="answer")
        with Horizontal():
            yield Table(host_heads(None, 80), kin=host_of, id="hosts")
            yield Pane(id="panel")
        yield Pane(id="strip")
        yield AskLine(FIELDS)

    def on_mount(self) -> None:
        """The pane has a fixed place; the list gets the focus."""
        panel = self.query_one("#panel")
        panel.styles.width, panel.styles.height = PANEL, "1fr"
        self.query_one("#hosts", Table).focus()

    @property
    def is_per_gpu(self) -> bool:
        """Whether each GPU has a row."""
        return self.size.width >= WIDE if self._per_gpu is None else self._per_gpu

    @property
    def picked(self) -> Pick | None:
        """The selected host, and its GPU if one is selected."""
        pick = pick_of(self.query_one("#hosts", Table).cursor)
        if pick is not None and not self.is_per_gpu and self._chosen is not None:
            return self._chosen if self._chosen[0] == pick[0] else pick
        return pick

    @property
    def held(self) -> Holders:
        """The holder of each GPU."""
        if self._held[0] != self.lab.runs_version:
            self._held = (self.lab.runs_version, holders(self.lab.runs))
        return self._held[1]

    def draw_body(self) -> None:
        """Draw the latest fleet; nothing if it has not changed."""
        state = (
            self._age(), self.lab.is_live,
            self.lab.fleet_version, self.lab.runs_version, id(self.lab.history), self.order,
            self.is_per_gpu, self._chosen, self.size, self.app.palette_of_look.look,
        )  # fmt: skip
        if state != self._drawn:
            self._drawn = state
            self._draw_all()
        self._learn_of_selected()

    def _age(self) -> float:
        """Seconds since the last answer about the fleet while no newer one arrives; in steps."""
        age = self.lab.age(time.time())
        return 0.0 if age < STALE_AFTER else max(STALE_AFTER, age // OLD_STEP * OLD_STEP)

    def _draw_all(self) -> None:
        fleet = self._fleet = self._told()
        if fleet is None or not fleet["hosts"]:
            said: Iterable[Line] = (
                [((" connecting ...", "dim"),)] if fleet is None else empty_lines()
            )
            self.query_one("#answer", Pane).show(said)
            self.query_one("#hosts", Table).show(())
            return
        held = self.held
        groups = arrange(fleet, self.order, held, whole=not self.is_per_gpu)
        self._draw_rows(fleet, groups, held)
        # In steps, so that no key waits for all of it.
        self.call_later(self._draw_selected, held)
        self.call_later(self._draw_head, groups)

    def _told(self) -> FleetView | None:
        """The fleet in the last answer, with its age; without a newer answer, no GPU counts as
        free."""
        fleet = self.lab.fleet
        if fleet is None or self.lab.is_live:
            return fleet
        return doubted(aged(fleet, self._age()))

    def _draw_rows(self, fleet: FleetView, groups: list[Group], held: Holders) -> None:
        width = self.size.width - (PANEL if self.size.width >= WIDE else 0)
        heads: tuple[Head, ...] = GPU_HEADS
        rows: list[Row]
        if self.is_per_gpu:
            rows = gpu_rows(groups, fleet, held)
        else:
            heads = host_heads(fleet, width)
            rows = host_rows(groups, fleet, width, self._chosen)
        self.query_one("#hosts", Table).show(rows, heads, view=(self.order, self.is_per_gpu))

    def _draw_head(self, groups: list[Group]) -> None:
        fleet = self._fleet
        if fleet is None:
            return
        if not self.lab.is_live:
            fleet = age_out(fleet, NOTHING_HOLDS)
        key = still_key(fleet)
        if key != self._still[0]:
            self._still = (key, still_lines(fleet))
        shown = len({block.name for group in groups for block in group.blocks})
        view = view_line(
            self.order, shown, len(fleet["hosts"]), queue_text(self.lab.runs), self.is_per_gpu
        )
        width, height = self.size
        lines = head_lines(
            fleet,
            self._still[1],
            self.lab.history,
            view,
            width,
            height,
            filtered=bool(self.order.filter),
        )
        self.query_one("#answer", Pane).show(lines)

    def _draw_selected(self, held: Holders) -> None:
        fleet, wide = self._fleet, self.size.width >= WIDE
        panel, strip = self.query_one("#panel", Pane), self.query_one("#strip", Pane)
        tall = self.size.height >= 20
        panel.display, strip.display = wide, False
        if fleet is None:
            return
        host, gpu = find(fleet, self.picked)
        strip.display = not wide and (tall or gpu is not None)
        if host is None:
            panel.show(())
            strip.show(())
            return
        detail = self._detail if self._detail.name == host["host"] else Detail()
        at = float(fleet["at"])
        if wide:
            panel.show(panel_lines(host, gpu, held, at, detail, PANEL))
        elif strip.display:
            strip.show(strip_lines(host, gpu, held, at, detail)[: 3 if tall else 1])

    def _learn_of_selected(self) -> None:
        """Request the selected host's processes and last hour, if they are visible."""
        pick, now = self.picked, time.monotonic()
        if pick is None or not self.lab.is_live or self.size.height < 20:
            return
        name, asked_at = self._learning
        if pick[0] != name or now - asked_at > LEARN_EVERY:
            self._learning = (pick[0], now)
            self._learn(pick[0])

    @work(exclusive=True, group="learn", exit_on_error=False)
    async def _learn(self, name: str) -> None:
        await asyncio.sleep(SETTLE)  # a key held down asks once
        try:
            host = await self.app.client.host(name)
            hour = await self.app.client.host_history(name)
        except HostlerError:
            return  # the feed tells where the daemon is away
        self.post_message(HostSeen(name, host, hour, time.time()))

    @on(HostSeen)
    def take_host(self, message: HostSeen) -> None:
        """The requested data of the selected host."""
        self._detail = Detail(message.name, message.host, message.hour, message.at)
        self._draw_selected(self.held)

    @on(Table.Moved)
    def follow_cursor(self) -> None:
        """Show another row's details."""
        self._draw_selected(self.held)

    @on(Table.Chosen)
    def open_chosen(self, message: Table.Chosen) -> None:
        """Enter or a second click."""
        pick = pick_of(message.key)
        if pick is not None:
            self.app.open_host(pick[0])

    @on(Table.HeadClicked)
    def sort_by_head(self, message: Table.HeadClicked) -> None:
        """Sort after a click on a column by which hosts can be sorted."""
        if message.title in CLICKED:
            self._sort_by(CLICKED[message.title])

    @on(AskLine.Changed)
    def take_filter(self, message: AskLine.Changed) -> None:
        """Apply the filter while it is typed."""
        self.order = Order(message.filter, self.order.sort, self.order.down, self.order.group)
        self.draw_body()

    def action_open(self) -> None:
        """Open the host's own screen."""
        if (pick := self._meant()) is not None:
            self.app.open_host(pick[0])

    def action_gpu(self, by: int) -> None:
        """Select the next GPU of the host; before the first and after the last, the host itself."""
        pick = self.picked
        host, _ = find(self.lab.told, pick)
        if host is None or pick is None or self.is_per_gpu or not host["gpus"]:
            return
        places: list[int | None] = [None, *(int(gpu["index"]) for gpu in host["gpus"])]
        here = places.index(pick[1]) if pick[1] in places else 0
        self._chosen = (pick[0], places[(here + by) % len(places)])
        self.draw_body()

    def action_fold(self) -> None:
        """One row per GPU, or one per host; the cursor stays on its host."""
        pick = self.picked
        self._per_gpu = not self.is_per_gpu
        self.draw_body()
        self._put_cursor(pick)

    def _put_cursor(self, pick: Pick | None) -> None:
        table = self.query_one("#hosts", Table)
        for row in table.rows:
            found = pick_of(row.key)
            if pick is not None and found is not None and found[0] == pick[0]:
                table.put_cursor(row.key)
                return

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(AskLine).open()

    def action_sort(self) -> None:
        """Choose the sort key of hosts."""
        rows = [Row(name, (name,)) for name in SORTS]
        title = "Sort hosts by (choose it again to reverse the order)"
        sheet = Choice(title, [Head("COLUMN", 20, flex=True)], rows, self.order.sort)
        self.app.push_screen(sheet, self._sort_by)

    def _sort_by(self, name: str | None) -> None:
        if name is not None:
            self.order = self.order.by(name)
            self.draw_body()

    def action_sort_beside(self, by: int) -> None:
        """Sort by the next column."""
        self.order = self.order.beside(by)
        self.draw_body()

    def action_group(self) -> None:
        """Group by host, model, owner, state: one after the other."""
        here = self.order.group
        group = GROUPS[(GROUPS.index(here) + 1) % len(GROUPS)]
        self.order = Order(self.order.filter, self.order.sort, self.order.down, group)
        self.draw_body()

    def action_open_run(self) -> None:
        """Open the run and stage that hold the selected GPU, with its log."""
        host, gpu = find(self.lab.told, self.picked)
        held = holder(self.lab.runs, host, gpu)
        if held is not None:
            self.app.open_run(*held, "log")
        else:
            self.app.tell("select a GPU that a run of this daemon holds", "warning")

    def _meant(self) -> Pick | None:
        """The object of a key, as it was when the key was pressed; a notice if there is none."""
        pick = self.picked
        if pick is None:
            self.app.tell(self.query_one("#hosts", Table).nothing, "warning")
        return pick

    def action_drain(self) -> None:
        """Drain the host, or undrain it."""
        if (pick := self._meant()) is not None:
            self._drain(pick[0])

    @work(exclusive=True, group="drain", exit_on_error=False)
    async def _drain(self, name: str) -> None:
        from hostler_tui.gpus import host_acts

        await host_acts.drain_or_undrain(self.app, name)

    def action_reconnect(self) -> None:
        """Connect at once."""
        if (pick := self._meant()) is not None:
            self._reconnect(pick[0])

    @work(exclusive=True, group="reconnect", exit_on_error=False)
    async def _reconnect(self, name: str) -> None:
        from hostler_tui.gpus import host_acts

        await host_acts.reconnect(self.app, name)

    def selected_id(self) -> str | None:
        """The host's name, or the GPU's UUID."""
        host, gpu = find(self.lab.told, self.picked)
        if host is None:
            return None
        return str(gpu["uuid"]) if gpu is not None else str(host["host"])

    def selected_command(self) -> str | None:
        """The command that shows the same host."""
        pick = self.picked
        return None if pick is None else f"hostler gpus --host {pick[0]} -o wide"
