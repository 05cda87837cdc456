"""Runs the `setup` of a stage (installation, environment) before its GPUs are claimed; its timeout
is a key of the stage.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol, TypeVar

from hostler.base.errors import NoImage
from hostler.daemon.context import Context
from hostler.daemon.follow import Followers
from hostler.daemon.images import ImageDelivery
from hostler.decide.setups import setup_ending
from hostler.model.jobs import Job, SetupEnd
from hostler.model.pipelines import Cause, Stage
from hostler.model.runs import Attempt
from hostler.ports import Progress
from hostler.store.logs import LogFile

if TYPE_CHECKING:
    from hostler.daemon.wheels import Wheels

T = TypeVar("T")
_TAIL_LINES = 30


class _Ends(Protocol):
    def cancel(self) -> bool: ...


class SetupFailed(Exception):
    """The command of an attempt cannot be started: the cause, and the reason as a sentence."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


class Unwanted(Exception):
    """The end of the attempt was recorded while its setup ran."""


class Setups:
    """Runs setups, with their output in the logs of their attempts."""

    def __init__(self, context: Context, followers: Followers, images: ImageDelivery) -> None:
        self._context = context
        self._images = images
        self.made: dict[str, SetupEnd] = {}
        """Attempt -> the image that its setup made, in which its command starts."""
        self._followers = followers
        self.attempts: dict[str, _Ends] = {}
        """Attempts whose setups run now, or whose packages are being fetched."""
        self._wheels: Wheels | None = None

    def cancel(self, attempt_id: str) -> None:
        """Stop waiting for the setup of an attempt whose end is recorded; the setup ends when its
        folder is removed."""
        task = self.attempts.get(attempt_id)
        if task is not None:
            task.cancel()

    async def carry_out(self, attempt: Attempt, stage: Stage, job: Job, progress: Progress) -> None:
        """Return when the environment of the attempt is ready, or the packages for its `venv` are
        on its host. Raises SetupFailed, Unwanted, HostError, InputError, StateError."""
        if not stage.is_set_up:
            await self._provide_packages(attempt, job, progress)
            return
        try:
            end = await self._set_up(attempt, stage, job, progress)
        except NoImage as error:
            job = await self._images.bring_for(job, attempt.host, progress, error)
            end = await self._set_up(attempt, stage, job, progress)
        if end.image is not None:
            self.made[attempt.attempt_id] = end

    async def _set_up(
        self, attempt: Attempt, stage: Stage, job: Job, progress: Progress
    ) -> SetupEnd:
        log = self._followers.log(attempt)
        try:
            link, runtime = self._context.link(attempt.host), self._context.runtime(attempt)
            work = asyncio.ensure_future(runtime.prepare(link, job, log, progress))
            end = await self.until_ended(attempt.attempt_id, work)
            if not end.is_ready:
                raise await self._failed(attempt, stage, end, log)
            return end
        finally:
            log.close()  # the command may get newer secrets, by which its log is masked then

    async def _provide_packages(self, attempt: Attempt, job: Job, progress: Progress) -> None:
        if self._wheels is None:
            from hostler.daemon.wheels import Wheels  # few need it

            self._wheels = Wheels(self._context)
        work = self._wheels.provide(self._context.link(attempt.host), job, progress)
        await self.until_ended(attempt.attempt_id, asyncio.ensure_future(work))

    async def _failed(
        self, attempt: Attempt, stage: Stage, end: SetupEnd, log: LogFile
    ) -> SetupFailed:
        log.finish()
        if not log.is_synced:
            await asyncio.to_thread(log.sync)
        raw = self._context.store.logs.tail(attempt.run_id, attempt.attempt_id, _TAIL_LINES)
        tail = raw.decode(errors="replace").splitlines()
        return SetupFailed(*setup_ending(end, stage, tail))

    async def until_ended(self, attempt_id: str, work: asyncio.Future[T]) -> T:
        """The result of some work before the command of an attempt starts. Raises Unwanted, and
        ends the work, once the end of the attempt is recorded."""
        self.attempts[attempt_id] = work
        try:
            await asyncio.wait((work,))
        finally:
            del self.attempts[attempt_id]
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((work,))
        if work.cancelled():
            raise Unwanted
        return work.result()
