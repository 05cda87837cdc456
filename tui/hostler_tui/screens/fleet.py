"""All hosts and GPUs at a glance: can I start now, and where?"""

from __future__ import annotations

from collections.abc import Iterable

from textual.widget import Widget

from hostler.quick.gpus import host_rows, summary_line
from hostler_tui.screens.base import LabScreen
from hostler_tui.widgets.pane import Pane
from hostler_tui.widgets.table import Head, Row, Table

HEADS = (
    Head("HOST", 12), Head("MODEL", 11, drop=2), Head("GPUS", 8), Head("FREE", 5, right=True),
    Head("FREE MEM", 12, drop=3), Head("OWNERS", 10, flex=True, drop=1),
    Head("AGE", 5, right=True, drop=4),
)  # fmt: skip


class FleetScreen(LabScreen):
    """The first screen."""

    NAME = "fleet"

    def body(self) -> Iterable[Widget]:
        """The answer people came for, then the hosts."""
        yield Pane(id="answer")
        yield Table(HEADS, id="hosts")

    def draw_body(self) -> None:
        """From the fleet as it was last told."""
        fleet = self.lab.fleet
        if fleet is None:
            self.query_one("#answer", Pane).show([((" connecting ...", "dim"),)])
            return
        self.query_one("#answer", Pane).show([((f" {summary_line(dict(fleet))}", ""),)])
        rows = [Row(cells[0], tuple(cells)) for cells in host_rows(dict(fleet))]
        self.query_one("#hosts", Table).show(rows)
