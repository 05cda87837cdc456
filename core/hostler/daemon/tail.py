"""Finding and reading an attempt's log while it may still be growing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hostler.base.errors import NotFoundError
from hostler.base.units import MIB
from hostler.daemon.context import Context
from hostler.daemon.follow import Followers
from hostler.model.runs import Attempt, Run

_PAGE = MIB


def find_attempt(run: Run, stage: str, number: int | None, wanted: str = "log") -> Attempt:
    """The attempt of that number, or the latest, of a stage. Raises NotFoundError saying why there
    is nothing of what is wanted of it."""
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
        f"{what} has not started, so it has no {wanted}",
        remedy=f"see why: hostler why {run.run_id}/{stage}",
    )


class LogReader:
    """Reads the log of one attempt."""

    def __init__(self, context: Context, followers: Followers, attempt: Attempt) -> None:
        self.attempt = attempt
        self._context = context
        self._followers = followers
        self._logs = context.store.logs
        self._name = (attempt.run_id, attempt.attempt_id)

    @property
    def size(self) -> int:
        """Bytes that can be read now."""
        return self._logs.size(*self._name)

    async def begin_of_tail(self, lines: int) -> int:
        """Where the last lines begin."""
        return await asyncio.to_thread(self._logs.tail_offset, *self._name, lines)

    async def pages(self, begin: int, end: int) -> AsyncIterator[bytes]:
        """Raw bytes from `begin` to `end`, in pages large enough that what they hold takes the
        time, not their number; read in a thread, since a disk may be slow. Less where the log is
        removed meanwhile."""
        while begin < end:
            limit = min(_PAGE, end - begin)
            page = await asyncio.to_thread(self._logs.read, *self._name, begin, limit)
            if not page:
                return
            yield page
            begin += len(page)

    async def follow(self, begin: int, length: int | None) -> AsyncIterator[bytes]:
        """Raw bytes from `begin` on to the end of the attempt or the daemon; `length` at most."""
        left = length
        async for _, data in self._logs.follow(*self._name, begin, self._is_over):
            if left is not None:
                data, left = data[:left], left - len(data)
            yield data
            if left is not None and left <= 0:
                return

    def _is_over(self) -> bool:
        if self._context.hub.is_closed:
            return True
        now = self._context.run_cache.attempt(self.attempt.attempt_id)
        ended = now is None or not now.phase.is_at_work
        return ended and not self._followers.is_following(self.attempt.attempt_id)
