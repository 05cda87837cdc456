"""Runs stages without a workload: the daemon does their work itself, through the link to their
host.

Nothing on the host shows such work, and it ends with the daemon. After a restart it begins again.
"""

from __future__ import annotations

import asyncio
import contextlib

from hostler.daemon.builds import build_image
from hostler.daemon.context import Context
from hostler.daemon.finish import Finisher
from hostler.daemon.follow import Followers
from hostler.daemon.inline_work import Done, InlineWork, Work
from hostler.model.events import EventKind
from hostler.model.pipelines import Stage, StageKind
from hostler.model.runs import Attempt, AttemptChange, Phase
from hostler.ports import Progress

INLINE_WORK: dict[str, InlineWork] = {StageKind.BUILD: build_image}
"""Kind of stage -> its work, for each kind without a workload."""


class InlineRunner:
    """Runs inline work and ends it when it is no longer needed."""

    def __init__(self, context: Context, finisher: Finisher, followers: Followers) -> None:
        self._context = context
        self._finisher = finisher
        self._followers = followers
        self._tasks: dict[str, asyncio.Future[Done]] = {}

    async def carry_out(self, attempt: Attempt, stage: Stage, progress: Progress) -> None:
        """Do the work, and record its end."""
        run = self._context.run_cache.find(attempt.run_id)
        if run is None:
            return
        # What it is given is remembered before it counts as begun, so that its log is masked.
        secrets = await self._context.secrets.of_attempt(run, stage)
        if await self._begun(attempt, stage) is None:
            return  # it has ended meanwhile
        log = self._followers.log(attempt)
        if log.size:
            log.note("it starts again: the daemon was restarted, or the connection was lost")
        try:
            work = Work(self._context, attempt, stage, secrets, log, progress)
            done = await self._done(attempt, asyncio.ensure_future(INLINE_WORK[stage.kind](work)))
            log.finish()
            if done is not None:
                await asyncio.to_thread(log.sync)
                await self._finisher.end_inline(attempt, stage, done)
        finally:
            log.close()

    async def _done(self, attempt: Attempt, work: asyncio.Future[Done]) -> Done | None:
        """The result; None: the work is no longer needed."""
        self._tasks[attempt.attempt_id] = work
        try:
            await asyncio.wait((work,))
        finally:
            del self._tasks[attempt.attempt_id]
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((work,))
        return None if work.cancelled() else work.result()

    def cancel(self, attempt_id: str) -> None:
        """Cancel the remaining work of an attempt whose end is recorded."""
        work = self._tasks.get(attempt_id)
        if work is not None:
            work.cancel()

    async def _begun(self, attempt: Attempt, stage: Stage) -> Attempt | None:
        context, now = self._context, self._context.clock.now()
        event = context.event(
            EventKind.ATTEMPT_STARTED, f"{stage.label} runs on {attempt.host}", attempt
        )
        begun: AttemptChange = {"phase": Phase.RUNNING, "launched_at": now, "started_at": now}
        return await context.change_attempt(
            attempt.attempt_id,
            lambda known: begun if known.phase.is_at_work else None,
            event,
        )
