"""The programs that bench_tui runs in a terminal: `python -m tests.bench.tui_programs NAME`."""

from __future__ import annotations

import json
import os
import sys
import time

from textual.app import App, ComposeResult
from textual.widgets import DataTable, Static

from hostler.client import AsyncClient
from hostler.show.gpus import GPU_COLUMNS, gpu_rows
from hostler_tui import feed
from hostler_tui.app import HostlerApp

METER_S = 0.01


class Metered(HostlerApp):
    """The product, with a timer that notes how late it is; written to LAG_FILE at the end."""

    def on_mount(self) -> None:
        self.lags: list[float] = []
        self.expected = time.perf_counter() + METER_S
        self.set_interval(METER_S, self._beat)
        self.set_interval(1.0, self._write)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.lags.append(max(0.0, now - self.expected))
        self.expected = now + METER_S

    def _write(self) -> None:
        with open(os.environ["LAG_FILE"], "w") as file:
            json.dump(self.lags, file)


class Hello(App[None]):
    """The floor of the first paint."""

    def compose(self) -> ComposeResult:
        yield Static("hello, world")


class Peer(App[None]):
    """The same GPUs in Textual's own table, changed cells only, twice a second."""

    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row")

    def on_mount(self) -> None:
        self.client = AsyncClient()
        self.known: dict[str, list[str]] = {}
        self.query_one(DataTable).add_columns(*((c.title, c.title) for c in GPU_COLUMNS))
        self.set_interval(0.5, self._step)

    async def _step(self) -> None:
        fleet = await self.client.gpus()
        table = self.query_one(DataTable)
        for place, row in enumerate(gpu_rows(fleet)):
            key = f"{place}"
            if key not in self.known:
                table.add_row(*row, key=key)
            else:
                for column, old, new in zip(GPU_COLUMNS, self.known[key], row, strict=True):
                    if old != new:
                        table.update_cell(key, column.title, new)
            self.known[key] = list(row)


PROGRAMS = {"product": HostlerApp, "metered": Metered, "hello": Hello, "peer": Peer}

if __name__ == "__main__":
    feed.FLEET_EVERY = 0.5  # as often as the lab of the benchmark changes
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    PROGRAMS[sys.argv[1]]().run()
