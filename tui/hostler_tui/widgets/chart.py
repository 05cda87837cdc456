"""Charts as text: scale, axis, least height and width, how missing values and rare samples are
drawn. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hostler.base.table import cell_width, cut, pad
from hostler_tui.format import BLOCKS
from hostler_tui.lines import Line

Point = tuple[float, float | None]
"""A position on the axis, and the value; None: unknown."""

LEAST_HEIGHT = 4
"""Rows of a chart: title, two of blocks, the axis."""
_LEAST_WIDTH = 16
_REGULAR = 2
"""A pause between samples is no gap if it is at most this many times as long as the pause before or
after it."""


def number_text(value: float | None) -> str:
    """ "0.0313", "1.73", "411k": four digits at most; "-" for None."""
    if value is None:
        return "-"
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= factor:
            return f"{value / min(factor, 1e3 if unit == 'k' else factor):.3g}{unit}"
    return f"{value:.4g}"


@dataclass(frozen=True, slots=True)
class Chart:
    """One series. Without `low` and `high` the values set the scale."""

    title: str
    points: tuple[Point, ...]
    """In the order of the axis."""
    low: float | None = None
    high: float | None = None
    form: Callable[[float | None], str] = number_text
    ends: tuple[str, str] = ("", "")
    """Labels under the first and the last column."""
    role: str = "accent"


def chart_lines(chart: Chart, width: int, height: int) -> list[Line]:
    """The chart in exactly `height` lines of at most `width` cells."""
    if not _known(chart.points) or height < LEAST_HEIGHT or width < _LEAST_WIDTH:
        rows = [_title(chart, width)]
        if not _known(chart.points):
            rows.append(((cut(" no values yet", width), "dim"),))
        return [*rows, *([()] * height)][:height]
    low, high = _bounds(chart)
    labels = _labels(chart, low, high, height - 2)
    wide = max(map(cell_width, labels))
    plot = plot_rows(columns(chart.points, width - wide - 2), low, high, height - 2)
    body: list[Line] = [
        ((f"{pad(label, wide, right=True)} ", "dim"), ("│", "dim"), (row, chart.role))
        for label, row in zip(labels, plot, strict=True)
    ]
    return [_title(chart, width), *body, _axis(chart, wide, width)]


def plot_rows(values: Sequence[float | None], low: float, high: float, height: int) -> list[str]:
    """Columns of blocks from the bottom, a gap for an unknown value; the top row first."""
    span = high - low
    eighths = [
        0 if value is None else _eighths((value - low) / span if span > 0 else 0.5, height)
        for value in values
    ]
    return [
        "".join(BLOCKS[max(0, min(8, eighth - 8 * below))] for eighth in eighths)
        for below in range(height - 1, -1, -1)
    ]


def columns(points: Sequence[Point], width: int) -> list[float | None]:
    """One value a column: the mean of the points that fall into it; between points that are
    further apart than a column, the one before."""
    if not points or width <= 0:
        return [None] * max(0, width)
    first, last = points[0][0], points[-1][0]
    span = last - first
    sums: list[list[float]] = [[] for _ in range(width)]
    ends: list[Point | None] = [None] * width
    for x, value in points:
        column = min(width - 1, int((x - first) / span * width)) if span > 0 else 0
        ends[column] = (x, value)
        if _is_known(value):
            sums[column].append(float(value))  # type: ignore[arg-type]
    shown: list[float | None] = []
    held: float | None = None
    for parts, end in zip(sums, ends, strict=True):
        if end is not None:
            held = end[1] if _is_known(end[1]) else None
        shown.append(sum(parts) / len(parts) if parts else held)
    return shown


def sampled(points: Sequence[Point]) -> tuple[Point, ...]:
    """Without the places between samples that are rarer than the steps of the axis: what was
    measured holds until the next sample. A gap that is more than twice as long as those beside it
    stays one: nothing was measured then."""
    known = [n for n, (_, value) in enumerate(points) if _is_known(value)]
    gaps = [after - before for before, after in itertools.pairwise(known)]
    empty: set[int] = set()
    for number, (begin, gap) in enumerate(zip(known, gaps, strict=False)):
        beside = gaps[max(0, number - 1) : number] + gaps[number + 1 : number + 2]
        if gap <= _REGULAR * max(beside, default=gap):
            empty.update(range(begin + 1, begin + gap))
    return tuple(point for number, point in enumerate(points) if number not in empty)


def side_by_side(charts: Sequence[Chart], width: int, height: int, gap: int = 2) -> list[Line]:
    """Charts next to each other, in equal parts of the width."""
    if not charts:
        return []
    each = (width - gap * (len(charts) - 1)) // len(charts)
    blocks = [chart_lines(chart, each, height) for chart in charts]
    return [_joined([block[row] for block in blocks], each, gap) for row in range(height)]


def grid(charts: Sequence[Chart], width: int, height: int, least: int = 36) -> list[Line]:
    """As many charts as fit, in rows of charts at least `least` cells wide, as high as the space
    allows."""
    if not charts or height < LEAST_HEIGHT:
        return []
    across = max(1, min(len(charts), width // least))
    rows = math.ceil(len(charts) / across)
    each = max(LEAST_HEIGHT, min(12, height // rows))
    lines: list[Line] = []
    for at in range(0, len(charts), across):
        part = charts[at : at + across]
        lines += side_by_side(part, width * len(part) // across, each)
    return lines


def _joined(parts: Sequence[Line], each: int, gap: int) -> Line:
    joined: list[tuple[str, str]] = []
    for number, part in enumerate(parts):
        joined += part
        missing = each - sum(cell_width(text) for text, _ in part)
        if number < len(parts) - 1:
            joined.append((" " * (missing + gap), ""))
    return tuple(joined)


def _title(chart: Chart, width: int) -> Line:
    known = [value for _, value in chart.points if value is not None]
    last = chart.form(known[-1]) if known else "-"
    title = cut(chart.title, max(1, width - cell_width(last) - 1))
    return ((title, "title"), (" " * max(1, width - cell_width(title) - cell_width(last)), ""),
            (last, chart.role))  # fmt: skip


def _bounds(chart: Chart) -> tuple[float, float]:
    known = _known(chart.points)
    low = min(known) if chart.low is None else chart.low
    high = max(known) if chart.high is None else chart.high
    return low, max(low, high)


def _labels(chart: Chart, low: float, high: float, rows: int) -> list[str]:
    labels = [chart.form(high), *[""] * (rows - 2), chart.form(low)]
    if rows >= 5:
        labels[rows // 2] = chart.form((low + high) / 2)
    return labels


def _axis(chart: Chart, wide: int, width: int) -> Line:
    left, right = chart.ends
    room = width - wide - 2
    between = max(1, room - cell_width(left) - cell_width(right))
    return ((" " * (wide + 1), ""), ("└", "dim"), (left + " " * between + right, "dim"))


def _eighths(part: float, height: int) -> int:
    return max(1, min(8 * height, round(part * 8 * height)))


def _known(points: Sequence[Point]) -> list[float]:
    return [value for _, value in points if value is not None and math.isfinite(value)]


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
