"""Whether an attempt is requeued: at its time limit if its checkpoint was written, or by `scontrol
requeue`; the limit is `MOST_REQUEUES` in `model.time_limits`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from hostler.base.errors import ConflictError
from hostler.base.text import clean_line
from hostler.base.units import requeued_text
from hostler.decide.causes import Ending
from hostler.model.hosts import Workload
from hostler.model.pipelines import Cause, Stage
from hostler.model.runs import Attempt, AttemptChange, Phase, Run
from hostler.model.time_limits import MOST_REQUEUES, CheckpointSeen, OnTimeout


def wants_requeue(stage: Stage, ended: Ending) -> bool:
    """Whether the daemon has to check the stage's checkpoint before it stores this end."""
    return stage.on_timeout is OnTimeout.REQUEUE and ended[1] is Cause.TIME_LIMIT


def requeued(
    ended: Ending,
    stage: Stage,
    tries: Iterable[Attempt],
    workload: Workload,
    seen: CheckpointSeen,
) -> Ending:
    """The end of an attempt at its time limit. It is requeued only if it has written to its
    checkpoint since its start; otherwise the next attempt would make no progress. `tries`: the
    attempts of the stage, including this one."""
    before = requeues(tries)
    why = _refusal(stage, before, workload, seen)
    phase, cause, detail = ended
    if why is not None:
        return phase, cause, f"{detail}; not requeued: {why}"
    return Phase.FAILED, Cause.REQUEUED, f"{detail}; resumes from its checkpoint"


def requeues(tries: Iterable[Attempt]) -> int:
    """How many of these attempts were requeued to continue from their checkpoint."""
    return sum(attempt.cause is Cause.REQUEUED for attempt in tries)


def requeueable(run: Run | None, base: str | None, job: int) -> tuple[Attempt, ...]:
    """The attempts of a job that can be ended and tried again. Raises ConflictError if there are
    none. `run`: None if it has ended. `base`: only attempts of this stage and its cells; None:
    all."""
    stages = run.stages if run is not None else ()
    names = {stage.name for stage in stages if base in (None, stage.base)}
    attempts = run.attempts if run is not None else ()
    at_work = [a for a in attempts if a.stage in names and a.phase.is_at_work]
    if not at_work:
        state = "has ended" if run is None else "does not run yet, or its files are being copied"
        raise ConflictError(
            f"job {job} {state}: only jobs that run can be requeued",
            remedy="See its state: squeue; submit it again: sbatch",
        )
    return tuple(at_work)


def check_requeues(run: Run, attempt: Attempt) -> None:
    """Raises ConflictError if the stage of an attempt was requeued too often."""
    before = requeues(each for each in run.attempts if each.stage == attempt.stage)
    if before >= MOST_REQUEUES:
        raise ConflictError(
            f"{attempt.stage} was {requeued_text(before)}, which is the most",
            remedy="Let it end, and submit it again",
        )


def to_be_requeued(attempt: Attempt, said: str) -> AttemptChange | None:
    """The change that makes the daemon end an attempt and try again; None if it is ending
    already."""
    if not attempt.phase.is_at_work or attempt.stop_reason is not None:
        return None
    return {"stop_reason": Cause.REQUEUED, "stop_detail": said}


def _refusal(stage: Stage, before: int, workload: Workload, seen: CheckpointSeen) -> str | None:
    if stage.checkpoint is None:
        return "it has no checkpoint"
    if before >= MOST_REQUEUES:
        return f"it was requeued {before} times"
    if seen.problem:
        return f"its checkpoint cannot be checked: {clean_line(seen.problem, 200)}"
    began = workload.started_at
    if seen.newest is None or began is None or seen.newest < began:
        return f"nothing was written to its checkpoint {stage.checkpoint}/ since it started"
    return None
