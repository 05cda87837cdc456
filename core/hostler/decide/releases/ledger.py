"""Sums up the stored steps of a release: which slots may run, which are drained, and how many
replicas run at once meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hostler.decide.releases.situation import Situation
from hostler.model.releases import Release, ReleaseState, Slot, Step, StepKind, Strategy


@dataclass(frozen=True, slots=True)
class Ledger:
    """The sum of the stored steps. The daemon makes no other changes than these."""

    wanted: frozenset[Slot]
    """Slots that have to run, each once the slot before it has ended."""
    drained: Mapping[Slot, float] = field(default_factory=dict)
    """Slots that have to end -> since when."""
    after: Mapping[Slot, Slot] = field(default_factory=dict)
    """Slot -> the slot that has to end before it starts."""
    since: Mapping[Slot, float] = field(default_factory=dict)
    """Slot -> when a step made it wanted, if it was not wanted from the beginning."""
    chains: Mapping[Slot, tuple[Slot, ...]] = field(default_factory=dict)
    """Slot -> the slots whose last attempt may hold the GPUs that it starts with, the newest
    first."""


class _Sum:
    """The ledger while steps are added."""

    def __init__(self, wanted: Iterator[Slot]) -> None:
        self.wanted = set(wanted)
        self.drained: dict[Slot, float] = {}
        self.after: dict[Slot, Slot] = {}
        self.since: dict[Slot, float] = {}
        self.chains: dict[Slot, tuple[Slot, ...]] = {}

    def drain(self, slot: Slot, successor: Slot | None, at: float) -> None:
        """Note that the slot has to end, and that its successor replaces it."""
        self.wanted.discard(slot)
        self.after.pop(slot, None)
        self.drained[slot] = at
        if successor is not None:
            self.wanted.add(successor)
            self.since[successor] = at
            self.drained.pop(successor, None)
            self.after[successor] = slot
            self.chains[successor] = (slot, *self.chains.get(slot, ()))

    def keep(self, slot: Slot, at: float) -> None:
        """Note that the slot continues to run, and that its planned successor does not start."""
        self.wanted.add(slot)
        self.since[slot] = at
        self.drained.pop(slot, None)
        for heir in [heir for heir, before in self.after.items() if before == slot]:
            del self.after[heir]
            self.wanted.discard(heir)

    def ledger(self) -> Ledger:
        """The finished ledger."""
        return Ledger(frozenset(self.wanted), self.drained, self.after, self.since, self.chains)


def ledger_of(situation: Situation) -> Ledger:
    """The ledger of all steps of the open release, or else of the live one."""
    if situation.opened is None:
        return _of_live(situation)
    found = _Sum(old_slots(situation))
    for step in situation.steps:
        if step.state is ReleaseState.STARTING:
            found.wanted |= first_slots(situation, situation.opened)
        _add(found, step, situation.time_of(step))
    return found.ledger()


def _of_live(situation: Situation) -> Ledger:
    """The ledger of the live release: its number of replicas is wanted, and the steps only say
    since when other slots are drained."""
    found = _Sum(iter(()))
    for step in situation.steps:
        _add(found, step, situation.time_of(step))
    return Ledger(frozenset(old_slots(situation)), found.drained)


def _add(found: _Sum, step: Step, at: float) -> None:
    if step.slot is None:
        return
    if step.kind is StepKind.DRAIN:
        found.drain(step.slot, step.successor, at)
    elif step.kind is StepKind.KEEP:
        found.keep(step.slot, at)


def old_slots(situation: Situation) -> Iterator[Slot]:
    """The slots of the live release."""
    if situation.live is not None:
        for index in range(situation.deployment.replicas):
            yield Slot(situation.live.number, index)


def new_slots(release: Release) -> Iterator[Slot]:
    """The slots of a release once it is live."""
    return (Slot(release.number, index) for index in range(release.replicas))


def most(situation: Situation, release: Release) -> int:
    """How many replicas may run at once while a release takes over."""
    old = sum(1 for _ in old_slots(situation))
    return max(old, release.replicas) + release.surge


def first_slots(situation: Situation, release: Release) -> frozenset[Slot]:
    """The slots of a release that start beside all slots of the previous one. With `recreate` these
    are the slots without a counterpart; the others start in the slots of their counterparts."""
    old = sum(1 for _ in old_slots(situation))
    number = min(most(situation, release) - old, release.replicas)
    slots = sorted(new_slots(release))
    if release.strategy is Strategy.RECREATE:
        return frozenset(slots[release.replicas - number :])
    return frozenset(slots[:number])
