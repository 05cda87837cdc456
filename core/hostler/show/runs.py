"""Columns, rows and status colours of `hostler runs`, `show` and `ps`, and the times that they
show. Pure: the time is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.base.dates import clock_text, exact_time
from hostler.base.table import Column, style
from hostler.base.units import format_age, format_duration
from hostler.model.durations import Timed, duration_of_run
from hostler.show.fold import Cells, fold
from hostler.show.progress import Indices, stage_note, where

if TYPE_CHECKING:
    from hostler.model.views.runs import RunRow, RunView, StageView

_STYLES = {
    "succeeded": "green", "running": "cyan", "starting": "cyan", "collecting": "cyan",
    "failed": "red",
    "cancelled": "yellow", "skipped": "dim", "waiting": "dim", "lost": "red",
    "up": "green", "connecting": "dim", "unreachable": "red", "refused": "red",
    "ok": "green", "warn": "yellow", "FAIL": "red", "skip": "dim",
    "warning": "yellow", "error": "red",
}  # fmt: skip


def paint_status(text: str) -> str:
    """A status word in its colour."""
    name = _STYLES.get(text.strip())
    return style(text, name) if name else text


RUN_COLUMNS = (
    Column("RUN"),
    Column("PIPELINE", flex=True, least=10),
    Column("OWNER", flex=True, least=8),
    Column("STATE", paint=paint_status),
    Column("STAGES", right=True),
    Column("TIME", right=True),
    Column("SUBMITTED"),
    Column("NOTE", flex=True, least=12),
)

PS_COLUMNS = (
    Column("RUN"),
    Column("PIPELINE", flex=True, least=10),
    Column("STAGE", flex=True, least=8),
    Column("OWNER", flex=True, least=8),
    Column("STATE", paint=paint_status),
    Column("GPUS", flex=True, least=10),
    Column("TIME", right=True),
    Column("WHY", flex=True, least=16),
)

STAGE_COLUMNS = (
    Column("STAGE", flex=True, least=10),
    Column("STATUS", paint=paint_status),
    Column("TRY", right=True),
    Column("TIME", right=True),
    Column("WHERE", flex=True, least=8),
    Column("NOTE", flex=True, least=16),
)


def summary_row(run: RunRow, now: float, *, piped: bool) -> list[str]:
    """A row of `hostler runs`."""
    submitted = run.submitted_at
    return [
        run.run_id,
        run.pipeline,
        run.owner,
        run.state,
        f"{run.phases.get('succeeded', 0)}/{run.stage_count}",
        spent_text(run, now),
        exact_time(submitted) if piped else clock_text(submitted),
        str(run.cause or run.title or "-"),
    ]


def spent_text(run: Timed, now: float) -> str:
    """How long a run took or has taken so far; "-" if no stage has started."""
    seconds = duration_of_run(run, now)
    return "-" if seconds is None else format_age(seconds)


def stage_time(stage: StageView, run: RunView, now: float) -> str:
    """How long the stage ran, runs, or has waited; "-" if that has no meaning."""
    attempt = stage.attempt
    if stage.status == "waiting":
        return format_age(now - run.submitted_at)
    if not attempt:
        return "-"
    if attempt.duration is not None:
        return format_duration(round(attempt.duration, 1))
    begin = attempt.launched_at or attempt.placed_at
    end = attempt.finished_at or now
    return format_age(end - begin)


def stage_row(stage: StageView, run: RunView, now: float, indices: Indices) -> list[str]:
    """A row of `hostler show` and of the live table."""
    attempt = stage.attempt
    number = str(attempt.number) if attempt else "-"
    return [
        stage.label or stage.name,
        stage.status,
        number,
        stage_time(stage, run, now),
        where(attempt, indices),
        stage_note(stage),
    ]


def stage_or_cells_row(
    row: StageView | Cells, run: RunView, now: float, indices: Indices
) -> list[str]:
    """A row for one stage, or for cells of a matrix: the values that all of them share."""
    if not isinstance(row, Cells):
        return stage_row(row, run, now, indices)
    first = row.first
    waits = first.status == "waiting"
    spent, note = (stage_time(first, run, now), stage_note(first)) if waits else ("-", _told(row))
    return [row.label, first.status, "-", spent, "-", note]


def _told(row: Cells) -> str:
    """The problems of cells that share a row, else the progress of their starts, and how many cells
    it concerns."""
    told = [stage.trouble for stage in row.stages if stage.trouble]
    told = told or [
        stage.progress.what
        for stage in row.stages
        if stage.status == "starting" and stage.progress is not None
    ]
    if not told:
        return "-"
    return told[0] if len(told) == len(row.stages) else f"{len(told)} of them: {told[0]}"


def ps_rows(run: RunView, now: float, indices: Indices, room: int | None = None) -> list[list[str]]:
    """Rows of `hostler ps` for one run: running stages first, then waiting ones.

    `room`: with more stages than that, cells of a matrix share rows; None: a row each.
    """
    return [ps_row(row, run, now, indices) for row in active_stages(run, room)]


def active_stages(run: RunView, room: int | None = None) -> list[StageView | Cells]:
    """The stages of a run that have not ended: running stages first, then waiting ones; folded as
    in `ps_rows`."""
    order = {"running": 0, "starting": 1, "collecting": 2, "waiting": 3}
    active = [stage for stage in run.stages if stage.status in order]
    active.sort(key=lambda stage: order[stage.status])
    return list(active) if room is None else fold(active, room)


def ps_row(row: StageView | Cells, run: RunView, now: float, indices: Indices) -> list[str]:
    """A row of `hostler ps`: run, pipeline, stage, owner, state, GPUs, time, why."""
    several = isinstance(row, Cells)
    stage = row.first if isinstance(row, Cells) else row
    waits = stage.status == "waiting"
    wanted = f"{stage.gpus} GPU{'' if stage.gpus == 1 else 's'}" if stage.gpus else "-"
    place = "-" if several else where(stage.attempt, indices)
    return [
        run.run_id,
        run.pipeline,
        row.label if isinstance(row, Cells) else stage.label or stage.name,
        run.owner,
        stage.status,
        wanted if waits else place,
        "-" if several and not waits else stage_time(stage, run, now),
        _told(row) if isinstance(row, Cells) and not waits else stage_note(stage),
    ]
