"""Finding and reading an attempt's log while it may still be growing."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hostler.daemon.context import Context
from hostler.daemon.follow import Followers
from hostler.errors import NotFoundError
from hostler.model.runs import Attempt, Run


def find_attempt(run: Run, stage: str, number: int | None) -> Attempt:
    """The attempt of that number, or the latest, of a stage. Raises NotFoundError saying why."""
    tries = [a for a in run.attempts if a.stage == stage]
    if not tries and stage in run.kept:
        tries = [run.kept[stage]]
    if number is not None:
        tries = [a for a in tries if a.number == number]
    if tries:
        return tries[-1]
    if stage not in {s.name for s in run.stages}:
        raise NotFoundError(
            f"run {run.run_id} has no stage {stage!r}",
            remedy="its stages: " + ", ".join(s.name for s in run.stages[:20]),
        )
    what = f"attempt {number} of stage {stage}" if number is not None else f"stage {stage}"
    raise NotFoundError(
        f"{what} has not started, so it has no log",
        remedy=f"see why: hostler why {run.run_id}/{stage}",
    )


async def read_log(
    context: Context,
    followers: Followers,
    attempt: Attempt,
    offset: int,
    *,
    tail: int | None = None,
    follow: bool = False,
) -> AsyncIterator[bytes]:
    """Raw bytes from `offset`, or from the last `tail` lines on, to the end; with `follow` to the
    end of the attempt, or of the daemon."""
    logs = context.store.logs

    def is_over() -> bool:
        if not follow or context.hub.is_closed:
            return True
        now = context.book.attempt(attempt.attempt_id)
        ended = now is None or now.phase.is_final
        return ended and not followers.is_following(attempt.attempt_id)

    begin = offset
    if tail is not None:
        begin = logs.tail_offset(attempt.run_id, attempt.attempt_id, tail)
    async for _, data in logs.follow(attempt.run_id, attempt.attempt_id, begin, is_over):
        yield data
