"""Deployed services in memory, in step with the database, for the planner; and the writing of a
release's steps. Each is durable before the next plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hostler.base.failpoints import failpoint
from hostler.daemon.context import Context
from hostler.daemon.note_writing import note_service
from hostler.decide.releases.ledger import ledger_of
from hostler.decide.releases.seen import slot_index
from hostler.decide.releases.situation import Situation
from hostler.decide.releases.words import Said, of_step
from hostler.model.plans import TakeStep
from hostler.model.records import NewEvent
from hostler.model.releases import Deployment, Release, ReleaseState, ServiceState, Slot
from hostler.model.runs import Attempt
from hostler.store.releases import Releases

_MOST = 1000
"""Newest releases of a service that are considered: older ones have no open runs."""


def releases_of(context: Context) -> Releases:
    """The releases' tables in the store."""
    return Releases(*context.store.connections)


async def load_services(context: Context) -> None:
    """Load services at the start: the stored state is from an earlier daemon, with its clock.
    Raises StateError."""
    for deployment in await releases_of(context).services():
        await _show(context, deployment, is_earlier=True)


async def refresh(context: Context, name: str) -> None:
    """Show the stored state of a service. Raises StateError."""
    for deployment in await releases_of(context).services():
        if deployment.name == name:
            await _show(context, deployment, is_earlier=False)
    context.hub.publish()
    context.wake()


async def show_recovered(context: Context, name: str) -> None:
    """Show services restored from the notes of hosts: an earlier daemon stored them. Raises
    StateError."""
    for deployment in await releases_of(context).services():
        if deployment.name == name:
            await _show(context, deployment, is_earlier=True)


async def note_and_show(context: Context, name: str) -> None:
    """Write the stored state of a service to its hosts, then show it to the planner even if that
    failed: the planner would repeat the decision. Raises StateError."""
    try:
        await note_service(context, name)
    finally:
        await refresh(context, name)


async def _show(context: Context, deployment: Deployment, *, is_earlier: bool) -> None:
    stored = releases_of(context)
    known = await stored.releases(deployment.name, _MOST)
    number = deployment.lock.number if deployment.lock is not None else deployment.live
    steps = tuple(await stored.steps(deployment.name, number)) if number is not None else ()
    before = context.services.get(deployment.name)
    earlier = before.earlier if before is not None else 0
    shown = ServiceState(
        deployment,
        tuple(r for r in known if _is_needed(context, deployment, r)),
        steps,
        max((s.seq for s in steps), default=0) if is_earlier else earlier,
    )
    context.services[deployment.name] = shown if before is None else _as_seen(shown, before)


def _as_seen(shown: ServiceState, before: ServiceState) -> ServiceState:
    """The state, with what was last observed of it."""
    return replace(
        shown, gateway=before.gateway, is_routing=before.is_routing, draining=before.draining
    )


def _is_needed(context: Context, deployment: Deployment, release: Release) -> bool:
    if release.number == deployment.live or release.state.is_open:
        return True
    return context.run_cache.find(release.run_id) is not None


def was_stopped(context: Context, release: Release) -> bool:
    """Whether it is the last release that served, and no longer serves."""
    return release.state is ReleaseState.LIVE and context.run_cache.find(release.run_id) is None


async def take_step(context: Context, action: TakeStep) -> None:
    """Store the step, here and on its hosts; the next plan starts what it allows. A daemon that is
    killed before this decides again; one that is killed after it continues from there. Raises
    StateError, ConflictError."""
    step = action.step
    failpoint("before_step")
    said, state = of_step(step), context.services.get(step.service)
    release = next((r for r in state.releases if r.number == step.number), None) if state else None
    event = told(context, said, release) if said is not None else None
    await releases_of(context).add_step(step, event)
    failpoint("after_step")
    await note_and_show(context, step.service)


def told(context: Context, said: Said, release: Release | None) -> NewEvent:
    """An event about a release, and so about its run."""
    run_id = release.run_id if release is not None else None
    actor = release.by if release is not None else None
    return context.event(
        said.kind, said.message, severity=said.severity, run_id=run_id, actor=actor
    )


def attempts_of_others(context: Context, attempt: Attempt) -> tuple[str, ...]:
    """Ended attempts of other releases on the same host; a replica has taken over their slot."""
    for state in context.services.values():
        numbers = {r.run_id: r.number for r in state.releases}
        if attempt.run_id in numbers:
            return _before(context, state, numbers, attempt)
    return ()


def _before(
    context: Context, state: ServiceState, numbers: Mapping[str, int], attempt: Attempt
) -> tuple[str, ...]:
    ledger = ledger_of(Situation(0.0, state.deployment, state.live, state.opened, state.steps))
    slot = Slot(numbers[attempt.run_id], slot_index(attempt.stage))
    chain = ledger.chains.get(slot, ())
    return tuple(
        a.attempt_id
        for run in context.run_cache.runs()
        if run.run_id in numbers
        for a in run.attempts
        if a.host == attempt.host and a.phase.is_final
        and Slot(numbers[run.run_id], slot_index(a.stage)) in chain
    )  # fmt: skip
