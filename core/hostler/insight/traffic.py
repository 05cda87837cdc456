"""Requests of services as numbers and series: percentiles shown (50, 95, 99), errors, at most 240
points. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hostler.insight.time_steps import MINUTE, Grid, covering
from hostler.model.traffic import MINUTES_FOR_S, Traffic, TrafficRow, TrafficTotal, together
from hostler.model.views.history import Column
from hostler.model.views.traffic import ReleaseTraffic, TrafficView

_HOUR = 3600.0
_MOST_POINTS = 240


def traffic_view(traffic: Traffic, since: float, seconds: float | None = None) -> TrafficView:
    """The view of requests that were counted in so many seconds."""
    return TrafficView(
        since=since,
        requests=traffic.requests,
        failed=traffic.failed,
        cut=traffic.cut,
        per_second=traffic.requests / seconds if seconds else None,
        p50_ms=traffic.percentile(0.5),
        p95_ms=traffic.percentile(0.95),
        p99_ms=traffic.percentile(0.99),
    )


def total_view(total: TrafficTotal) -> TrafficView:
    """The view of all requests of a release."""
    return traffic_view(total.traffic, total.first)


def steps_of(now: float, minutes: int) -> Grid:
    """The last minutes, in steps no shorter than the stored ones."""
    begin, least = now - minutes * MINUTE, MINUTE
    if minutes * MINUTE > MINUTES_FOR_S - _HOUR:
        least = _HOUR
    return covering(begin, now, _MOST_POINTS, least)


def release_traffic(
    grid: Grid,
    rows: Sequence[TrafficRow],
    counted: Mapping[int, float],
    total: TrafficTotal,
    number: int | None,
) -> ReleaseTraffic:
    """The series of a release: its rows by steps."""
    seconds: defaultdict[int, float] = defaultdict(float)
    for at, part in counted.items():
        seconds[_step(grid, at)] += part
    groups: defaultdict[int, list[Traffic]] = defaultdict(list)
    for row in rows:
        groups[_step(grid, row.at)].append(row.traffic)
    steps = [together(groups[n]) if seconds.get(n) else None for n in range(grid.length)]
    return ReleaseTraffic(
        run_id=total.run_id,
        stage=total.stage,
        number=number,
        total=total_view(total),
        requests=_rates(((each.requests if each else None) for each in steps), seconds),
        failed=_rates(((each.failed if each else None) for each in steps), seconds),
        p50_ms=_percentiles(steps, 0.5),
        p95_ms=_percentiles(steps, 0.95),
        p99_ms=_percentiles(steps, 0.99),
    )


def _step(grid: Grid, at: float) -> int:
    return int((at - grid.begin) // grid.step_s)


def _rates(counts: Iterable[int | None], seconds: Mapping[int, float]) -> Column:
    return tuple(
        None if count is None else count / seconds[step] for step, count in enumerate(counts)
    )


def _percentiles(steps: Iterable[Traffic | None], part: float) -> Column:
    return tuple(None if each is None else each.percentile(part) for each in steps)
