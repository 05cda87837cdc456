"""Scales, stops and extends a service (for ten years at most), and finds it by name; a deployed one
is scaled in `scaling`. What is wanted is durable before anything is done for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from hostler.base.errors import InputError, NotFoundError
from hostler.base.failpoints import failpoint
from hostler.base.text import first_of
from hostler.base.units import format_duration
from hostler.daemon.audit import Audit
from hostler.daemon.context import Context
from hostler.decide.progress import progress_of
from hostler.decide.services import service_ends
from hostler.model.calls import AuditEntry, Call, Caller
from hostler.model.events import EventKind
from hostler.model.plans import EndService
from hostler.model.runs import Run
from hostler.model.service_keys import MAX_REPLICAS
from hostler.model.service_wishes import ServiceWish, WishChange, why_unwanted

TIME_IS_UP = "its time is up (`until`)"
LONGEST = 3650 * 86400.0
"""Most seconds by which a service can be extended."""
Found = tuple[Run, str]
"""A run, and the name of its service."""


class ServiceWishes:
    """Users' requests about services, by name."""

    def __init__(self, context: Context, audit: Audit) -> None:
        self._context = context
        self._audit = audit

    async def scale(self, name: str, replicas: int, who: Caller) -> Found:
        """Set the number of replicas of a service."""
        least = 0 if self._context.services and _is_deployed(self._context, name) else 1
        if not least <= replicas <= MAX_REPLICAS:
            raise InputError(
                f"a service has {least} to {MAX_REPLICAS} replicas, not {replicas}",
                remedy=f"To end it: hostler stop {name}" if replicas == 0 else "",
            )
        run, base = self._find(name, who, Call.SCALE)
        if self._context.services:
            from hostler.daemon.scaling import scale_release, state_of  # where one was deployed

            if (state := state_of(self._context, run)) is not None:
                await scale_release(self._context, self._audit, state, run, base, replicas, who)
                return run, base
        stages = (stage for stage in run.stages if stage.base == base)
        before = sum(not why_unwanted(stage, run.services) for stage in stages)
        wish: WishChange = {"replicas": replicas, "scaled_by": who.user}
        said = f"{base} has {replicas} replicas, {before} before"
        asked = {"run": run.run_id, "service": base, "replicas": replicas}
        entry = self._audit.entry(who, Call.SCALE, asked)
        await _write(self._context, run, base, wish, EventKind.SERVICE_SCALED, said, who, entry)
        return run, base

    async def stop(self, name: str, who: Caller) -> Found:
        """End a service."""
        run, base = self._find(name, who, Call.STOP)
        wish: WishChange = {"stopped": f"stopped by {who.user}"}
        entry = self._audit.entry(who, Call.STOP, {"run": run.run_id, "service": base})
        said = f"{who.user} stops {base}"
        await _write(self._context, run, base, wish, EventKind.SERVICE_STOPPING, said, who, entry)
        return run, base

    async def extend(self, name: str, seconds: float, who: Caller) -> Found:
        """Extend the time of a service."""
        if not 0 < seconds <= LONGEST:
            raise InputError("the extension must be longer than zero and at most ten years")
        run, base = self._find(name, who, Call.EXTEND)
        ends = service_ends(progress_of(run)).get(base)
        if ends is None:
            raise InputError(
                f"{base} of run {run.run_id} has no end time: it runs until it is stopped",
                remedy="set `until` in the stage to give it one",
            )
        wish: WishChange = {"until": ends + seconds}
        said = f"{base} runs {format_duration(seconds)} longer"
        asked = {"run": run.run_id, "service": base, "seconds": seconds}
        entry = self._audit.entry(who, Call.EXTEND, asked)
        await _write(self._context, run, base, wish, EventKind.SERVICE_EXTENDED, said, who, entry)
        return run, base

    def _find(self, name: str, who: Caller, call: Call) -> Found:
        """The open service of that name: of the stage, the pipeline, the run, or `RUN.STAGE`. Of
        several the caller's own. Raises NotFoundError, InputError, ForbiddenError."""
        self._context.standing.check_current()
        every = open_services(self._context)
        found = called(name, every)
        if call is Call.SCALE and self._context.services:
            found = _serving(self._context, found)
        own = [one for one in found if one[0].uid == who.uid]
        if len(own or found) > 1:
            several = first_of([f"{run.run_id}.{base}" for run, base in own or found], 5)
            raise InputError(f"several services are called {name!r}", remedy=f"Say one: {several}")
        if not found:
            known = first_of([base for _, base in every], 10) or "none"
            raise NotFoundError(f"no service {name!r} runs", remedy=f"Known services: {known}")
        run, base = (own or found)[0]
        if call is not Call.SCALE or not _is_release(self._context, run):
            self._context.rights.authorize(who, call, run)
        return run, base


def open_services(context: Context) -> list[Found]:
    """All services that were not stopped, the oldest first."""
    return [
        (run, base)
        for run in context.run_cache.runs()
        if run.cancelled_by is None
        for base in dict.fromkeys(s.base for s in run.stages if s.service is not None)
        if not _wish(run, base).stopped
    ]


def called(name: str, every: Sequence[Found]) -> list[Found]:
    """The services with that name. If it is the name of a run, only that run counts: any user may
    give a pipeline the same name."""
    exact = [(run, base) for run, base in every if name in (run.run_id, f"{run.run_id}.{base}")]
    return exact or [one for one in every if name in names_of(*one)]


def _serving(context: Context, found: list[Found]) -> list[Found]:
    """The services, without releases whose later or earlier release serves."""
    beside = {
        release.run_id
        for state in context.services.values()
        for release in state.releases
        if state.live is not None and release.number != state.live.number
    }
    return [one for one in found if one[0].run_id not in beside] or found


def _is_deployed(context: Context, name: str) -> bool:
    """Whether a release that has not ended has this name: it may be paused."""
    every = open_services(context)
    return any(name in names_of(*one) and _is_release(context, one[0]) for one in every)


def _is_release(context: Context, run: Run) -> bool:
    """Whether it is a release: then the service's owner decides who may scale it."""
    every = (release for state in context.services.values() for release in state.releases)
    return any(release.run_id == run.run_id for release in every)


async def end_service(context: Context, action: EndService) -> None:
    """Note that the time of a service is up. A service that was extended meanwhile continues."""
    run = context.run_cache.find(action.run_id)
    if run is None:
        return
    ends = service_ends(progress_of(run)).get(action.base)
    if ends is None or context.clock.now() < ends:
        return
    wish: WishChange = {"stopped": TIME_IS_UP}
    said = f"{action.base} ends: {TIME_IS_UP}"
    await _write(context, run, action.base, wish, EventKind.SERVICE_STOPPING, said)


async def _write(
    context: Context,
    run: Run,
    base: str,
    wish: WishChange,
    kind: EventKind,
    said: str,
    who: Caller | None = None,
    asked: AuditEntry | None = None,
) -> None:
    actor = who.user if who is not None else None
    event = context.event(kind, said, run_id=run.run_id, actor=actor)
    wish = {**wish, "at": context.clock.now()}
    failpoint("before_wish")
    changed = await context.store.wish_service(run.run_id, base, wish, event, asked)
    failpoint("after_wish")
    context.run_cache.change(run.run_id, **changed)
    context.note_run(run.run_id)
    context.hub.publish()
    context.wake()


def _wish(run: Run, base: str) -> ServiceWish:
    return run.services.get(base) or ServiceWish()


def names_of(run: Run, base: str) -> tuple[str, ...]:
    """The names of a service."""
    return (base, run.run_id, f"{run.run_id}.{base}", run.pipeline)
