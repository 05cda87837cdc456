"""Runs as rows and lines, from the API's objects. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hostler.base.dates import local_text
from hostler.base.table import Column, style
from hostler.base.units import format_age, format_duration, format_size, requeued_text
from hostler.model.durations import Timed, duration_of_run
from hostler.show.fold import Cells, fold

if TYPE_CHECKING:
    from hostler.model.views.gpus import FleetView
    from hostler.model.views.runs import AttemptView, ProgressView, RunRow, RunView, StageView

_STYLES = {
    "succeeded": "green", "running": "cyan", "starting": "cyan", "collecting": "cyan",
    "failed": "red",
    "cancelled": "yellow", "skipped": "dim", "waiting": "dim", "lost": "red",
    "up": "green", "connecting": "dim", "unreachable": "red", "refused": "red",
    "ok": "green", "warn": "yellow", "FAIL": "red", "skip": "dim",
    "warning": "yellow", "error": "red",
}  # fmt: skip

_HOST_CAUSES = ("host lost", "host rebooted", "GPU lost", "vanished", "ended by docker restart")


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

Indices = Mapping[str, int]
"""GPU UUID -> index on its host."""


def clock_text(at: float | None) -> str:
    """A time in the person's zone: "2026-11-24 12:04"; "-" for None."""
    return "-" if at is None else local_text("%Y-%m-%d %H:%M", at)


def exact_time(at: float | None) -> str:
    """RFC 3339 with zone, for pipes; "" for None."""
    if at is None:
        return ""
    stamp = local_text("%Y-%m-%dT%H:%M:%S%z", at)
    return f"{stamp[:-2]}:{stamp[-2:]}" if len(stamp) > 2 else stamp


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
    """How long a run took or has taken so far; "-" where nothing of it has started."""
    seconds = duration_of_run(run, now)
    return "-" if seconds is None else format_age(seconds)


def gpu_indices(fleet: FleetView) -> dict[str, int]:
    """UUID -> index of every GPU in a `hostler.gpus/1` object."""
    return {gpu["uuid"]: gpu["index"] for host in fleet["hosts"] for gpu in host["gpus"]}


def uses_gpus(run: RunView) -> bool:
    """Whether the latest attempt of any stage was given GPUs."""
    return any(stage.attempt is not None and stage.attempt.gpus for stage in run.stages)


def where(attempt: AttemptView | None, indices: Indices) -> str:
    """ "gpu1:2-3": the host and the GPUs of an attempt; the host alone without GPUs."""
    if not attempt:
        return "-"
    gpus = attempt.gpus
    if not gpus or attempt.phase == "collecting":  # they were given back
        return attempt.host
    numbers = [indices.get(uuid) for uuid in gpus]
    if None in numbers:
        return f"{attempt.host}:{len(gpus)} GPU{'' if len(gpus) == 1 else 's'}"
    return f"{attempt.host}:{ranges(sorted(n for n in numbers if n is not None))}"


def ranges(numbers: Sequence[int]) -> str:
    """ "0-3,6" for 0, 1, 2, 3, 6."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def stage_time(stage: StageView, run: RunView, now: float) -> str:
    """How long the stage ran, runs, or has waited; "-" where that means nothing."""
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


def stage_note(stage: StageView) -> str:
    """The one thing worth knowing of a stage now: progress, why it waits, how it ended."""
    if stage.kept:
        return f"kept from {stage.attempt.run_id if stage.attempt else 'an earlier run'}"
    if stage.status == "waiting":
        return _joined(stage.reason.sentence if stage.reason else "", _requeued(stage))
    if stage.trouble:  # of a start that does not go on, until something of it does
        return stage.trouble
    if stage.status in ("starting", "collecting") and stage.progress:
        return progress_text(stage.progress)
    if stage.status == "collecting":
        return "its command has ended; its files are being copied"
    attempt = stage.attempt
    if attempt and stage.status not in ("succeeded", "running", "starting"):
        warning = attempt.warning if attempt.cause == "time limit" else ""
        return _joined(attempt_end(attempt), warning)
    if attempt and stage.status in ("succeeded", "running"):
        warning = attempt.warning if stage.status == "running" else ""
        return _joined(metrics_text(attempt.metrics), warning, _requeued(stage))
    return str(stage.note or "-")


def _requeued(stage: StageView) -> str:
    return requeued_text(sum(attempt.cause == "requeued" for attempt in stage.attempts))


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts)) or "-"


def metrics_text(metrics: Mapping[str, float | None], limit: int = 4) -> str:
    """ "accuracy 0.9712, loss 0.08": the first `limit` of them."""
    shown = [
        f"{name} {'not finite' if value is None else f'{value:.4g}'}"
        for name, value in list(metrics.items())[:limit]
    ]
    return ", ".join(shown)


def progress_text(progress: ProgressView) -> str:
    """ "pulling python:3.12-slim 63% of 49 MiB"."""
    what, done, total = progress.what, progress.done, progress.total
    if total:
        return f"{what} {min(100, 100 * done // total)}% of {format_size(total)}"
    return f"{what} {format_size(done)}" if done else str(what)


def attempt_end(attempt: AttemptView) -> str:
    """ "user error, exit code 2: no such file": how it ended; "" while or where it is well."""
    cause = attempt.cause
    if not cause:
        return ""
    text = cause
    if attempt.signal:
        text += f", signal {attempt.signal}"
    elif attempt.exit_code:
        text += f", exit code {attempt.exit_code}"
    detail = attempt.detail
    return f"{text}: {detail}" if detail and detail not in text else text


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
    """A row for one stage, or for cells of a matrix: what is the same of them all."""
    if not isinstance(row, Cells):
        return stage_row(row, run, now, indices)
    first = row.first
    waits = first.status == "waiting"
    spent, note = (stage_time(first, run, now), stage_note(first)) if waits else ("-", _told(row))
    return [row.label, first.status, "-", spent, "-", note]


def _told(row: Cells) -> str:
    """What stands in the way of cells that share a row, and of how many of them."""
    told = [stage.trouble for stage in row.stages if stage.trouble]
    if not told:
        return "-"
    return told[0] if len(told) == len(row.stages) else f"{len(told)} of them: {told[0]}"


def ps_rows(run: RunView, now: float, indices: Indices, room: int | None = None) -> list[list[str]]:
    """Rows of `hostler ps` for one run: what runs first, then what waits.

    `room`: with more stages than that, cells of a matrix share rows; None: a row each.
    """
    return [ps_row(row, run, now, indices) for row in active_stages(run, room)]


def active_stages(run: RunView, room: int | None = None) -> list[StageView | Cells]:
    """What of a run has not ended: what runs first, then what waits; folded as in `ps_rows`."""
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


def end_code(run: RunView) -> int:
    """The exit code that a run's end means: 0, 6 it failed, 7 stopped or its host was lost."""
    outcome = run.outcome
    if outcome == "succeeded":
        return 0
    if outcome == "cancelled":
        return 7
    failed = [stage for stage in run.stages if stage.status == "failed"]
    causes = [stage.attempt and stage.attempt.cause for stage in failed]
    return 7 if causes and all(cause in _HOST_CAUSES for cause in causes) else 6


def command_code(run: RunView) -> int:
    """The exit code of a run of one command: the command's own, where it had one."""
    attempt = run.stages[0].attempt if len(run.stages) == 1 else None
    own = _own_code(attempt) if run.outcome == "failed" and attempt else None
    return end_code(run) if own is None else own


def attempt_code(attempt: AttemptView) -> int:
    """The exit code that an attempt's end means: 0, its command's own where it had one, 6 failed,
    7 stopped or its host was lost."""
    if attempt.phase == "succeeded":
        return 0
    if attempt.phase == "cancelled" or attempt.cause in _HOST_CAUSES:
        return 7
    own = _own_code(attempt)
    return 6 if own is None else own


def _own_code(attempt: AttemptView) -> int | None:
    if attempt.cause != "user error":
        return None
    if attempt.signal:
        return 128 + attempt.signal
    return attempt.exit_code & 0xFF if attempt.exit_code else None


def end_lines(run: RunView) -> list[str]:
    """What is to be said when a run has ended: one line, and one for each stage that failed."""
    seconds = duration_of_run(run, run.finished_at or 0.0)
    spent = "" if seconds is None else f" after {format_age(seconds)}"
    by = f" by {run.cancelled_by}" if run.cancelled_by else ""
    lines = [f"{run.run_id} {run.outcome}{by}{spent}"]
    for stage in run.stages:
        if stage.status == "failed":
            host = stage.attempt and stage.attempt.host
            on = f" on {host}" if host else ""
            lines.append(f"{stage.label or stage.name}{on}: {stage_note(stage)}")
    return lines


def transitions(before: RunView | None, run: RunView, indices: Indices) -> list[str]:
    """A line for each stage whose status or attempt changed between two run objects."""
    known = {stage.name: stage for stage in before.stages} if before else {}
    lines = []
    for stage in run.stages:
        old = known.get(stage.name)
        if old is None and stage.status == "waiting":
            continue
        if old is None or _state_of(old) != _state_of(stage):
            lines.append(transition_line(stage, indices))
    return lines


def _state_of(stage: StageView) -> tuple[str, int | None]:
    return stage.status, stage.attempt.number if stage.attempt else None


def transition_line(stage: StageView, indices: Indices) -> str:
    """ "train: running on gpu1:0-1"."""
    text = f"{stage.label or stage.name}: {stage.status}"
    attempt = stage.attempt
    if attempt and stage.status in (
        "running", "starting", "collecting", "succeeded", "failed",
    ):  # fmt: skip
        text += f" on {where(attempt, indices)}"
    note = stage_note(stage)
    if stage.status == "succeeded" and attempt and attempt.duration is not None:
        text += f" after {format_duration(round(attempt.duration, 1))}"
    return text if note == "-" else f"{text} ({note})"
