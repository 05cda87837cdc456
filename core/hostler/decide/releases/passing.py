"""The planner's pass over deployed services: steps to record, replicas that must wait, and replicas
to stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hostler.decide.index import Index
from hostler.decide.releases.effects import Effects
from hostler.decide.releases.ledger import Ledger, ledger_of
from hostler.decide.releases.rules import Decision, decide
from hostler.decide.releases.seen import Seen
from hostler.model.plans import EndRun, TakeStep
from hostler.model.releases import Deployment, ReleaseState, ServerMode
from hostler.model.runs import Attempt, Outcome

Key = tuple[str, str]
_OLD = "waits for the notes of hosts since the backup"


@dataclass(slots=True)
class Released:
    """The result of one pass."""

    actions: list[TakeStep | EndRun] = field(default_factory=list)
    """Steps to store, and runs of releases that are over."""
    held: dict[Key, str] = field(default_factory=dict)
    """(run id, stage) -> why it may not start."""
    slots: set[Key] = field(default_factory=set)
    """(run id, stage) of replicas that the stored steps want, even if they may not start."""
    heirs: dict[Key, tuple[Attempt, ...]] = field(default_factory=dict)
    """Replica that replaces others -> all earlier attempts, including its own."""
    leaving: dict[str, str] = field(default_factory=dict)
    """Attempt of a replica that has to stop -> why."""
    at_gateway: set[str] = field(default_factory=set)
    """Attempts that the gateway may send requests to."""
    draining: set[str] = field(default_factory=set)
    """Runs of releases whose replicas leave the gateway before they are stopped."""
    servers: dict[str, dict[str, ServerMode]] = field(default_factory=dict)
    """Service -> the required modes of its servers, if its gateway has to change."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Service -> why its open release waits."""
    wake_at: float | None = None


def pass_releases(index: Index) -> Released:
    """Decide on each service separately."""
    released = Released()
    for state in index.snapshot.services:
        seen = Seen(state, index)
        situation = seen.situation()
        made = decide(situation)
        ledger = ledger_of(situation)
        released.slots |= {(r.run_id, st.name) for s, r, st in seen.slots if s in ledger.wanted}
        if state.steps:  # without steps, no slot replaces another
            released.heirs |= heirs_of(seen, ledger)
        if not state.is_direct:
            released.at_gateway.update(_at_gateway(seen))
            released.draining.update(r.run_id for r in state.releases if r.state.is_open)
        name = state.deployment.name
        if f"step:{name}" in index.snapshot.in_flight:
            made = Decision(None, None)  # whatever it allows: the step is not stored yet
        if _may_be_old(seen):
            made = Decision(None, None, _OLD)
        else:
            released.actions.extend(_over(seen))
        _take(released, seen, made)
        if made.wake_at is not None:
            known = released.wake_at
            released.wake_at = made.wake_at if known is None else min(known, made.wake_at)
    return released


def _may_be_old(seen: Seen) -> bool:
    """Whether the database was restored from a backup, and hosts may have newer notes about the
    service."""
    snapshot = seen.index.snapshot
    if not snapshot.unsure:
        return False
    return any(release.run_id in snapshot.restored for release in seen.state.releases)


def _take(released: Released, seen: Seen, made: Decision) -> None:
    deployment = seen.state.deployment
    if made.step is not None:
        released.actions.append(TakeStep(made.step))
    if made.reason:
        released.reasons[deployment.name] = made.reason
    _hold(released, seen, made.effects, made.reason)
    if made.effects is None:
        return
    for end in made.effects.ends:
        released.leaving[end.replica.attempt_id] = end.why
    if made.effects.servers is not None:
        released.servers[deployment.name] = dict(made.effects.servers)


def _at_gateway(seen: Seen) -> Iterator[str]:
    """The attempts that the gateway shows; without a look at the gateway, all possible attempts."""
    look = seen.state.gateway
    if look is not None:
        return iter(look.servers)
    return (attempt.attempt_id for run in seen.runs.values() for attempt in run.attempts)


def heirs_of(seen: Seen, ledger: Ledger) -> dict[Key, tuple[Attempt, ...]]:
    """Wanted replica -> the attempts of all slots whose GPUs it may start with, if there are others
    than its own."""
    if not ledger.chains:
        return {}
    keys = {slot: (run.run_id, stage.name) for slot, run, stage in seen.slots}
    found = {}
    for slot in ledger.wanted & ledger.chains.keys() & keys.keys():
        slots = dict.fromkeys((slot, *ledger.chains[slot]))
        before = [a for each in slots if each in keys for a in seen.tries_of(keys[each])]
        found[keys[slot]] = tuple(sorted(before, key=lambda attempt: attempt.placed_at))
    return {key: before for key, before in found.items() if before}


def _over(seen: Seen) -> Iterator[EndRun]:
    """End the runs of releases that are over, once no attempt of them is open."""
    for release in seen.state.releases:
        run = seen.runs.get(release.number)
        if run is None or seen.index.progress[run.run_id].live:
            continue
        if release.state is ReleaseState.RETIRED:
            yield EndRun(run.run_id, Outcome.SUCCEEDED)
        elif release.state is ReleaseState.RESTORED:
            is_cancelled = run.cancelled_by is not None
            yield EndRun(run.run_id, Outcome.CANCELLED if is_cancelled else Outcome.FAILED)


def _hold(released: Released, seen: Seen, effects: Effects | None, reason: str) -> None:
    """Hold back all replicas that are not wanted. While the daemon stores a step, no replica
    starts: the step may change the wanted slots."""
    wanted = effects.slots if effects is not None else frozenset()
    why = reason or _not_wanted(seen.state.deployment)
    for slot, run, stage in seen.slots:
        if slot not in wanted:
            released.held[run.run_id, stage.name] = why


def _not_wanted(deployment: Deployment) -> str:
    lock = deployment.lock
    if lock is not None:
        return f"release {lock.number} of {deployment.name} has not reached this step yet"
    return f"{deployment.replicas} replicas of {deployment.name} are wanted"
