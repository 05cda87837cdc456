"""Runs as the JSON objects of the API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostler.decide.progress import Progress, progress_of
from hostler.model.codec import to_json
from hostler.model.durations import first_start
from hostler.model.pipelines import Stage
from hostler.model.plans import Reason
from hostler.model.records import RunSummary
from hostler.model.runs import Attempt, Run, Source, StageStatus

Reasons = Mapping[tuple[str, str], Reason]
ProgressTable = Mapping[str, tuple[str, int, int | None]]
Troubles = Mapping[str, str]
"""Attempt id -> what stands in the way of it while it runs."""


def run_object(
    run: Run, reasons: Reasons, progress: ProgressTable, troubles: Troubles
) -> dict[str, Any]:
    """The `hostler.run/1` object."""
    progressed = progress_of(run)
    statuses = progressed.status
    return {
        "schema": "hostler.run/1",
        "run_id": run.run_id,
        "pipeline": run.pipeline,
        "title": run.title,
        "owner": run.owner,
        "uid": run.uid,
        "state": run_state(run, statuses),
        "outcome": run.outcome.value if run.outcome else None,
        "submitted_at": run.submitted_at,
        "started_at": first_start(attempt.started_at for attempt in run.attempts),
        "finished_at": run.finished_at,
        "cancelled_by": run.cancelled_by,
        "priority": run.priority,
        "params": dict(run.params),
        "retry_of": run.retry_of,
        "source": _short_source(run.source),
        "file": run.file or None,
        "origins": {
            run_id: {"source": _short_source(origin.source), "params": dict(origin.params)}
            for run_id, origin in run.origins.items()
        },
        "stages": [
            _stage_object(progressed, stage, reasons, progress, troubles) for stage in run.stages
        ],
    }


def _short_source(source: Source) -> dict[str, Any]:
    """Without the diff: up to a mebibyte, for those who ask for the source itself."""
    return {key: value for key, value in to_json(source).items() if key != "git_diff"}


def source_object(run: Run) -> dict[str, Any]:
    """The code of a run with its diff, and that of the stages which a retry has kept."""
    origins = {
        run_id: {
            **to_json(origin),
            "stages": [name for name, kept in run.kept.items() if kept.run_id == run_id],
        }
        for run_id, origin in run.origins.items()
    }
    return {**to_json(run.source), "origins": origins}


def run_state(run: Run, statuses: Mapping[str, StageStatus]) -> str:
    """ "waiting" (nothing started yet), "running", or the outcome."""
    if run.outcome is not None:
        return run.outcome.value
    begun = any(status is not StageStatus.WAITING for status in statuses.values())
    return "running" if begun or run.attempts else "waiting"


def summary_object(summary: RunSummary) -> dict[str, Any]:
    """A summary with its state in one word."""
    if summary.outcome is not None:
        state = summary.outcome.value
    else:
        state = "running" if summary.phases else "waiting"
    return {**to_json(summary), "state": state}


def why_lines(run: Run, reasons: Reasons, troubles: Troubles) -> list[dict[str, Any]]:
    """For each stage one line for people, and the full reason while it waits."""
    progressed = progress_of(run)
    lines = []
    for stage in run.stages:
        reason = reasons.get((run.run_id, stage.name))
        lines.append(
            {
                "name": stage.name,
                "base": stage.base,
                "label": stage.label,
                "status": progressed.status[stage.name].value,
                "sentence": _sentence(progressed, stage, reason, troubles),
                "reason": to_json(reason),
            }
        )
    return lines


def _sentence(progressed: Progress, stage: Stage, reason: Reason | None, troubles: Troubles) -> str:
    run, status = progressed.run, progressed.status[stage.name]
    tries = progressed.tries.get(stage.name, [])
    if status is StageStatus.WAITING:
        return reason.sentence if reason else "will be looked at in a moment"
    note = progressed.notes.get(stage.name)
    if status is StageStatus.SKIPPED:
        return note or "skipped"
    if not tries:
        of = run.kept.get(stage.name)
        return note or ("never started" if of is None else f"kept from run {of.run_id}")
    last = tries[-1]
    if last.verdict is not None:
        return _collecting(last, troubles.get(last.attempt_id))
    if last.cause is not None:
        tail = f": {last.detail}" if last.detail else ""
        return f"{last.phase.value} on {last.host}, {last.cause.value}{tail}"
    gpus = f" with {len(last.gpus)} GPU{'s' if len(last.gpus) != 1 else ''}" if last.gpus else ""
    trouble = troubles.get(last.attempt_id)
    return f"{last.phase.value} on {last.host}{gpus}" + (f"; {trouble}" if trouble else "")


def _collecting(attempt: Attempt, trouble: str | None) -> str:
    how = "" if attempt.cause is None else f" ({attempt.cause.value}: {attempt.detail})"
    said = f"its command has ended{how}; its files are being copied from {attempt.host}"
    return said + (f"; {trouble}" if trouble else "")


def _stage_object(
    progressed: Progress,
    stage: Stage,
    reasons: Reasons,
    progress: ProgressTable,
    troubles: Troubles,
) -> dict[str, Any]:
    run, status = progressed.run, progressed.status[stage.name]
    tries = progressed.tries.get(stage.name, [])
    kept = run.kept.get(stage.name)
    last = tries[-1] if tries else kept
    return {
        "name": stage.name,
        "base": stage.base,
        "label": stage.label,
        "kind": str(stage.kind),
        "status": status.value,
        "needs": list(stage.needs),
        "command": list(stage.command),
        "image": stage.image,
        "runtime": stage.runtime,
        "gpus": stage.resources.gpus,
        "attempt": to_json(last),
        "attempts": [to_json(attempt) for attempt in tries],
        "reason": to_json(reasons.get((run.run_id, stage.name))),
        "progress": _progress(progress.get(last.attempt_id) if last else None),
        "trouble": troubles.get(last.attempt_id) if last else None,
        "kept": kept is not None,
        "note": progressed.notes.get(stage.name),
    }


def _progress(entry: tuple[str, int, int | None] | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    what, done, total = entry
    return {"what": what, "done": done, "total": total}
