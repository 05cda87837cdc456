"""Rows of the comparison of runs: sections, the star of a different value, differences between
numbers, charts side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hostler.model.views.history import ComparedRow, ComparedRuns
from hostler.show.compare import seems_different, value_text
from hostler_tui.lines import Line, line
from hostler_tui.table_rows import Head, Row
from hostler_tui.widgets.chart import LEAST_HEIGHT, Chart, Point, number_text, side_by_side

Value = str | float | None

_NAME_WIDTH = 16
_RUN_WIDTH = 9


def heads_of(told: ComparedRuns, base: int, width: int) -> list[Head]:
    """A column for the name of a row, and one for each run."""
    longest = max((len(str(entry.name)) for entry in told.rows), default=0)
    heads = [Head("", max(_NAME_WIDTH, min(longest, width // 4)))]
    for place, run in enumerate(told.runs):
        title = str(run.run_id) + (" base" if place == base else "")
        heads.append(Head(title, _RUN_WIDTH, flex=True))
    return heads


def rows_of(told: ComparedRuns, base: int, *, only_differing: bool) -> list[Row]:
    """The rows in their sections; a value that differs from the base run's has a star."""
    rows: list[Row] = []
    section = None
    for number, entry in enumerate(told.rows):
        if only_differing and not seems_different(entry):
            continue
        if entry.section != section:
            section = entry.section
            title = ((str(section).upper(), "title"),)
            rows.append(Row(f"section {section}", (title,), selectable=False, whole=True))
        rows.append(Row(str(number), (str(entry.name).removesuffix("_s"), *_cells(entry, base))))
    return rows


def _cells(entry: ComparedRow, base: int) -> list[Line]:
    values = entry.values
    mine = values[base] if base < len(values) else None
    name = str(entry.name)
    return [
        _cell(name, value, mine, is_base=place == base, is_best=entry.better == place)
        for place, value in enumerate(values)
    ]


def _cell(name: str, value: Value, base: Value, *, is_base: bool, is_best: bool) -> Line:
    spans = [(value_text(name, value), "")]
    if not is_base and value != base:
        spans.append((f" {_difference(name, value, base)}", "accent"))
    if is_best:
        spans.append((" best", "good"))
    return tuple(spans)


def _difference(name: str, value: Value, base: Value) -> str:
    """ "-0.012" between numbers, else a star."""
    if not isinstance(value, int | float) or not isinstance(base, int | float):
        return "*"
    return ("+" if value > base else "-") + value_text(name, abs(value - base))


def head_line(told: ComparedRuns | None, only_differing: bool, shown: int, problem: str) -> Line:
    """ "3 runs   12 of 41 rows differ"."""
    if problem:
        return line((f" {problem}", "warn"))
    if told is None:
        return line((" comparing ...", "dim"))
    differ = sum(1 for entry in told.rows if entry.differs)
    rows = f"{differ} of {len(told.rows)} rows differ"
    view = "only these are shown, u shows all" if only_differing else "all are shown"
    same = "" if shown else "   nothing differs"
    return line((f" {len(told.runs)} runs", "title"), f"   {rows}{same}", (f"   {view}", "dim"))


def chart_of(told: ComparedRuns, metric: str, width: int, height: int) -> list[Line]:
    """One metric's values in each run, side by side on one scale."""
    courses = told.series.get(metric) or ()
    values = [value for course in courses for _, value in course if value is not None]
    if not values or height < LEAST_HEIGHT:
        return []
    times = [float(at) for course in courses for at, _ in course]
    first, last = min(times), max(times)
    charts = [
        Chart(
            f"{metric} {run.run_id}",
            _stretched(course, first, last),
            low=min(values),
            high=max(values),
            ends=(number_text(first), number_text(last)),
        )
        for run, course in zip(told.runs, courses, strict=False)
    ]
    most = max(1, width // 24)
    return side_by_side(charts[:most], width, height)


def _stretched(course: Sequence[Sequence[float]], first: float, last: float) -> tuple[Point, ...]:
    """A series on the shared axis: unknown before its start and after its end."""
    points: list[Point] = [(float(at), value) for at, value in course]
    if not points:
        return ()
    after = min(last, points[-1][0] + (last - first) / 1000)
    return ((first, None), *points, (after, None), (last, None))
