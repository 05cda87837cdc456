"""What the planner sees of deployed services at the gateway (which replicas are up), and what the
gateway is to serve.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hostler.daemon.context import Context
from hostler.decide.index import Index
from hostler.decide.reach import reaches, unreached
from hostler.decide.releases.passing import pass_releases
from hostler.decide.routes import Deployed, check_address
from hostler.model.plans import Snapshot
from hostler.model.releases import GatewayLook, Server, ServerMode, ServiceState
from hostler.model.runs import Run
from hostler_agent.probed import is_foreign

if TYPE_CHECKING:
    from hostler.gateway.states import GatewayState
    from hostler.gateway.states import Server as Seen


def with_gateway(context: Context) -> tuple[ServiceState, ...]:
    """All deployed services, each with whether the gateway serves it."""
    return tuple(
        replace(state, is_direct=not is_behind(context, state))
        for state in context.services.values()
    )


def is_behind(context: Context, state: ServiceState) -> bool:
    """Whether the gateway serves it: then its replicas can be only on hosts that the gateway
    reaches."""
    runs = runs_of(context, state, serving_only=True)
    return bool(runs) and all(is_reached(context, run) for run in runs)


def is_reached(context: Context, run: Run) -> bool:
    """Whether the gateway would reach all replicas of a run, on all possible hosts."""
    found, names = reaches(context.config), [each.name for each in context.config.hosts]
    return bool(found) and unreached(run, names, found) is None


def others(context: Context) -> list[Run]:
    """Open runs that are not releases."""
    released = {r.run_id for state in context.services.values() for r in state.releases}
    return [run for run in context.run_cache.runs() if run.run_id not in released]


def check_free(context: Context, run: Run, name: str) -> None:
    """That no other service has the address of a release. Raises InputError, ConflictError."""
    behind = {n: state for n, state in context.services.items() if is_behind(context, state)}
    deployed = {service: runs_of(context, state) for service, state in behind.items()}
    check_address(run, name, others(context), deployed)


def note(
    context: Context,
    look: GatewayState | None,
    asked_at: float,
    unreached: Mapping[str, str] | None = None,
    *,
    was_unheard: bool = False,
) -> None:
    """Show the planner the state of the gateway. None: it does not run, or (`was_unheard`) did not
    answer. `unreached`: hosts whose replicas it does not reach, and why."""
    for name, state in context.services.items():
        seen = _look(name, look, asked_at) if look is not None else None
        draining = _draining(state.draining, seen) if seen is not None else state.draining
        context.services[name] = replace(
            state, gateway=seen, is_routing=False, draining=draining if seen is not None else {},
            unreached=unreached or {}, was_unheard=was_unheard,
        )  # fmt: skip


def note_servers(context: Context, look: GatewayState | None, asked_at: float) -> None:
    """Note which replicas of all services the gateway finds up, and since when. None: it does not
    answer."""
    before, context.at_gateway = context.at_gateway, {}
    for (_, attempt_id), seen in look.servers.items() if look is not None else ():
        server, old = _server(seen, is_drained=False), before.get(attempt_id)
        since = old.since if old is not None and old.is_up == server.is_up else asked_at
        context.at_gateway[attempt_id] = replace(server, since=since)


def foreign(context: Context) -> frozenset[str]:
    """Attempts with a port on which another user's process listens, by the last looks. A host can
    report this only for its own replicas: others continue to serve."""
    looks = ((name, monitor.host.look) for name, monitor in context.monitors.items())
    said = {
        (name, health.attempt_id)
        for name, look in looks
        if look is not None
        for health in look.health.values()
        if not health.ok and is_foreign(health.said)
    }
    return _theirs(context, said) if said else frozenset()


def _theirs(context: Context, said: Collection[tuple[str, str]]) -> frozenset[str]:
    attempts = (attempt for run in context.run_cache.runs() for attempt in run.attempts)
    return frozenset(a.attempt_id for a in attempts if (a.host, a.attempt_id) in said)


def decide(context: Context, snapshot: Callable[[], Snapshot]) -> tuple[Deployed, ...]:
    """What the gateway should do by the current look. If that is a change, no release takes a step
    until a later look: this is decided and marked without an await between."""
    behind = [s for s in with_gateway(context) if not s.is_direct]
    if not behind:
        return ()
    wanted = pass_releases(Index(snapshot())).servers
    return tuple(_deployed(context, state, wanted.get(state.deployment.name)) for state in behind)


def _deployed(
    context: Context, state: ServiceState, wanted: Mapping[str, ServerMode] | None
) -> Deployed:
    name = state.deployment.name
    there = state.gateway.servers if state.gateway is not None else {}
    if wanted is None:
        wanted = {attempt_id: server.mode for attempt_id, server in there.items()}
    else:
        context.services[name] = replace(context.services[name], is_routing=True)
    uid = state.deployment.uid
    return Deployed(name, runs_of(context, state), wanted, frozenset(there), uid)


def runs_of(
    context: Context, state: ServiceState, *, serving_only: bool = False
) -> tuple[Run, ...]:
    """The open runs of its releases; the live one first."""
    live = state.deployment.live
    ordered = sorted(state.releases, key=lambda release: release.number != live)
    found = (
        context.run_cache.find(release.run_id)
        for release in ordered
        if not serving_only or release.number == live or release.state.is_open
    )
    return tuple(run for run in found if run is not None)


def _look(name: str, look: GatewayState, asked_at: float) -> GatewayLook:
    servers = {
        key[1]: _server(seen, is_drained=key in look.drained)
        for key, seen in look.servers.items()
        if key[0] == name
    }
    return GatewayLook(asked_at, servers)


def _server(seen: Seen, *, is_drained: bool) -> Server:
    return Server(_mode(is_drained, seen), _is_up(seen), seen.sessions + seen.queued)


def _mode(drained: bool, seen: Seen) -> ServerMode:
    if seen.is_in_maintenance:
        return ServerMode.MAINT
    return ServerMode.DRAIN if drained or seen.is_draining else ServerMode.READY


def _is_up(seen: Seen) -> bool:
    """Whether a server is up. A drained one is never reported as up, but is still checked."""
    return seen.is_up or (seen.is_draining and seen.is_good)


def _draining(before: Mapping[str, float], look: GatewayLook) -> Mapping[str, float]:
    return {
        attempt_id: before.get(attempt_id, look.asked_at)
        for attempt_id, server in look.servers.items()
        if server.mode is ServerMode.DRAIN
    }
