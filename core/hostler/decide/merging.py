"""The changes that one host's notes make to a database restored from a backup; `recovery` rebuilds
a lost one. Pure.

The notes are newer than the backup. So they decide about an attempt that is open in the backup or
missing from it. An attempt that has ended in the backup stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hostler.decide.recovery import GPU_GIVEN, REPLACED, Kept, had_ended, is_earlier, rebuild
from hostler.model.pipelines import Cause
from hostler.model.runs import Attempt, Outcome, Phase, Run
from hostler.model.service_wishes import MOST_OF_REPLICA, Wishes, newest_wishes

UNKNOWN_END = "ended after the backup; its result is unknown"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a run, as its host noted it when it forgot the run."""

    run_id: str
    outcome: Outcome | None
    """None: unknown."""
    at: float


@dataclass(frozen=True, slots=True)
class RunNews:
    """What a host knows about one run and the database does not."""

    run: Run
    """The complete run, as the host has it."""
    pipeline_text: str
    is_new: bool
    """Whether the database does not know the run."""
    ended: tuple[tuple[Attempt, Attempt], ...] = ()
    """Attempts that are not final in the database, and whose work has ended: each as stored there,
    and with its end."""
    added: tuple[Attempt, ...] = ()
    """Attempts that the database does not have, oldest first."""
    cancelled_by: str | None = None
    priority: int | None = None
    """The noted priority, if it is lower than the stored one; None: no change."""
    services: Wishes = field(default_factory=dict)
    """Requested changes of its services that are newer than those in the database."""


def news_of(kept: Kept, known: Run | None, daemon_id: str) -> RunNews:
    """The difference between a host's notes of a run that has not ended and the database."""
    (rebuilt,) = rebuild([kept], {}, daemon_id).runs
    told = rebuilt.run
    if known is None:
        return RunNews(
            replace(told, attempts=()), rebuilt.pipeline_text, True, added=told.attempts,
            cancelled_by=told.cancelled_by,
        )  # fmt: skip
    before = {attempt.attempt_id: attempt for attempt in known.attempts}
    return RunNews(
        known,
        rebuilt.pipeline_text,
        False,
        ended=tuple(
            (before[attempt.attempt_id], as_intended(before[attempt.attempt_id], attempt))
            for attempt in told.attempts
            if attempt.attempt_id in before
            and not attempt.phase.is_at_work
            and not before[attempt.attempt_id].phase.is_final
        ),
        added=tuple(
            a for a in told.attempts if a.attempt_id not in before and not is_early(a, known)
        ),
        cancelled_by=told.cancelled_by if known.cancelled_by is None else None,
        priority=told.priority if told.priority < known.priority else None,
        services={
            base: wish
            for base, wish in newest_wishes([known.services, told.services]).items()
            if wish != known.services.get(base)
        },
    )


def as_intended(known: Attempt, told: Attempt) -> Attempt:
    """The noted end, with all fields that the intent fixed earlier: the host may have another name
    now."""
    return replace(
        told, host=known.host, gpus=known.gpus, placed_at=known.placed_at, runtime=known.runtime
    )


def is_early(attempt: Attempt, known: Run) -> bool:
    """Whether it is an old attempt of a replica that the database has, but that is no longer in
    memory."""
    later = [a for a in known.attempts if a.stage == attempt.stage and a.phase.is_final]
    if len(later) < MOST_OF_REPLICA or attempt.number >= min(a.number for a in later):
        return False
    stage = next((s for s in known.stages if s.name == attempt.stage), None)
    return stage is not None and stage.service is not None


def in_the_way(attempt: Attempt, open_attempts: Iterable[Attempt]) -> list[tuple[Attempt, Attempt]]:
    """Attempts that are open, but must have ended before this one began, each as it is and with
    that end. These are earlier attempts of its stage, and attempts at work on its GPUs (an attempt
    whose files are being copied holds no GPUs)."""
    found = []
    for other in open_attempts:
        if is_earlier(other, attempt):
            found.append((other, had_ended(other, REPLACED)))
        elif other.phase.is_at_work and _share_gpus(other, attempt):
            found.append((other, had_ended(other, GPU_GIVEN)))
    return found


def merging_order(attempt: Attempt) -> tuple[bool, float]:
    """Sort key of attempts. First those that no longer work: they can only end attempts that are
    open in the backup, whatever time they were placed at. Then the others, oldest first."""
    return attempt.phase.is_at_work, attempt.placed_at


def _share_gpus(one: Attempt, other: Attempt) -> bool:
    is_other = one.attempt_id != other.attempt_id
    return is_other and one.host == other.host and not set(one.gpus).isdisjoint(other.gpus)


def closed(attempt: Attempt, at: float) -> Attempt:
    """The end of an attempt whose run has ended, without other information."""
    return replace(
        attempt,
        phase=Phase.CANCELLED,
        cause=Cause.STOPPED,
        detail=UNKNOWN_END,
        finished_at=max(at, attempt.placed_at),
    )
