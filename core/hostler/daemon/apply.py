"""Carries out the planner's actions (stop, remove, release, end, warn), one short function for each
kind; starts are in `start`, ends in `finish`. The match is exhaustive: a new action is a type error
here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection
from typing import assert_never

from hostler.base.errors import NotFoundError, StateError, Unkillable, Unreachable
from hostler.base.failpoints import failpoint
from hostler.daemon.context import Context
from hostler.daemon.drains import Unkillables
from hostler.daemon.finish import Finisher
from hostler.daemon.follow import Followers
from hostler.daemon.host_copies import HostCopies
from hostler.daemon.images import ImageDelivery
from hostler.daemon.inline import InlineRunner
from hostler.daemon.service_news import mark_ready
from hostler.daemon.service_wishes import end_service
from hostler.daemon.start import Starter
from hostler.daemon.usage import Usage
from hostler.decide.merging import End
from hostler.decide.warned import warning_sentence
from hostler.model.events import EventKind
from hostler.model.hosts import Workload
from hostler.model.plans import (
    Action,
    Conclude,
    EndRun,
    EndService,
    Finish,
    MarkReady,
    Record,
    Release,
    Remove,
    Resume,
    SendWarning,
    Start,
    Stop,
    TakeStep,
)
from hostler.model.runs import Attempt, AttemptChange, Outcome, Run
from hostler.store.copy_key import note_ended

_log = logging.getLogger("hostler.daemon")

_NAMED = 10
"""At most this many of one host are reported by name; for the rest, one report says that there are
more."""


class Applier:
    """Carries out what the planner decided. Every action may be repeated without harm."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.usage = Usage(context)
        self.followers = Followers(context)
        self.copies = HostCopies(context)
        context.note_run = self.copies.note_run
        self._finisher = Finisher(context, self.followers, self.usage, self.copies)
        self._inline = InlineRunner(context, self._finisher, self.followers)
        self.images = ImageDelivery(context)
        self.starter = Starter(context, self.followers, self.copies, self._inline, self.images)
        self._unkillables = Unkillables(context)
        self._keeping: asyncio.Task[None] | None = None
        self._strangers = Strangers()

    async def close(self) -> None:
        """End the background tasks."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self.copies.close()

    async def recall(self) -> None:
        """Read back what an earlier daemon measured, and which images it kept. Raises
        StateError."""
        await self.usage.recall()
        await self.images.recall()

    def announce(self, action: Action) -> None:
        """Show at once what later plans must see: an intent holds its GPUs before it is durable."""
        if isinstance(action, Start):
            self._context.run_cache.add_attempt(action.attempt)

    async def apply(self, action: Action) -> None:
        """Carry out one action. Raises HostError or StateError; the plan then repeats it."""
        match action:
            case Start():
                await self.starter.start(action)
            case Resume():
                await self.starter.resume(action)
            case Record():
                await self._finisher.record(action)
                if action.phase.is_final:
                    self._inline.cancel(action.attempt_id)
                    self.starter.setups.cancel(action.attempt_id)
            case Finish():
                await self._finisher.finish(action)
            case Conclude():
                await self._finisher.conclude(action)
            case SendWarning():
                await self._warn(action)
            case MarkReady():
                await mark_ready(self._context, action)
                self.copies.note_soon(action.attempt)  # its port may be needed after a recovery
            case Stop():
                await self._stop(action)
            case Remove():
                await self._remove(action)
            case Release():
                await self._release(action)
            case EndService():
                await end_service(self._context, action)
            case TakeStep():
                await self._take_step(action)
            case EndRun():
                await self._end(action)
            case _:
                assert_never(action)

    async def _take_step(self, action: TakeStep) -> None:
        from hostler.daemon.releases import take_step  # only where something was deployed
        from hostler.model.releases import ReleaseState

        await take_step(self._context, action)
        if action.step.state is ReleaseState.LIVE:
            self._keeping = asyncio.create_task(self.images.keep_built(), name="keep images")

    async def _warn(self, action: SendWarning) -> None:
        """Note that the attempt is to be warned, have its host send the signal, note the result. A
        host that is asked again, after a restart of the daemon or a lost answer, sends no second
        signal."""
        context, attempt_id = self._context, action.attempt.attempt_id
        now = context.clock.now()
        await context.change_attempt(attempt_id, lambda known: _to_be_warned(known, now))
        attempt = context.run_cache.attempt(attempt_id)
        if attempt is None or not attempt.phase.is_at_work or attempt.warning:
            return
        failpoint("before_warn")
        link = context.link(attempt.host)
        answer = await context.runtime(attempt).warn(link, action.workload, action.warn)
        failpoint("after_warn")
        told = warning_sentence(action.warn, answer)
        severity = "info" if answer.sent else "warning"
        event = context.event(EventKind.ATTEMPT_WARNED, told, attempt, severity=severity)
        if await context.change_attempt(attempt_id, lambda known: _was_warned(known, told), event):
            self.followers.note(attempt, told)

    async def _stop(self, action: Stop) -> None:
        """Note the reason before stopping it, so that the end is recorded with its cause."""
        context, workload = self._context, action.workload
        await self._check_known(action.host, workload)
        attempt = context.run_cache.attempt(workload.attempt_id)
        if attempt is not None:
            said = f"stopping {attempt.stage}: {action.detail}"
            event = context.event(EventKind.ATTEMPT_STOPPING, said, attempt)
            await context.change_attempt(
                attempt.attempt_id, lambda now: _asked_to_stop(now, action), event
            )
        runtime = context.runtimes[workload.runtime]
        try:
            await runtime.stop(context.link(action.host), workload, action.grace)
        except Unkillable:
            await self._unkillables.failed(action.host, workload)
            raise
        self._unkillables.ended(action.host, workload)
        context.look_soon(action.host)

    async def _check_known(self, host: str, workload: Workload) -> None:
        """Raises Unreachable, to be asked again later, where the database does not contain the
        workload's run: it was lost, or restored from an old copy. The workload continues."""
        context, attempt_id = self._context, workload.attempt_id
        run_id = attempt_id.partition("-")[0]
        if await context.is_over(run_id) is not None:
            return  # also: given up while its host was silent, and then forgotten on purpose
        said = self._strangers.news(host, attempt_id)
        if said is not None:
            event = context.event(EventKind.WORKLOAD_UNKNOWN, said, severity="warning", host=host)
            await context.tell(event)
        raise Unreachable(host, left_alone(host, attempt_id))

    async def _remove(self, action: Remove) -> None:
        context = self._context
        await self._check_known(action.host, action.workload)
        run = await self._run_of(action.workload)
        if run is not None and await self._finisher.salvage(action.host, run, action.workload):
            return
        runtime = context.runtimes[action.workload.runtime]
        attempt = context.run_cache.attempt(action.workload.attempt_id)
        if attempt is not None and attempt.host == action.host:  # others were told by their own
            await self.copies.note(attempt)
        with context.monitors[action.host].removing(action.workload.ref):
            await runtime.remove(context.link(action.host), action.workload)
        context.look_soon(action.host)

    async def _run_of(self, workload: Workload) -> Run | None:
        """The open or ended run; None if it was forgotten."""
        run_id = workload.attempt_id.partition("-")[0]
        run = self._context.run_cache.find(run_id)
        with contextlib.suppress(NotFoundError):
            run = run or await self._context.store.get_run(run_id)
        return run

    async def _release(self, action: Release) -> None:
        context = self._context
        failpoint("before_release")
        await context.link(action.host).release(action.lease_ids)
        failpoint("after_release")
        context.look_soon(action.host)

    async def _end(self, action: EndRun) -> None:
        context = self._context
        run = context.run_cache.find(action.run_id)
        if run is None:
            return
        severity = "error" if action.outcome is Outcome.FAILED else "info"
        event = context.event(
            EventKind(f"run.{action.outcome}"),
            f"run {run.run_id} ({run.pipeline}) {action.outcome.value}",
            severity=severity,
            run_id=run.run_id,
        )
        now = context.clock.now()
        await context.store.end_run(run.run_id, action.outcome, now, event)
        context.run_cache.drop(run.run_id, action.outcome)
        context.hub.publish()
        await self._note_ended(run.run_id)
        if context.has_secrets(run.run_id):
            await context.secrets.drop(run.run_id)
        used = {a.host for a in run.attempts} & context.monitors.keys()
        end = End(run.run_id, action.outcome, now)
        await self.copies.forget([end], sorted(used))

    async def _note_ended(self, run_id: str) -> None:
        """Record the run's end beside the database, in case the database is lost. A full disk that
        prevents this does not change how the run ends."""
        try:
            await asyncio.to_thread(note_ended, self._context.store.folder, run_id)
        except StateError as error:
            _log.warning(
                "the end of run %s could not be recorded beside the database: %s", run_id, error
            )


def _asked_to_stop(attempt: Attempt, stop: Stop) -> AttemptChange | None:
    """The change that sets the first stop reason; None if there is one already, or the attempt has
    ended."""
    if not attempt.phase.is_at_work or attempt.stop_reason is not None:
        return None
    return {"stop_reason": stop.cause, "stop_detail": stop.detail}


def _to_be_warned(attempt: Attempt, now: float) -> AttemptChange | None:
    if not attempt.phase.is_at_work or attempt.warned_at is not None:
        return None
    return {"warned_at": now}


def _was_warned(attempt: Attempt, told: str) -> AttemptChange | None:
    return None if attempt.phase.is_final or attempt.warning else {"warning": told}


def is_slow_start(action: Action, run_id: str, preparing: Collection[str]) -> bool:
    """Whether it is a start of that run that a cancellation does not wait for: it is still
    preparing."""
    return (
        isinstance(action, (Start, Resume))
        and action.attempt.run_id == run_id
        and action.attempt.attempt_id in preparing
    )


class Strangers:
    """Remembers which unknown workloads were reported."""

    def __init__(self) -> None:
        self._told: dict[str, set[str]] = {}

    def news(self, host: str, attempt_id: str) -> str | None:
        """The report about an unknown workload, which stays untouched; None: already reported."""
        told = self._told.setdefault(host, set())
        if attempt_id in told or len(told) > _NAMED:
            return None
        told.add(attempt_id)
        if len(told) > _NAMED:
            return (
                f"more than {_NAMED} workloads on {host} belong to no run in this daemon's "
                "database and are not touched; to find their runs: hostler daemon recover"
            )
        return left_alone(host, attempt_id)


def left_alone(host: str, attempt_id: str) -> str:
    """Why an unknown workload is left alone."""
    return (
        f"{attempt_id} on {host} belongs to no run in this daemon's database and is not touched; "
        "to find its run: hostler daemon recover"
    )
