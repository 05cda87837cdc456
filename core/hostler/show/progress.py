"""A stage's progress, state and end in words, the NOTE column, and the exit codes of a run's end
(failed, cancelled, host lost). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hostler.base.units import format_age, format_duration, format_size, requeued_text
from hostler.model.durations import duration_of_run

if TYPE_CHECKING:
    from hostler.model.views.gpus import FleetView
    from hostler.model.views.runs import AttemptView, ProgressView, RunView, StageView

_HOST_CAUSES = ("host lost", "host rebooted", "GPU lost", "vanished", "ended by docker restart")

Indices = Mapping[str, int]
"""GPU UUID -> index on its host."""


def gpu_indices(fleet: FleetView) -> dict[str, int]:
    """UUID -> index of every GPU in a `hostler.gpus/1` object."""
    return {gpu["uuid"]: gpu["index"] for host in fleet["hosts"] for gpu in host["gpus"]}


def uses_gpus(run: RunView) -> bool:
    """Whether the latest attempt of any stage has GPUs."""
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


def stage_note(stage: StageView) -> str:
    """The most useful note about a stage now: progress, why it waits, how it ended."""
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
        is_running = stage.status == "running"
        ready = _ready(attempt) if is_running and attempt.ready_at is not None else ""
        warning = attempt.warning if is_running else ""
        return _joined(ready, metrics_text(attempt.metrics), warning, _requeued(stage))
    return str(stage.note or "-")


def _ready(attempt: AttemptView) -> str:
    """A note that a replica of a service is ready, and its address."""
    where = f"{attempt.address or '127.0.0.1'}:{attempt.port}"
    return "ready" if attempt.port is None else f"ready at {where} there"


def _requeued(stage: StageView) -> str:
    return requeued_text(sum(attempt.cause == "requeued" for attempt in stage.attempts))


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts)) or "-"


def metrics_text(metrics: Mapping[str, float | None], limit: int = 4) -> str:
    """ "accuracy 0.9712, loss 0.08": the first `limit` metrics."""
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


def phase_text(attempt: AttemptView) -> str:
    """The phase of an attempt in a word. An attempt that continues from its checkpoint is "failed"
    in the answers of the API, although it did not fail."""
    goes_on = attempt.phase == "failed" and attempt.cause == "requeued"
    return "requeued" if goes_on else attempt.phase


def end_text(attempt: AttemptView) -> str:
    """As `attempt_end`, next to a phase that already states the cause."""
    return attempt.detail if phase_text(attempt) == attempt.cause else attempt_end(attempt)


def attempt_end(attempt: AttemptView) -> str:
    """ "user error, exit code 2: no such file": how it ended; "" if it is running or has
    succeeded."""
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


def end_code(run: RunView) -> int:
    """The exit code for a run's end: 0, 6 it failed, 7 stopped or its host was lost."""
    outcome = run.outcome
    if outcome == "succeeded":
        return 0
    if outcome == "cancelled":
        return 7
    failed = [stage for stage in run.stages if stage.status == "failed"]
    causes = [stage.attempt and stage.attempt.cause for stage in failed]
    return 7 if causes and all(cause in _HOST_CAUSES for cause in causes) else 6


def command_code(run: RunView) -> int:
    """The exit code of a run of one command: the command's own, if it had one."""
    attempt = run.stages[0].attempt if len(run.stages) == 1 else None
    own = _own_code(attempt) if run.outcome == "failed" and attempt else None
    return end_code(run) if own is None else own


def attempt_code(attempt: AttemptView) -> int:
    """The exit code for an attempt's end: 0, its command's own if it had one, 6 failed, 7 stopped
    or its host was lost."""
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
    """The lines for the end of a run: one line, and one for each stage that failed."""
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


def _state_of(stage: StageView) -> tuple[str, int | None, bool]:
    attempt = stage.attempt
    if attempt is None:
        return stage.status, None, False
    return stage.status, attempt.number, attempt.ready_at is not None


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
