"""Requests, errors and response times of a service as numbers and curves: from which share of
errors on they are red, heights of charts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from hostler.base.dates import local_text
from hostler.model.views.history import Column
from hostler.model.views.traffic import ReleaseTraffic, TrafficHistory
from hostler.show.traffic import milliseconds
from hostler_tui.format import sparkline
from hostler_tui.lines import Line, line
from hostler_tui.services import Service
from hostler_tui.widgets.chart import LEAST_HEIGHT, Chart, chart_lines, number_text, sampled

Form = Callable[[float | None], str]
"""Formats a value."""
_MANY = 10_000
_HIGHEST = 9
"""The most rows of a chart."""


@dataclass(frozen=True, slots=True)
class Now:
    """The last minute of a service. None: no data."""

    rate: float | None = None
    """Requests per second."""
    requests: int = 0
    failed: int | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None

    @property
    def role(self) -> str:
        """The role in which its errors are drawn: red from one percent on."""
        failed = self.failed or 0
        return "bad" if failed > self.requests / 100 else "warn" if failed else ""


@dataclass(frozen=True, slots=True)
class Curves:
    """The last hour of a service, of all its releases together."""

    begin: float
    step_s: float
    requests: Column
    """Per second."""
    failed: Column
    """Per second."""
    p50_ms: Column
    p95_ms: Column


def now_of(one: Service, curves: Curves | None = None) -> Now:
    """Of all its releases; times are those of the one with most requests. Numbers of the last
    step of the curves also count releases that have ended since."""
    found = [part.traffic for part in one.parts if part.traffic is not None]
    if not found:
        return Now()
    busiest = max(found, key=lambda traffic: traffic.requests)
    last = _last(curves) if curves is not None else None
    if last is not None:
        rate, failures = last
        return Now(rate, round(60 * rate), round(60 * failures), busiest.p50_ms, busiest.p95_ms)
    rates = [traffic.per_second for traffic in found if traffic.per_second is not None]
    failed = sum(traffic.failed for traffic in found)
    requests = sum(traffic.requests for traffic in found)
    total = sum(rates) if rates else None
    return Now(total, requests, failed, busiest.p50_ms, busiest.p95_ms)


def _last(curves: Curves) -> tuple[float, float] | None:
    """Requests and failures per second in the last two steps, of which the last has just begun;
    None: they have no data."""
    rates = [value for value in curves.requests[-2:] if value is not None]
    failed = [value for value in curves.failed[-2:] if value is not None]
    return (_mean(rates), _mean(failed)) if rates else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def curves_of(history: TrafficHistory) -> Curves:
    """Requests and errors of all releases added up; times of the busiest one at each step."""
    releases = history.releases
    return Curves(
        history.begin,
        history.step_s,
        _sums([release.requests for release in releases]),
        _sums([release.failed for release in releases]),
        _of_busiest(releases, [release.p50_ms for release in releases]),
        _of_busiest(releases, [release.p95_ms for release in releases]),
    )


def _sums(columns: Sequence[Column]) -> Column:
    steps = zip_longest(*columns)
    known = ([value for value in step if value is not None] for step in steps)
    return tuple(sum(values) if values else None for values in known)


def _of_busiest(releases: Sequence[ReleaseTraffic], columns: Sequence[Column]) -> Column:
    loads = list(zip_longest(*(release.requests for release in releases)))
    found = []
    for load, values in zip(loads, zip_longest(*columns), strict=False):
        known = [(r or 0.0, v) for r, v in zip(load, values, strict=True) if v is not None]
        found.append(max(known)[1] if known else None)
    return tuple(found)


def cells(one: Service, curves: Curves | None, width: int) -> tuple[str | tuple[str, str], ...]:
    """For the table: requests per second as a curve and a number, errors per minute, times."""
    now = now_of(one, curves)
    failed = "-" if now.failed is None else str(now.failed)
    return (
        (sparkline(held(curves.requests), width) if curves is not None else "", "accent"),
        rate_text(now.rate),
        (failed, now.role),
        milliseconds(now.p50_ms),
        milliseconds(now.p95_ms),
    )


def rate_text(rate: float | None) -> str:
    """ "8.2", "210", "0"."""
    if rate is None or rate >= _MANY:
        return number_text(rate)
    return f"{rate:.1f}" if 0 < rate < 100 else f"{rate:.0f}"


def _time_text(value: float | None) -> str:
    return "0" if value == 0 else milliseconds(value)


def traffic_line(one: Service, curves: Curves | None, width: int) -> Line | None:
    """All values in one line, if there is no space for charts; None without traffic."""
    now = now_of(one, curves)
    if now.rate is None and curves is None:
        return None
    each = max(6, min(24, (width - 58) // 2))
    requests = sparkline(held(curves.requests), each) if curves is not None else ""
    times = sparkline(held(curves.p95_ms), each) if curves is not None else ""
    return line(
        (f" {rate_text(now.rate)} requests/s ", ""), (requests, "accent"),
        (f"   {now.failed or 0} error{'s' * (now.failed != 1)}/min", now.role or "dim"),
        (f"   p95 {milliseconds(now.p95_ms)} ", ""), (times, "accent"),
    )  # fmt: skip


def held(column: Column) -> list[float | None]:
    """Each value holds until the next one, if counts are rarer than steps."""
    points = tuple((float(n), value) for n, value in enumerate(column))
    kept = dict(sampled(points))
    found: list[float | None] = []
    for place in range(len(column)):
        at = float(place)
        found.append(kept[at] if at in kept else (found[-1] if found else None))
    return found


def chart_block(curves: Curves, width: int, height: int) -> list[Line]:
    """Three charts below each other: requests, errors, times."""
    each = max(LEAST_HEIGHT, min(_HIGHEST, height // 3))
    lines: list[Line] = []
    for chart in charts(curves)[: max(1, height // each)]:
        lines += chart_lines(chart, width, each)
    return lines[:height]


def charts(curves: Curves) -> list[Chart]:
    """Over the last hour."""
    last = curves.begin + curves.step_s * len(curves.requests)
    ends = (local_text("%H:%M", curves.begin), local_text("%H:%M", last))
    at = [curves.begin + curves.step_s * n for n in range(len(curves.requests))]

    def chart(title: str, values: Column, form: Form, role: str) -> Chart:
        points = sampled(tuple(zip(at, values, strict=False)))
        return Chart(title, points, 0.0, _top(values), form, ends, role)

    failed = tuple(None if value is None else 60 * value for value in curves.failed)
    return [
        chart("requests/s", curves.requests, rate_text, "accent"),
        chart("errors/min", failed, rate_text, "bad"),
        chart("p95", curves.p95_ms, _time_text, "leased"),
    ]


def _top(values: Column) -> float:
    """The top of the scale: a curve of only zeros is drawn at the bottom."""
    known = [value for value in values if value is not None]
    return max(known, default=0.0) or 1.0
