"""Which attempt of a stage followed which, where notes of hosts are all that is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hostler.model.pipelines import Cause
from hostler.model.runs import Attempt, Phase

REPLACED = "a later attempt of its stage started since, so this one had ended"
GPU_GIVEN = "another attempt started on its GPUs since, so this one had ended"


def as_followed(attempt: Attempt, known: Iterable[Attempt]) -> Attempt:
    """An attempt as its host has noted it. Its end, where a later one of its stage is known, by
    another host perhaps: that one counts."""
    if attempt.phase.is_final or not any(is_earlier(attempt, other) for other in known):
        return attempt
    return had_ended(attempt, REPLACED)


def is_earlier(one: Attempt, other: Attempt) -> bool:
    """Whether both are of one stage, and which began first."""
    same_stage = (one.run_id, one.stage) == (other.run_id, other.stage)
    return same_stage and one.number < other.number


def had_ended(attempt: Attempt, why: str) -> Attempt:
    """An attempt that was open by all that was noted of itself."""
    return replace(
        attempt, phase=Phase.LOST, cause=Cause.VANISHED, detail=why, finished_at=attempt.placed_at
    )


def given_gpus(attempts: Iterable[Attempt]) -> frozenset[str]:
    """Attempts at work, by all that was noted of themselves, whose GPUs another one got later."""
    at_work = sorted((a for a in attempts if a.phase.is_at_work), key=lambda a: a.placed_at)
    latest = {(a.host, gpu): a.placed_at for a in at_work for gpu in a.gpus}
    return frozenset(
        a.attempt_id for a in at_work for gpu in a.gpus if a.placed_at < latest[a.host, gpu]
    )
