"""The live table of `hostler run`: its title and count lines, which stages are shown if not all
fit, and its redrawing.

What is shown is pure; `Screen` is the only thing here that writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from hostler.base.table import render_table
from hostler.base.text import clean
from hostler.base.units import format_age
from hostler.model.durations import duration_of_run
from hostler.show.fold import Cells, fold, size_of
from hostler.show.progress import Indices
from hostler.show.runs import STAGE_COLUMNS, stage_or_cells_row

if TYPE_CHECKING:
    from hostler.model.views.runs import RunView, StageView

_ACTIVE = ("running", "starting", "collecting", "failed")


def live_lines(
    run: RunView,
    now: float,
    indices: Indices,
    *,
    width: int,
    height: int,
    color: bool,
) -> list[str]:
    """The whole picture: a title, the stages that fit into `height` lines, and a count.

    Cells of a matrix that do not fit share a row.
    """
    room = max(1, height - 4)
    shown = chosen(fold(run.stages, room), room)
    rows = [stage_or_cells_row(entry, run, now, indices) for entry in shown]
    table = render_table(STAGE_COLUMNS, rows, width=width, color=color)
    left_out = len(run.stages) - sum(map(size_of, shown))
    more = f"; {left_out} not shown" if left_out else ""
    return [clean(title_line(run, now)), *table.splitlines(), clean(count_line(run) + more)]


def chosen(rows: Sequence[StageView | Cells], room: int) -> list[StageView | Cells]:
    """The rows to show, in their own order: all if they fit, else active rows first."""
    if len(rows) <= room:
        return list(rows)
    ranked = sorted(range(len(rows)), key=lambda n: (_rank(rows[n]), n))
    return [rows[n] for n in sorted(ranked[:room])]


def _rank(row: StageView | Cells) -> int:
    status = (row.first if isinstance(row, Cells) else row).status
    if status in _ACTIVE:
        return 0
    return 1 if status == "waiting" else 2


def title_line(run: RunView, now: float) -> str:
    """ "r7f3a2k digits: running, 3m12s"."""
    seconds = duration_of_run(run, now)
    if seconds is None:  # it waits
        seconds = (run.finished_at or now) - run.submitted_at
    spent = format_age(seconds)
    title = f" ({run.title})" if run.title else ""
    return f"{run.run_id} {run.pipeline}{title}: {run.state}, {spent}"


def count_line(run: RunView) -> str:
    """ "3 of 12 succeeded, 2 running, 7 waiting"."""
    counts: dict[str, int] = {}
    for stage in run.stages:
        counts[stage.status] = counts.get(stage.status, 0) + 1
    parts = [f"{counts.pop('succeeded', 0)} of {len(run.stages)} succeeded"]
    parts += [f"{count} {status}" for status, count in sorted(counts.items())]
    return ", ".join(parts)


def redraw(before: int, lines: Sequence[str]) -> str:
    """The bytes that replace `before` lines of the terminal by `lines`, without a full clear."""
    up = f"\x1b[{before}A" if before else ""
    return up + "".join(f"\r{line}\x1b[K\n" for line in lines) + "\x1b[J"


class Screen:
    """A picture of some lines at the end of a terminal, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._height = 0
        self._shown: list[str] = []

    def show(self, lines: list[str]) -> None:
        """Replace the old picture; writes nothing if it is the same."""
        if lines == self._shown:
            return
        self._stream.write(redraw(self._height, lines))
        self._stream.flush()
        self._height, self._shown = len(lines), lines

    def forget(self) -> None:
        """The present lines stay on the terminal; the next picture comes below them."""
        self._height, self._shown = 0, []
