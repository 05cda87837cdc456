"""A task: whether it is tried again, the pause between tries (doubled, up to 10 minutes), and after
how many faults of hosts it fails finally.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hostler.decide.causes import Ending
from hostler.model.pipelines import UNCOUNTED, Cause, GroupHosts, Scalar, Stage
from hostler.model.runs import Attempt, Phase, StageStatus

MAX_BACKOFF = 600.0
"""Longest pause before a retry, in seconds."""
MAX_UNCOUNTED_BACKOFF = 60.0
"""Longest pause after claims were refused again and again, in seconds."""
MOST_HOST_FAULTS = 100
"""After so many starts that failed because of hosts (the same host or different ones), the stage
fails. With pauses of up to ten minutes that takes most of a day."""


class Task:
    """See `Lifecycle` for what each answer means."""

    keys: Mapping[str, str] = {}
    optional: Mapping[str, str] = {}
    takes: frozenset[str] | None = None
    inherits_not: frozenset[str] = frozenset()
    has_workload = True
    makes_image = False
    runtime: str | None = None
    group_hosts: GroupHosts | None = None

    def unfold(self, stage: Stage) -> tuple[Stage, ...]:
        """A task is one stage. The cells of its matrix are made earlier, since each has its own
        values."""
        return (stage,)

    def group_of(self, stage: Stage) -> str:
        """A task is in no group; kinds that unfold into a group group their parts."""
        return stage.base

    def status(self, tries: Sequence[Attempt]) -> StageStatus:
        """The status by the last attempt; a success is final."""
        last = tries[-1]
        if last.phase is Phase.SUCCEEDED:
            return StageStatus.SUCCEEDED
        if last.phase is Phase.COLLECTING:
            return StageStatus.COLLECTING
        if not last.phase.is_final:
            running = last.phase is Phase.RUNNING
            return StageStatus.RUNNING if running else StageStatus.STARTING
        if any(a.phase is Phase.SUCCEEDED for a in tries):
            return StageStatus.SUCCEEDED
        return StageStatus.CANCELLED if last.phase is Phase.CANCELLED else StageStatus.FAILED

    def judge(
        self,
        stage: Stage,
        ended: Ending,
        metrics: Mapping[str, float],
        params: Mapping[str, Scalar],
    ) -> Ending:
        """The verdict is `ended`, unchanged."""
        return ended

    def lets_go(self, status: StageStatus, tries: Sequence[Attempt]) -> bool:
        """The stages that need it may start once it has succeeded."""
        return status is StageStatus.SUCCEEDED

    def is_tried_again(self, stage: Stage, tries: Sequence[Attempt]) -> bool:
        """It gets another attempt by the number and causes in `retries`. An attempt that never ran,
        or that continues from its checkpoint, does not count."""
        last = tries[-1]
        if last.cause in (Cause.NOT_STARTED, Cause.REQUEUED):
            return True
        if last.cause is Cause.HOST_FAULT:
            return sum(a.cause is Cause.HOST_FAULT for a in tries) < MOST_HOST_FAULTS
        if last.phase not in (Phase.FAILED, Phase.LOST) or last.cause not in stage.retries.on:
            return False
        return counted_failures(tries) <= stage.retries.max

    def not_before(self, stage: Stage, tries: Sequence[Attempt], ended_at: float) -> float | None:
        """The next attempt starts after a pause that doubles. One that continues from a checkpoint
        starts at once."""
        last = tries[-1]
        if last.cause is Cause.REQUEUED:
            return None
        if last.cause in UNCOUNTED:
            # One refusal may be chance, and another host may accept. After ten, looks and claims
            # disagree permanently, and an attempt per second would fill the history.
            longest = MAX_BACKOFF if last.cause is Cause.HOST_FAULT else MAX_UNCOUNTED_BACKOFF
            return ended_at + min(2.0 ** min(_alike_in_a_row(tries) - 1, 10) - 1, longest)
        doubled: float = stage.retries.backoff * 2.0 ** min(counted_failures(tries) - 1, 30)
        return ended_at + min(doubled, MAX_BACKOFF)

    def stops_siblings(self, stage: Stage) -> bool:
        """Its failure ends the others if `fail_fast` is set."""
        return stage.fail_fast

    def keeps_run_open(self, status: StageStatus) -> bool:
        """It keeps the run open until its status is final."""
        return not status.is_final


def counted_failures(tries: Iterable[Attempt]) -> int:
    """How many attempts count against `retries.max`: all except those that never ran or that
    continue."""
    return sum(
        1 for a in tries if a.phase in (Phase.FAILED, Phase.LOST) and a.cause not in UNCOUNTED
    )


def _alike_in_a_row(tries: Sequence[Attempt]) -> int:
    """How many of the last attempts in a row ended by the same cause."""
    in_a_row = 0
    for attempt in reversed(tries):
        if attempt.cause is not tries[-1].cause:
            break
        in_a_row += 1
    return in_a_row
