"""What was measured, as the charts of the API."""

from __future__ import annotations

from typing import Any

from hostler.daemon.context import Context
from hostler.decide.grid import Grid, last_minutes
from hostler.model.hosts import Host
from hostler.model.records import GpuSeries


class Measures:
    """Reads the history of GPUs."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def of_host(self, host: Host, minutes: int) -> dict[str, Any]:
        """The `hostler.history/1` object."""
        metrics, grid = self._context.store.metrics, self._last(minutes)
        # A host that was not heard since the daemon began has no look, but may have a past.
        gpus = [g.uuid for g in host.look.gpus] if host.look else await metrics.gpus_of(host.name)
        found = await metrics.gpu_series_of(gpus, grid.begin, grid.end)
        return {
            "schema": "hostler.history/1",
            "host": host.name,
            **_head(grid),
            "gpus": {uuid: _columns(grid, series) for uuid, series in found.items()},
        }

    async def of_fleet(self, minutes: int) -> dict[str, Any]:
        """Mean utilization and summed power of all GPUs."""
        grid = self._last(minutes)
        found = await self._context.store.metrics.totals(grid.begin, grid.end)
        return {
            **_head(grid),
            "utilization": grid.place(found.at, found.utilization),
            "power": grid.place(found.at, found.power),
        }

    def _last(self, minutes: int) -> Grid:
        return last_minutes(self._context.clock.now(), minutes)


def _head(grid: Grid) -> dict[str, Any]:
    return {"from": grid.begin, "step_s": grid.step_s}


def _columns(grid: Grid, series: GpuSeries) -> dict[str, Any]:
    return {
        "utilization": grid.place(series.at, series.utilization),
        "memory_used": grid.place(series.at, series.memory_used),
        "power": grid.place(series.at, series.power),
        "temperature": grid.place(series.at, series.temperature),
    }
