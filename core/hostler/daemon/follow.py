"""Followers: one task per running attempt copies its output and metrics until its very end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hostler.daemon.context import Context
from hostler.errors import AgentError, EngineError, HostlerError, StateError, Unreachable
from hostler.model.hosts import Workload
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt
from hostler.store.logs import LogFile

_RETRY_S = 1.0
_METRICS_EVERY_S = 2.0


@dataclass(slots=True)
class _Following:
    task: asyncio.Task[None]
    log: LogFile


class Followers:
    """Starts, finds and awaits the followers of attempts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._following: dict[str, _Following] = {}

    def follow(self, attempt: Attempt, stage: Stage, workload: Workload) -> None:
        """Follow an attempt, unless it is followed already."""
        if attempt.attempt_id in self._following:
            return
        log = self.log(attempt)
        task = asyncio.create_task(
            self._run(attempt, stage, workload, log), name=f"follow {attempt.attempt_id}"
        )
        self._following[attempt.attempt_id] = _Following(task, log)

    def log(self, attempt: Attempt) -> LogFile:
        """The log file of an attempt; the live one while it is followed."""
        following = self._following.get(attempt.attempt_id)
        if following is not None:
            return following.log
        limits = self._context.config.limits
        return self._context.store.open_log(attempt.run_id, attempt.attempt_id, limits.log_size)

    def is_following(self, attempt_id: str) -> bool:
        """Whether output still comes in."""
        return attempt_id in self._following

    async def drained(self, attempt: Attempt, stage: Stage, workload: Workload) -> None:
        """Until all output of an ended workload is in its file. Raises Unreachable when cut off."""
        self.follow(attempt, stage, workload)
        following = self._following[attempt.attempt_id]
        await asyncio.shield(following.task)
        self._following.pop(attempt.attempt_id, None)
        following.log.sync()
        following.log.close()

    async def close(self) -> None:
        """Stop following; the files know how far they got."""
        for following in self._following.values():
            following.task.cancel()
        tasks = [following.task for following in self._following.values()]
        await asyncio.gather(*tasks, return_exceptions=True)
        for following in self._following.values():
            following.log.close()
        self._following.clear()

    async def _run(self, attempt: Attempt, stage: Stage, workload: Workload, log: LogFile) -> None:
        keeper = self._context.keepers[attempt.host]
        runtime = self._context.runtime(attempt)
        while True:
            try:
                await runtime.follow(keeper.link, workload, log)
                return
            except Unreachable:
                await asyncio.sleep(_RETRY_S)
                await keeper.wait_connected()
            except (AgentError, EngineError, StateError) as error:
                await self._explain(attempt, error)
                return

    async def _explain(self, attempt: Attempt, error: HostlerError) -> None:
        message = f"the log of {attempt.attempt_id} ends early: {error}"
        event = self._context.event("attempt.log_lost", message, attempt, severity="warning")
        await self._context.tell(event)
