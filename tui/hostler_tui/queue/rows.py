"""Columns, rows, filter fields and orders of the queue; when cells of a matrix share rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hostler.model.views.runs import RunView, StageView
from hostler.show.fold import Cells, base_of, size_of
from hostler.show.progress import Indices
from hostler.show.runs import active_stages, ps_row
from hostler_tui.filtering import Filter, Value
from hostler_tui.table_rows import Head, Row

HEADS = (
    Head("RUN", 9), Head("PIPELINE", 10, flex=True, drop=4), Head("STAGE", 12, flex=True),
    Head("OWNER", 8, drop=3), Head("STATE", 8, drop=1), Head("GPUS", 9, drop=5),
    Head("TIME", 6, right=True, drop=2), Head("PRIO", 4, right=True, drop=6),
    Head("WHY", 16, flex=True, drop=2),
)  # fmt: skip
FIELDS = ("run", "pipeline", "stage", "owner", "state", "gpus", "why", "priority", "host")
"""The fields that a filter may use."""
ROOM = 8
"""Rows of one run; cells of a matrix share rows beyond that."""
ORDERS = ("by run", "waiting first")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: a stage of a run, or equal cells of a matrix."""

    run: RunView
    stage: StageView | Cells
    cells: tuple[str, ...]

    @property
    def key(self) -> str:
        """Run and stage; the same for equal cells, whatever their number."""
        if isinstance(self.stage, Cells):
            return f"{self.run.run_id}/{base_of(self.first)}/{self.first.status}"
        return f"{self.run.run_id}/{self.first.name}"

    @property
    def first(self) -> StageView:
        """The stage, or the first of the cells."""
        return self.stage.first if isinstance(self.stage, Cells) else self.stage

    @property
    def waits(self) -> bool:
        """Whether it has no place yet."""
        return self.first.status == "waiting"


def run_of(key: str) -> str:
    """The run of a row, by the row's key."""
    return key.partition("/")[0]


def entries(
    runs: Sequence[RunView], now: float, indices: Indices, wanted: Filter, order: str = ORDERS[0]
) -> list[Entry]:
    """The rows that match the filter: run by run, or waiting rows before running ones."""
    found = [
        Entry(run, stage, tuple(ps_row(stage, run, now, indices)))
        for run in runs
        for stage in active_stages(run, ROOM)
    ]
    shown = [entry for entry in found if wanted.holds(_fields(entry))]
    if order != ORDERS[0]:
        shown.sort(key=lambda entry: (not entry.waits, -entry.run.priority))
    return shown


def table_rows(shown: Sequence[Entry], *, stale: bool = False) -> list[Row]:
    """The table's rows. Values that may have changed since are marked, and dim."""
    return [_table_row(entry, stale) for entry in shown]


def _table_row(entry: Entry, stale: bool) -> Row:
    run_id, pipeline, stage, owner, state, gpus, time, why = entry.cells
    priority = str(entry.run.priority)
    cancelled = entry.run.cancelled_by
    said = f"{cancelled} cancels it" if cancelled else why
    return Row(
        entry.key,
        (
            (f"{run_id}~", "dim") if stale else (run_id, "title"), pipeline, stage, owner,
            (state, "dim" if stale else state), gpus, time, priority, said,
        ),
        role="dim" if stale else "",
    )  # fmt: skip


def _fields(entry: Entry) -> Mapping[str, Value]:
    run_id, pipeline, stage, owner, state, _, _, why = entry.cells
    host = entry.first.attempt.host if entry.first.attempt else None
    return {
        "run": run_id, "pipeline": pipeline, "stage": stage, "owner": owner, "state": state,
        "gpus": entry.first.gpus, "why": why, "host": host,
        "priority": entry.run.priority,
    }  # fmt: skip


def answer_text(runs: Sequence[RunView]) -> str:
    """ "waiting 9 (23 GPUs)   running 14 (214 GPUs)   of 12 runs"."""
    stages = [stage for run in runs for stage in active_stages(run)]
    waiting = [s for s in stages if not isinstance(s, Cells) and s.status == "waiting"]
    running = [s for s in stages if not isinstance(s, Cells) and s.status != "waiting"]
    of = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return f"waiting {_counted(waiting)}   running {_counted(running)}   of {of}"


def _counted(stages: Sequence[StageView]) -> str:
    gpus = sum(stage.gpus for stage in stages)
    return f"{sum(map(size_of, stages))} ({gpus} GPU{'' if gpus == 1 else 's'})"
