"""Starts an attempt: intent, setup, claim, create, start; a refused claim, a failed start, and who
is blamed. Every step may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from hostler.base.errors import (
    AgentError,
    EngineError,
    HostError,
    ImageAway,
    InputError,
    NoImage,
    StateError,
    Unreachable,
)
from hostler.base.failpoints import failpoint
from hostler.daemon.context import Context
from hostler.daemon.follow import Followers
from hostler.daemon.health import ailing_words
from hostler.daemon.host_copies import HostCopies
from hostler.daemon.images import ImageDelivery
from hostler.daemon.inline import InlineRunner
from hostler.daemon.jobs import build_job
from hostler.daemon.pins import Pins
from hostler.daemon.placements import placements_of
from hostler.daemon.service_news import tell_failing
from hostler.daemon.setups import SetupFailed, Setups, Unwanted
from hostler.daemon.trust import check_builds_of, check_nested_of, check_secrets_of
from hostler.decide.lifecycle import lifecycle_of
from hostler.decide.slots import MOST_BEFORE, attempts_before
from hostler.model.events import EventKind
from hostler.model.hosts import Workload
from hostler.model.jobs import Claim, Claimed, Job
from hostler.model.pipelines import UNCOUNTED, Cause, Stage
from hostler.model.plans import Resume, Start
from hostler.model.runs import Attempt, AttemptChange, Phase, Run
from hostler.model.runtimes import traits_of
from hostler.ports import HostLink, Runtime


class ClaimRefused(Exception):
    """The host reported at the last moment that a GPU is not free."""


class Starter:
    """Carries out `Start` and `Resume`. Remembers which hosts refused a claim, and when."""

    def __init__(
        self,
        context: Context,
        followers: Followers,
        copies: HostCopies,
        inline: InlineRunner,
        images: ImageDelivery,
    ) -> None:
        self._context = context
        self._inline = inline
        self._followers = followers
        self._copies = copies
        self._pins = Pins(context)
        self._images = images
        self.setups = Setups(context, followers, images)
        self.refused: dict[str, float] = {}
        self.preparing: set[str] = set()
        """Attempts whose image, files or setup are being prepared: their command cannot run yet."""

    async def start(self, action: Start) -> None:
        """Write the intent durably, then carry it out.

        Raises Unreachable if it is unknown how far it got: it stays STARTING and is resumed.
        """
        attempt, context = action.attempt, self._context
        try:
            event = context.event(
                EventKind.ATTEMPT_PLACED,
                f"{attempt.stage} placed on {attempt.host}: {action.why}",
                attempt,
            )
            monitor = context.monitors.get(attempt.host)
            facts = monitor.host.facts if monitor is not None else None
            await context.store.add_attempt(attempt, event, facts)
        except Exception:
            # An intent that is not in the database must never be carried out, nor hold anything.
            context.run_cache.drop_attempt(attempt)
            raise
        context.hub.publish()
        failpoint("after_intent")
        await self._carry_out(attempt, action.stage, until_bound=action.until_bound)

    async def resume(self, action: Resume) -> None:
        """Continue a start that a restart of the daemon or a lost connection interrupted."""
        await self._carry_out(action.attempt, action.stage, until_bound=action.until_bound)

    async def _carry_out(self, attempt: Attempt, stage: Stage, *, until_bound: bool) -> None:
        try:
            await self._launch(attempt, stage, until_bound=until_bound)
        except (Unreachable, StateError) as error:
            self._hold_up(attempt, error.told)
            raise
        except ClaimRefused as refusal:
            self.refused[attempt.host] = self._context.clock.now()
            await self._fail(attempt, Cause.NOT_STARTED, str(refusal))
        except SetupFailed as failed:
            await self._fail(attempt, failed.cause, failed.detail)
        except Unwanted:
            return
        except (HostError, InputError) as error:
            await self._not_started(attempt, stage, error)
        finally:
            self._context.progress.pop(attempt.attempt_id, None)
            self.setups.made.pop(attempt.attempt_id, None)

    async def _not_started(
        self, attempt: Attempt, stage: Stage, error: HostError | InputError
    ) -> None:
        """Handle a failed start: its cause decides whether it counts, and whether others are placed
        there."""
        context = self._context
        if isinstance(error, ImageAway):
            await self._fail(attempt, Cause.NOT_STARTED, error.told)
            return
        run, health = context.run_cache.find(attempt.run_id), context.health
        fault = None if run is None else health.blames_host(run, attempt, error)
        if run is None or fault is None:
            await self._fail(attempt, Cause.START_FAILED, error.told)
            return
        # Before the attempt is over: no plan may place it there once more meanwhile, and nobody
        # may take the host for mended before it was told of.
        news = health.failed(run, stage, attempt, fault, error.message, context.clock.now())
        if news is not None:
            said, host = ailing_words(attempt, news), attempt.host
            event = context.event(EventKind.HOST_STARTS_NOTHING, said, severity="error", host=host)
            await context.tell(event)
        await self._fail(attempt, Cause.HOST_FAULT, error.told)

    async def _has_started(self, attempt: Attempt) -> None:
        context = self._context
        if context.health.started(attempt, context.clock.now()):
            said = (
                f"{attempt.attempt_id} started on {attempt.host}: the host accepts such work again"
            )
            await context.tell(context.event(EventKind.HOST_STARTS, said, host=attempt.host))

    def _hold_up(self, attempt: Attempt, why: str) -> None:
        """Show users why the start is tried again and again."""
        context, known = self._context, self._context.run_cache.attempt(attempt.attempt_id)
        why = context.masked(attempt.run_id, why)
        ended = known is None or known.phase.is_final  # as a cancellation of its run does
        if not ended and context.held_up.get(attempt.attempt_id) != why:
            context.held_up[attempt.attempt_id] = why
            context.hub.publish()

    async def _launch(self, attempt: Attempt, stage: Stage, *, until_bound: bool) -> None:
        # The copy on the host is made meanwhile: it has to be there before anything runs.
        note = asyncio.create_task(self._copies.note(attempt), name=f"note {attempt.attempt_id}")
        try:
            if lifecycle_of(stage).has_workload:
                await self._claim_and_start(attempt, stage, note, until_bound=until_bound)
            else:
                await note
                await self._inline.carry_out(attempt, stage, self._progress(attempt))
        finally:
            note.cancel()
            await asyncio.gather(note, return_exceptions=True)

    async def _claim_and_start(
        self, attempt: Attempt, stage: Stage, note: asyncio.Task[None], *, until_bound: bool
    ) -> None:
        context = self._context
        link, runtime = context.link(attempt.host), context.runtime(attempt)
        has_wheels = stage.venv is not None and context.config.packages.serves(attempt.host)
        if stage.is_set_up or has_wheels:
            await self._set_up(attempt, stage, runtime, link, note)
        claim, ref = self._wanted(attempt, stage), None
        lease_ids = _granted(await link.claim(claim)) if attempt.gpus else ()
        failpoint("after_claim")
        if context.run_cache.run(attempt.run_id).cancelled_by is not None:
            return  # it is recorded as cancelled, and its leases are released, by the next plan
        try:
            job, ref = await self._prepared(attempt, stage, runtime, link)
            failpoint("after_create")
            if lease_ids:  # the image may have taken long: the host looks at its GPUs once more
                _granted(await link.bind(lease_ids, ref, claim))
            elif traits_of(attempt.runtime).has_engine:  # it serves older generations too
                await self._copies.ask_whether_current(attempt.host)
            failpoint("after_bind")
            await note  # nothing may ever run that a lost database could not be made to know again
            if until_bound:
                await self._bound(attempt, ref)
                return
            workload = await runtime.start(link, replace(job, wheels=has_wheels), ref)
            failpoint("after_start")
        except (EngineError, AgentError, InputError, ClaimRefused):
            found = await self._running(runtime, link, ref)
            if found is None:
                # Nothing of it runs: the next claim must not find our own lease in its way.
                if lease_ids and stage.service is None:  # a replica's pass to its next attempt
                    await link.release(lease_ids)
                raise
            workload = found
        assert ref is not None
        made = self.setups.made.get(attempt.attempt_id)
        digest = await runtime.image_digest(link, ref) if made is None else made.base
        now = context.clock.now()
        event = context.event(
            EventKind.ATTEMPT_STARTED, f"{stage.label} runs on {attempt.host}", attempt
        )
        launched = await context.change_attempt(
            attempt.attempt_id,
            lambda _known: {
                "phase": Phase.RUNNING,
                "ref": ref,
                "launched_at": now,
                "started_at": now,
                "image_digest": digest,
            },
            event,
        )
        if launched is not None:
            self._followers.follow(launched, workload)
            await self._has_started(launched)
            if stage.service is not None:
                context.look_soon(attempt.host)  # with a look its host begins to ask it

    async def _set_up(
        self,
        attempt: Attempt,
        stage: Stage,
        runtime: Runtime,
        link: HostLink,
        note: asyncio.Task[None],
    ) -> None:
        """Prepare what its command needs. It holds no GPUs meanwhile."""
        if stage.image is None:
            job, _ref = await self._prepared(attempt, stage, runtime, link)
        else:
            progress = self._progress(attempt)
            base = self._pins.see_base(attempt, stage, runtime, link, self._job, progress)
            await self.setups.until_ended(attempt.attempt_id, asyncio.ensure_future(base))
            job = await self._job(attempt, stage)
        await note  # as for the command: a lost database must be made to know of what runs
        failpoint("before_setup")
        self.preparing.add(attempt.attempt_id)
        try:
            await self.setups.carry_out(attempt, stage, job, self._progress(attempt))
        finally:
            self.preparing.discard(attempt.attempt_id)
        failpoint("after_setup")

    async def _bound(self, attempt: Attempt, ref: str) -> None:
        """Store that it can be started: the plan starts it with the rest of its group."""
        context = self._context
        await context.change_attempt(
            attempt.attempt_id,
            lambda known: {"ref": ref} if known.phase is Phase.STARTING else None,
        )
        context.look_soon(attempt.host)

    async def _prepared(
        self, attempt: Attempt, stage: Stage, runtime: Runtime, link: HostLink
    ) -> tuple[Job, str]:
        progress = self._progress(attempt)
        self.preparing.add(attempt.attempt_id)
        try:
            # What was found in the host's cache may be removed before it is placed.
            await self._context.cleaned(attempt.host)
            async with self._turn(attempt, stage, progress) as is_first:
                job = await self._job(attempt, stage)
                job, ref = await self._created(runtime, link, job, progress)
                if is_first:
                    await self._pins.keep(attempt, runtime, link, ref)
            return job, ref
        finally:
            self.preparing.discard(attempt.attempt_id)

    async def _created(
        self, runtime: Runtime, link: HostLink, job: Job, progress: _Progress
    ) -> tuple[Job, str]:
        """Create it. An image that the host cannot pull is copied from another place."""
        try:
            return job, await runtime.create(link, job, progress)
        except NoImage as error:
            job = await self._images.bring_for(job, link.host, progress, error)
        return job, await runtime.create(link, job, progress)

    def _turn(
        self, attempt: Attempt, stage: Stage, progress: _Progress
    ) -> contextlib.AbstractAsyncContextManager[bool]:
        """The turn to resolve its image; without an image no turn is needed."""
        if stage.image is None or stage.setup is not None:
            return contextlib.nullcontext(enter_result=False)
        return self._pins.turn(attempt, stage, progress)

    async def _running(self, runtime: Runtime, link: HostLink, ref: str | None) -> Workload | None:
        """The workload if it runs although its start failed: only the answer was lost. Raises the
        error that hides it; its leases then stay until a look shows its end."""
        found = await runtime.inspect(link, ref) if ref is not None else None
        return None if found is None or found.created_only else found

    def _wanted(self, attempt: Attempt, stage: Stage) -> Claim:
        policy = self._context.config.policy
        run = self._context.run_cache.run(attempt.run_id)
        return Claim(
            gpus=attempt.gpus,
            attempt_id=attempt.attempt_id,
            daemon_id=self._context.daemon_id,
            owner=run.owner,
            memory_floor=policy.memory_floor,
            ignore=policy.ignore,
            instead_of=self._before(attempt, run) if stage.service is not None else (),
        )

    def _before(self, attempt: Attempt, run: Run) -> tuple[str, ...]:
        own = attempts_before(attempt, run)
        if not self._context.services:
            return own
        from hostler.daemon.releases import attempts_of_others

        return (*attempts_of_others(self._context, attempt), *own)[-MOST_BEFORE:]

    async def _job(self, attempt: Attempt, stage: Stage) -> Job:
        context = self._context
        run = context.run_cache.run(attempt.run_id)
        if context.config.daemon.is_shared:
            check_secrets_of(context.config, stage)
            check_nested_of(context.config, stage)
            check_builds_of(context.config, stage)
        takes_files = run.source.digest is not None or stage.inputs
        takes_secrets = bool(stage.named_secrets)
        secrets = await context.secrets.of_attempt(run, stage) if takes_secrets else ()
        job = build_job(
            run,
            stage,
            attempt,
            context.monitors[attempt.host].host,
            context.config,
            context.daemon_id,
            placements_of(run, stage, context.content) if takes_files else (),
        )
        job = replace(job, secrets=secrets, service=stage.service)
        host = context.config.host(attempt.host) if stage.service is not None else None
        job = replace(job, address=host.published_at) if host is not None else job
        made = self.setups.made.get(attempt.attempt_id)
        return job if made is None else replace(job, image_digest=made.image)

    def _progress(self, attempt: Attempt) -> _Progress:
        return _Progress(self._context, attempt.attempt_id)

    async def _fail(self, attempt: Attempt, cause: Cause, detail: str) -> None:
        context = self._context
        now = context.clock.now()
        message = f"{attempt.stage} did not start on {attempt.host}: {detail}"
        severity = "info" if cause in UNCOUNTED else "error"
        ended = await context.change_attempt(
            attempt.attempt_id,
            lambda known: _not_started(known, cause, detail, now),
            context.event(EventKind.ATTEMPT_NOT_STARTED, message, attempt, severity=severity),
        )
        if ended is not None:
            if context.run_cache.stage(attempt.run_id, attempt.stage).service is not None:
                await tell_failing(context, ended)
            with contextlib.suppress(Unreachable):  # at worst it is begun again after a recovery
                await self._copies.note(ended)


def _not_started(attempt: Attempt, cause: Cause, detail: str, now: float) -> AttemptChange:
    """The change for its end; a stop may have been requested meanwhile."""
    stopped = attempt.stop_reason is Cause.STOPPED
    return {
        "phase": Phase.CANCELLED if stopped else Phase.FAILED,
        "cause": Cause.STOPPED if stopped else cause,
        "detail": attempt.stop_detail if stopped else detail,
        "finished_at": now,
    }


class _Progress:
    """Keeps the latest progress of a slow start where the API can show it."""

    def __init__(self, context: Context, attempt_id: str) -> None:
        self._context = context
        self._attempt_id = attempt_id

    def __call__(self, what: str, done: int, total: int | None) -> None:
        self._context.progress[self._attempt_id] = (what, done, total)
        if done:
            self._context.held_up.pop(self._attempt_id, None)
        self._context.hub.publish()


def _granted(claimed: Claimed) -> tuple[str, ...]:
    """The leases. Raises ClaimRefused."""
    if claimed.refused is not None:
        raise ClaimRefused(claimed.refused)
    return claimed.lease_ids
