"""Scales a deployed service: when `hostler scale` is refused for a release, and what it changes; a
service of a plain run: `service_wishes`.
"""

from __future__ import annotations

from hostler.base.errors import ConflictError
from hostler.base.failpoints import failpoint
from hostler.daemon.audit import Audit
from hostler.daemon.context import Context
from hostler.daemon.gateway_looks import is_behind
from hostler.daemon.releases import note_and_show, releases_of
from hostler.decide.releases.opening import Asked, check_direct, locked
from hostler.model.calls import AuditEntry, Call, Caller
from hostler.model.events import EventKind
from hostler.model.releases import Deployment, Release, ServiceState
from hostler.model.runs import Run
from hostler.model.service_wishes import WishChange
from hostler.store.releases import Scaling


def state_of(context: Context, run: Run) -> ServiceState | None:
    """The service whose release a run is; None: the run is no release."""
    for state in context.services.values():
        if any(release.run_id == run.run_id for release in state.releases):
            return state
    return None


async def scale_release(
    context: Context,
    audit: Audit,
    state: ServiceState,
    run: Run,
    base: str,
    replicas: int,
    who: Caller,
) -> None:
    """Scale the live release, which is `run`, to this number of replicas. Raises InputError,
    ConflictError while a release takes over, ForbiddenError."""
    service = state.deployment
    context.rights.authorize(who, Call.DEPLOY, None, service)
    live = _live(context, state, run)
    _check_reached(context, state, replicas)
    before = service.replicas
    said = f"{service.name} has {replicas} replicas, {before} before"
    event = context.event(EventKind.SERVICE_SCALED, said, run_id=run.run_id, actor=who.user)
    wish = _more_slots(run, base, replicas, who, context.clock.now())
    scaling = Scaling(service.name, live.number, replicas, run.run_id, base, wish)
    failpoint("before_wish")
    changed = await releases_of(context).scale(
        scaling, event, _entry(audit, who, service, run, replicas)
    )
    failpoint("after_wish")
    if changed:
        context.run_cache.change(run.run_id, **changed)
        context.note_run(run.run_id)
    await note_and_show(context, service.name)


def _entry(audit: Audit, who: Caller, service: Deployment, run: Run, replicas: int) -> AuditEntry:
    asked = {"run": run.run_id, "service": service.name, "replicas": replicas}
    return audit.entry(who, Call.SCALE, asked)


def _live(context: Context, state: ServiceState, run: Run) -> Release:
    """The release of the run; only the live one can be scaled."""
    name, live = state.deployment.name, state.live
    if (opened := state.opened) is not None:
        since = context.clock.now() - opened.at
        raise ConflictError(
            locked(name, opened.number, opened.by, since, opened.state),
            remedy=f"wait until it is over, or stop it: hostler rollback {name}",
        )
    if live is None or live.run_id != run.run_id:
        raise ConflictError(
            f"run {run.run_id} is an earlier release of {name}, and is ending",
            remedy=f"hostler scale {name} N",
        )
    return live


def _check_reached(context: Context, state: ServiceState, replicas: int) -> None:
    is_direct = not is_behind(context, state)
    gateway = context.config.gateway.host
    check_direct(Asked(state.deployment.name, replicas, 0.0, None, is_direct, gateway))


def _more_slots(run: Run, base: str, replicas: int, who: Caller, now: float) -> WishChange | None:
    """The change that gives the run as many slots as wanted; None: it has enough. Slots are never
    removed here: the planner removes surplus replicas from the gateway before it stops them.
    """
    there = sum(stage.base == base for stage in run.stages)
    return None if replicas <= there else {"replicas": replicas, "scaled_by": who.user, "at": now}
