"""Reads the stored requests of services and releases, for the API: at most 20 releases in an
answer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hostler.base.errors import NotFoundError
from hostler.base.text import first_of, shown
from hostler.daemon.context import Context
from hostler.daemon.releases import releases_of
from hostler.daemon.service_wishes import names_of, open_services
from hostler.insight.time_steps import Grid
from hostler.insight.traffic import release_traffic, steps_of, total_view
from hostler.model.traffic import TrafficKey, TrafficRow, TrafficTotal
from hostler.model.views.services import ReleaseView
from hostler.model.views.traffic import ReleaseTraffic, TrafficHistory
from hostler.store.traffic import TrafficStore

_MOST_RELEASES = 20
"""Most series of one answer."""


async def show_traffic(context: Context, name: str, minutes: int) -> TrafficHistory:
    """The last minutes of a service, by its releases, or by runs that are no releases. `name`: of
    the deployed service, the stage, the pipeline, the run, or `RUN.STAGE`. Raises NotFoundError."""
    numbers = await _runs_of(context, name)
    stored = TrafficStore(*context.store.metrics.connections)
    totals = sorted(await stored.totals(list(numbers)), key=lambda each: -each.last)
    chosen = totals[:_MOST_RELEASES]
    grid = steps_of(context.clock.now(), minutes)
    rows, counted = await stored.rows([each.run_id for each in chosen], grid.begin, grid.end)
    # A month of many releases is tens of thousands of rows.
    found = await asyncio.to_thread(_series, grid, rows, counted, chosen, numbers)
    return TrafficHistory(service=name, begin=grid.begin, step_s=grid.step_s, releases=found)


def _series(
    grid: Grid,
    rows: Sequence[TrafficRow],
    counted: Mapping[int, float],
    chosen: Sequence[TrafficTotal],
    numbers: Mapping[str, int | None],
) -> tuple[ReleaseTraffic, ...]:
    groups: defaultdict[TrafficKey, list[TrafficRow]] = defaultdict(list)
    for row in rows:
        groups[row.run_id, row.stage].append(row)
    return tuple(
        release_traffic(
            grid, groups[total.run_id, total.stage], counted, total, numbers[total.run_id]
        )
        for total in chosen
    )


async def with_traffic(
    context: Context, releases: tuple[ReleaseView, ...]
) -> tuple[ReleaseView, ...]:
    """Releases with all their requests."""
    stored = TrafficStore(*context.store.metrics.connections)
    totals = await stored.totals([release.run_id for release in releases])
    found = {total.run_id: total_view(total) for total in totals}
    return tuple(replace(each, traffic=found.get(each.run_id)) for each in releases)


async def _runs_of(context: Context, name: str) -> dict[str, int | None]:
    """Run -> number of the release."""
    if name in context.services:
        return {r.run_id: r.number for r in await releases_of(context).releases(name)}
    every = open_services(context)
    found = {run.run_id: None for run, base in every if name in names_of(run, base)}
    if found:
        return dict(found)
    known = first_of([*context.services, *(base for _, base in every)], 10) or "none"
    raise NotFoundError(f"no service {shown(name)} runs", remedy=f"Known services: {known}")
