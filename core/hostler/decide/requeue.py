"""Whether an attempt that reached its time limit is requeued from its checkpoint. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hostler.base.text import clean_line
from hostler.decide.causes import Ending
from hostler.model.hosts import Workload
from hostler.model.pipelines import Cause, Stage
from hostler.model.runs import Attempt, Phase
from hostler.model.time_limits import MOST_REQUEUES, CheckpointSeen, OnTimeout


def wants_requeue(stage: Stage, ended: Ending) -> bool:
    """Whether its checkpoint has to be looked at before this end is written down."""
    return stage.on_timeout is OnTimeout.REQUEUE and ended[1] is Cause.TIME_LIMIT


def requeued(
    ended: Ending,
    stage: Stage,
    tries: Iterable[Attempt],
    workload: Workload,
    seen: CheckpointSeen,
) -> Ending:
    """The end of an attempt at its time limit: it goes on only where it has written to its
    checkpoint since it started. Without that, the next attempt would come no further. `tries`: the
    attempts of the stage, this one included."""
    before = requeues(tries)
    why = _refusal(stage, before, workload, seen)
    phase, cause, detail = ended
    if why is not None:
        return phase, cause, f"{detail}; not requeued: {why}"
    return Phase.FAILED, Cause.REQUEUED, f"{detail}; goes on from its checkpoint"


def requeues(tries: Iterable[Attempt]) -> int:
    """How many of these attempts went on from their checkpoint in another one."""
    return sum(attempt.cause is Cause.REQUEUED for attempt in tries)


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
