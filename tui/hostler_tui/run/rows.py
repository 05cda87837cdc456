"""Columns and rows of a run's stages with graph lines and earlier attempts, and which stage is
selected first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from hostler.base.units import format_duration
from hostler.model.views.runs import AttemptView, RunView, StageView
from hostler.show.fold import Cells, base_of
from hostler.show.progress import Indices, end_text, phase_text, where
from hostler_tui.runs.dag import DagRow, dag_rows
from hostler_tui.runs.lines import CELLS_SHOWN, dag_cells
from hostler_tui.table_rows import Head, Row

RUN_HEADS = (
    Head("STAGE", 14, flex=True), Head("STATE", 9), Head("TRY", 3, right=True, drop=3),
    Head("TIME", 6, right=True, drop=1), Head("WHERE", 10, drop=2),
    Head("NOTE", 12, flex=True, drop=4),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row, and its stage, attempt or matrix."""

    row: Row
    stage: str = ""
    """The stage of its log and metrics; for a matrix, its first cell."""
    attempt: int | None = None
    """The number of an earlier attempt."""
    matrix: str = ""
    """The matrix that the row opens and closes."""


def stage_rows(
    run: RunView, now: float, indices: Indices, opened: Collection[str] = frozenset()
) -> list[RunRow]:
    """All rows of a run. Cells of a matrix share rows unless it is in `opened`; earlier attempts of
    a stage are below it."""
    rows: list[RunRow] = []
    for number, row in enumerate(dag_rows(run.stages, CELLS_SHOWN, opened)):
        rows += _rows_of(row, number, run, now, indices)
    return rows


def _rows_of(
    row: DagRow, number: int, run: RunView, now: float, indices: Indices
) -> Iterable[RunRow]:
    cells = dag_cells(row, run, now, indices)
    if not cells[0]:
        return [RunRow(Row(f"-{number}", (((row.lead, "dim"), ("", "")),), selectable=False))]
    name = ((row.lead, "dim"), (cells[0], ""), ("", ""))
    shown = Row(row.key, (name, (cells[1], cells[1]), *cells[2:]))
    if isinstance(row.stage, Cells):
        first = row.stage.first
        return [RunRow(shown, first.name, matrix=base_of(first))]
    if row.stage is None:
        return [RunRow(shown, row.cells[0].name, matrix=row.key.rstrip("/"))]
    return [RunRow(shown, row.stage.name), *_earlier(row, row.stage, indices)]


def _earlier(row: DagRow, stage: StageView, indices: Indices) -> Sequence[RunRow]:
    """Attempts before the newest, the latest first."""
    return [
        RunRow(
            Row(
                f"{row.key}#{attempt.number}",
                (
                    ((row.under, "dim"), (f"  try {attempt.number}", ""), ("", "")),
                    (phase_text(attempt), phase_text(attempt)),
                    str(attempt.number), _spent(attempt), where(attempt, indices),
                    end_text(attempt) or "-",
                ),
                role="dim",
            ),
            stage.name,
            attempt.number,
        )
        for attempt in reversed(stage.attempts[:-1])
    ]  # fmt: skip


def _spent(attempt: AttemptView) -> str:
    duration = attempt.duration
    return "-" if duration is None else format_duration(round(duration, 1))


def first_stage(run: RunView) -> str:
    """The first failed stage, else the first running one, else the first."""
    stages = run.stages
    for status in ("failed", "running", "starting", "collecting"):
        for stage in stages:
            if stage.status == status:
                return stage.name
    return stages[0].name if stages else ""


def row_for(stage: str, rows: Sequence[RunRow]) -> str:
    """The row of a stage; if the stage is hidden, the row of its matrix."""
    if any(row.row.key == stage for row in rows):
        return stage
    base = stage.partition(".")[0]
    return next((row.row.key for row in rows if row.stage.partition(".")[0] == base), "")
