"""Columns of past runs: all there are, those shown at first, widths, number formats, which can
be sorted by. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from hostler.base.dates import local_text
from hostler.base.units import format_age, format_value
from hostler.model.views.history import HistoryRow
from hostler_tui.history.query import Order
from hostler_tui.lines import Line, line
from hostler_tui.table_rows import Head, Row
from hostler_tui.widgets.chart import number_text

_HEADS: Mapping[str, Head] = {
    "run": Head("RUN", 8), "state": Head("STATE", 9), "pipeline": Head("PIPELINE", 12, drop=1),
    "commit": Head("COMMIT", 7, drop=5), "owner": Head("OWNER", 8, drop=6),
    "start": Head("START", 16, drop=4), "took": Head("TOOK", 8, right=True, drop=2),
    "gpuh": Head("GPUh", 7, right=True, drop=3), "energy": Head("Wh", 8, right=True, drop=8),
    "hosts": Head("HOSTS", 12, drop=8), "note": Head("NOTE", 12, flex=True, drop=7),
}  # fmt: skip
_SORTS = {"start": "submitted", "took": "took", "gpuh": "gpu_hours", "energy": "energy"}
"""Columns with another name in the daemon's sort keys; metrics and parameters keep their names."""

DEFAULT = ("state", "pipeline", "commit", "owner", "start", "took", "gpuh", "metrics", "note")
"""Columns; "metrics" stands for the metrics that most of the runs have."""
_METRICS_SHOWN = 3


def names_of(each: Iterable[Iterable[str]]) -> list[str]:
    """Names of the parameters or metrics of runs, the most frequent first."""
    counts = Counter(name for names in each for name in names)
    return sorted(counts, key=lambda name: (-counts[name], name))


def columns_of(runs: Sequence[HistoryRow], chosen: Sequence[str]) -> list[str]:
    """The visible columns: the run, then the chosen columns."""
    columns = ["run"]
    for name in chosen:
        if name == "metrics":
            columns += [
                f"metric.{metric}"
                for metric in names_of(run.metrics for run in runs)[:_METRICS_SHOWN]
            ]
        else:
            columns.append(name)
    return columns


def choices(runs: Sequence[HistoryRow]) -> list[str]:
    """All available columns."""
    more = [f"metric.{name}" for name in names_of(run.metrics for run in runs)]
    more += [f"param.{name}" for name in names_of(run.params for run in runs)]
    return [*list(_HEADS)[1:-1], *more, "note"]


def head_of(column: str) -> Head:
    """The layout of a column."""
    if column in _HEADS:
        return _HEADS[column]
    name = column.partition(".")[2]
    return Head(name, max(6, min(10, len(name))), right=True, drop=2)


def sort_of(column: str) -> str | None:
    """The daemon's sort key for it; None if there is none."""
    group, _, name = column.partition(".")
    return name if group in ("metric", "param") else _SORTS.get(column)


def rows_of(runs: Sequence[HistoryRow], columns: Sequence[str]) -> list[Row]:
    """One row per run, in the daemon's order."""
    return [Row(run.run_id, tuple(cell_of(run, column) for column in columns)) for run in runs]


def cell_of(run: HistoryRow, column: str) -> str | tuple[str, str]:
    """A run's value in a column."""
    text = plain_cell(run, column)
    return (text, text) if column == "state" else text


def plain_cell(run: HistoryRow, column: str) -> str:
    """The same without a role."""
    group, _, name = column.partition(".")
    if group == "metric":
        return number_text(run.metrics.get(name))
    if group == "param":
        value = run.params.get(name)
        return "-" if value is None else format_value(value)
    return _CELLS[column](run)


def _clock(at: float | None) -> str:
    return "-" if at is None else local_text("%Y-%m-%d %H:%M", at)


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else format_age(seconds)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


_CELLS: Mapping[str, Callable[[HistoryRow], str]] = {
    "run": lambda run: run.run_id,
    "state": lambda run: run.state,
    "pipeline": lambda run: run.pipeline,
    "commit": lambda run: (run.git_commit or "-")[:7],
    "owner": lambda run: run.owner,
    "start": lambda run: _clock(run.submitted_at),
    "took": lambda run: _duration(run.took_s),
    "gpuh": lambda run: _number(run.gpu_hours, 1),
    "energy": lambda run: _number(run.energy_wh, 0),
    "hosts": lambda run: ",".join(run.hosts) or "-",
    "note": lambda run: run.cause or run.title or "-",
}


def head_lines(
    total: int | None, shown: int, filter_text: str, order: Order, marked: int, problem: str
) -> list[Line]:
    """The number of runs, the filter, and the order."""
    count = "loading ..." if total is None else f"{total:,} run{'' if total == 1 else 's'}"
    spans = [(f" {count}", "title")]
    if total is not None and shown < total:
        spans.append((f", the first {shown:,}", "dim"))
    spans.append((f"   sort {order.name} {'down' if order.down else 'up'}", "dim"))
    if marked:
        spans.append((f"   {marked} marked", "accent"))
    lines: list[Line] = [tuple(spans)]
    if filter_text:
        lines.append(line((" / ", "key"), filter_text))
    if problem:
        lines.append(line((f" {problem}", "warn")))
    return lines
