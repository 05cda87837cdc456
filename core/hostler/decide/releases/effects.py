"""What the stored steps of a release allow now: which replicas run, which are stopped, and each
one's state at the gateway (ready, drained, out).

Each effect may be applied again: it describes the required state, not a change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hostler.decide.releases.case import Case
from hostler.decide.releases.situation import Replica
from hostler.model.releases import Server, ServerMode, Slot


@dataclass(frozen=True, slots=True)
class End:
    """A replica to stop now: it gets no more requests."""

    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class Effects:
    """What the stored steps of one service require now."""

    slots: frozenset[Slot]
    """The slots that have to run: missing replicas are started."""
    chains: Mapping[Slot, tuple[Slot, ...]]
    """`Ledger.chains` of all wanted slots, including those that wait for another slot to end. The
    leases of all slots in a chain are held until the wanted slot has claimed the GPUs."""
    ends: tuple[End, ...]
    servers: Mapping[str, ServerMode] | None
    """Attempt -> its mode at the gateway; all others are removed there. None: the gateway needs no
    change, or is silent."""


def effects_of(case: Case) -> Effects:
    """The effects, by the ledger and the looks."""
    ledger = case.ledger
    slots = frozenset(s for s in ledger.wanted if ledger.after.get(s) not in case.present)
    chains = {slot: chain for slot, chain in ledger.chains.items() if slot in ledger.wanted}
    return Effects(slots, chains, tuple(_ends(case)), _servers(case))


def _ends(case: Case) -> Iterator[End]:
    if case.situation.is_silent:
        return
    for replica in case.situation.replicas:
        if replica.slot in case.ledger.wanted or not replica.is_heard:
            continue
        if case.is_out(replica) and may_stop(case, replica):
            yield End(replica, _why(case, replica))


def _why(case: Case, replica: Replica) -> str:
    situation = case.situation
    if situation.opened is None:
        return f"{situation.deployment.replicas} replicas are wanted"
    if case.goes_back:
        return f"release {case.opened.number} failed"
    return f"release {case.opened.number} takes over"


def may_stop(case: Case, replica: Replica) -> bool:
    """Whether a replica may be stopped. The last replica that answers may not, except for its
    successor in the same slot, if the successor's image was verified."""
    promised = bool(case.old) and case.situation.deployment.replicas > 0
    if not promised or not replica.is_healthy or case.serving:
        return True
    if case.goes_back and replica.slot in case.new:
        return True  # it gets no requests any more, and others wait for its GPUs
    heir = next((s for s, before in case.ledger.after.items() if before == replica.slot), None)
    return case.is_single and heir is not None and case.is_verified(heir, replica.host)


def _servers(case: Case) -> Mapping[str, ServerMode] | None:
    look = case.situation.gateway
    if look is None:
        return None
    found = {r.attempt_id: _mode(case, r) for r in case.situation.replicas}
    wanted = {attempt_id: mode for attempt_id, mode in found.items() if mode is not None}
    there = {a: server.mode for a, server in look.servers.items()}
    return None if wanted == there else wanted


def _mode(case: Case, replica: Replica) -> ServerMode | None:
    """The replica's mode at the gateway; None: it is not there, or no longer."""
    server = case.server(replica)
    is_ready = server is not None and server.mode is ServerMode.READY
    if replica.slot not in case.ledger.wanted:
        if is_ready and replica.slot in case.beyond and replica.slot not in case.ledger.drained:
            return ServerMode.READY  # until the step that drains it is stored
        return _leaving(case, replica, server)
    if is_ready:
        return ServerMode.READY
    if not replica.has_answered:
        return None
    is_up = server is not None and server.is_up
    if is_up and replica.is_healthy and case.may_serve(replica.slot):
        return ServerMode.READY
    return ServerMode.DRAIN  # in this mode the gateway checks it


def _leaving(case: Case, replica: Replica, server: Server | None) -> ServerMode | None:
    """The mode of a replica that has to leave: drained until it has no session or its drain time is
    over; then None, and the gateway removes it."""
    look = case.situation.gateway
    if server is None or look is None or server.mode is ServerMode.MAINT:
        return None
    seen_at = case.situation.draining.get(replica.attempt_id)
    if server.mode is ServerMode.READY or seen_at is None:
        return ServerMode.DRAIN
    since = max(case.drained_at(replica.slot), seen_at)
    is_over = case.situation.now >= since + case.situation.drain_of(replica.slot.release)
    is_empty = not server.sessions and look.asked_at > case.drained_at(replica.slot)
    return None if is_over or is_empty else ServerMode.DRAIN
