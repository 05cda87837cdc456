"""Stages without a workload: the daemon does their work itself, through the link to their host.

Nothing on the host shows such work, and it ends with the daemon. After a restart it begins again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from hostler.daemon.context import Context
from hostler.daemon.finish import Finisher
from hostler.decide.causes import Ending
from hostler.model.events import EventKind
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt, AttemptChange, Phase

InlineWork = Callable[[Context, Attempt, Stage], Awaitable[Ending]]
"""Does the work of a stage and returns how it ended; it may be cancelled. Raises Unreachable, to be
called again once the host answers, and another HostError or InputError where it cannot begin."""

INLINE_WORK: dict[str, InlineWork] = {}
"""Kind of stage -> its work, for each kind whose lifecycle says that it has no workload."""


class InlineRunner:
    """Runs inline work and ends it when it is no longer needed."""

    def __init__(self, context: Context, finisher: Finisher) -> None:
        self._context = context
        self._finisher = finisher
        self._tasks: dict[str, asyncio.Task[Ending]] = {}

    async def carry_out(self, attempt: Attempt, stage: Stage) -> None:
        """From the beginning to the recorded end."""
        if await self._begun(attempt, stage) is None:
            return  # it has ended meanwhile
        work = asyncio.ensure_future(INLINE_WORK[stage.kind](self._context, attempt, stage))
        self._tasks[attempt.attempt_id] = work
        try:
            await asyncio.wait((work,))
        finally:
            del self._tasks[attempt.attempt_id]
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((work,))
        if not work.cancelled():
            await self._finisher.end_inline(attempt, stage, work.result())

    def cancel(self, attempt_id: str) -> None:
        """Its end is recorded: cancel its remaining work."""
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
