"""Time series of GPU measurements (at most 240 points), and stage metrics in pages, for the API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hostler.base.errors import InputError
from hostler.daemon.context import Context
from hostler.daemon.follow import find_attempt
from hostler.daemon.usage import Usage
from hostler.insight.time_steps import MINUTE, Grid, covering, last_minutes
from hostler.model.codec import view_of
from hostler.model.hosts import Host
from hostler.model.records import GpuSeries, StageMetric
from hostler.model.runs import Attempt, Run
from hostler.model.views.history import (
    AttemptUsage,
    FleetHistory,
    GpuColumns,
    HostHistory,
    MetricsPage,
    MetricView,
    StageUsage,
    UsedColumns,
)

_MOST_POINTS = 240

_PAGE = 5000
"""Rows of an answer, about half a megabyte."""
_CURSOR = re.compile(r"(\d{1,6})\.(\d{1,15})")


class Measures:
    """Reads the history of GPUs."""

    def __init__(self, context: Context, usage: Usage) -> None:
        self._context = context
        self._usage = usage

    async def of_host(self, host: Host, minutes: int) -> HostHistory:
        """The `hostler.history/1` object."""
        metrics, grid = self._context.store.metrics, self._last(minutes)
        # A host that was not heard since the daemon began has no look, but may have a past.
        gpus = [g.uuid for g in host.look.gpus] if host.look else await metrics.gpus_of(host.name)
        found = await metrics.gpu_series_of(host.name, gpus, grid.begin, grid.end)
        return HostHistory(
            host=host.name,
            begin=grid.begin,
            step_s=grid.step_s,
            gpus={uuid: _columns(grid, series) for uuid, series in found.items()},
        )

    async def of_fleet(self, minutes: int) -> FleetHistory:
        """Mean utilization and summed power of all GPUs."""
        grid = self._last(minutes)
        found = await self._context.store.metrics.totals(grid.begin, grid.end)
        return FleetHistory(
            begin=grid.begin,
            step_s=grid.step_s,
            utilization=grid.place(found.at, found.utilization),
            power=grid.place(found.at, found.power),
        )

    async def of_stage(self, run: Run, stage: str) -> StageUsage:
        """The usage of each attempt of a stage, and the series of the last one's GPUs over its
        life.

        Raises NotFoundError where it has none.
        """
        last = find_attempt(run, stage, None, "measurements")
        attempts = [a for a in run.attempts if a.stage == stage] or [last]
        grid, found = await self._life(last)
        return StageUsage(
            attempts=tuple(_used(attempt, self._usage.so_far(attempt)) for attempt in attempts),
            begin=grid.begin,
            step_s=grid.step_s,
            gpus={
                uuid: UsedColumns(
                    utilization=grid.place(series.at, series.utilization),
                    memory_used=grid.place(series.at, series.memory_used),
                )
                for uuid, series in found.items()
            },
        )

    async def _life(self, attempt: Attempt) -> tuple[Grid, dict[str, GpuSeries]]:
        """Time steps over an attempt's life, and its GPUs' series: from samples as long as these
        exist."""
        metrics = self._context.store.metrics
        begin = attempt.started_at or attempt.placed_at
        end = max(begin, attempt.finished_at or self._context.clock.now())
        grid = covering(begin, end, _MOST_POINTS)
        if grid.step_s < MINUTE:
            until = grid.begin + grid.step_s * grid.length
            found = await metrics.sample_series_of(
                attempt.host, attempt.gpus, grid.begin, until, int(grid.step_s)
            )
            if any(series.at for series in found.values()):
                return grid, found
            grid = covering(begin, end, _MOST_POINTS, least_s=MINUTE)
        return grid, await metrics.gpu_series_of(
            attempt.host, attempt.gpus, grid.begin, grid.end, int(grid.step_s)
        )

    def _last(self, minutes: int) -> Grid:
        return last_minutes(self._context.clock.now(), minutes)


def _used(attempt: Attempt, usage: Mapping[str, float]) -> AttemptUsage:
    return AttemptUsage(
        attempt_id=attempt.attempt_id,
        gpu_seconds_allocated=usage.get("gpu_seconds_allocated"),
        gpu_seconds_busy=usage.get("gpu_seconds_busy"),
        peak_memory=usage.get("gpu_memory_peak"),
        mean_utilization=usage.get("gpu_utilization_mean"),
        energy_wh=usage.get("energy_wh"),
    )


def _columns(grid: Grid, series: GpuSeries) -> GpuColumns:
    return GpuColumns(
        utilization=grid.place(series.at, series.utilization),
        memory_used=grid.place(series.at, series.memory_used),
        power=grid.place(series.at, series.power),
        temperature=grid.place(series.at, series.temperature),
    )


class Numbers:
    """Reads metrics of stages for users and programs."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def page(self, run: Run, stage: str, after: str | None) -> MetricsPage:
        """Every number of every attempt of a stage, a page at a time: `next` is the `after` of the
        following page, None at the end. Raises InputError."""
        attempts = _attempts(run, stage)
        index, row = _position(after)
        found: list[StageMetric] = []
        position: str | None = None
        while index < len(attempts):
            rest = _PAGE - len(found)
            if not rest:
                position = f"{index}.{row}"
                break
            rows, more = await self._context.store.metrics.page_of_metrics(
                attempts[index], row, rest
            )
            found += rows
            index, row = (index + 1, 0) if more is None else (index, more)
        return _page(found, position)

    async def thinned(self, run: Run, stage: str, points: int) -> MetricsPage:
        """About so many points of each metric, evenly chosen, the last one always; fewer of each
        where there are many metrics."""
        attempts = _attempts(run, stage)
        found = await self._context.store.metrics.thinned_metrics(attempts, points, rows=_PAGE)
        return _page(found, None)


def _page(found: Sequence[StageMetric], following: str | None) -> MetricsPage:
    return MetricsPage(metrics=tuple(view_of(MetricView, row) for row in found), next=following)


def _attempts(run: Run, stage: str) -> Sequence[str]:
    """The attempts of a stage; for a stage that a retry has kept, the attempt of the earlier
    run."""
    kept = [run.kept[stage]] if stage in run.kept else []
    return [a.attempt_id for a in (*kept, *run.attempts) if a.stage == stage]


def _position(after: str | None) -> tuple[int, int]:
    if after is None:
        return 0, 0
    match = _CURSOR.fullmatch(after)
    if match is None:
        raise InputError(
            f"{after!r} is not a position in the metrics",
            remedy="use `next` of the previous answer",
        )
    return int(match[1]), int(match[2])
