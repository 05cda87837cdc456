"""Resolves an image tag once per run, so that all its stages use the same image."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from hostler.base.errors import NoImage
from hostler.daemon.context import Context
from hostler.daemon.jobs import is_image_known
from hostler.model.jobs import Job
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt
from hostler.ports import HostLink, Progress, Runtime

JobOf = Callable[[Attempt, Stage], Awaitable[Job]]


class Pins:
    """Turns of a run's attempts to resolve an image tag: the first one resolves it, the others use
    the result."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, attempt: Attempt, stage: Stage, progress: Progress) -> AsyncIterator[bool]:
        """Wait until the stage's tag is resolved, or it is this attempt's turn to resolve it. True:
        it is this attempt's turn, and `keep` must be called before the block ends; else another
        attempt gets the turn."""
        if self._is_known(attempt, stage):
            yield False
            return
        key = (attempt.run_id, stage.image or "")
        lock = self._turns.setdefault(key, asyncio.Lock())
        if lock.locked():
            progress(f"waiting for {stage.image}, which another stage of the run gets", 0, None)
        async with lock:
            if not self._is_known(attempt, stage):
                yield True
                return
        yield False  # what is known may be had by all of them at once

    async def see_base(
        self, attempt: Attempt, stage: Stage, runtime: Runtime, link: HostLink, job_of: JobOf,
        progress: Progress,
    ) -> None:  # fmt: skip
        """The same for a stage with a setup on its image: the setup takes long, so the tag is
        resolved before it starts. An image that is in no registry is copied later."""
        async with self.turn(attempt, stage, progress) as is_first:
            if not is_first:
                return
            with contextlib.suppress(NoImage):
                digest = await runtime.base_digest(link, await job_of(attempt, stage), progress)
                if digest is not None:
                    await self._write(attempt, digest)

    async def keep(self, attempt: Attempt, runtime: Runtime, link: HostLink, ref: str) -> None:
        """Store which image the attempt has got. Raises HostError, StateError."""
        digest = await runtime.image_digest(link, ref)
        if digest is not None:
            await self._write(attempt, digest)

    async def _write(self, attempt: Attempt, digest: str) -> None:
        await self._context.change_attempt(
            attempt.attempt_id, lambda _known: {"image_digest": digest}
        )

    def _is_known(self, attempt: Attempt, stage: Stage) -> bool:
        return is_image_known(self._context.run_cache.run(attempt.run_id), stage)
