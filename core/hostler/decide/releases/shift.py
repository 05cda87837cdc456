"""While one release replaces another: which old replica is drained next, how many must answer
meanwhile, and which drain is cancelled.

The rules are the same in both directions: a failed release is undone in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator

from hostler.decide.releases.case import Case
from hostler.decide.releases.ledger import most
from hostler.model.releases import Slot, Strategy


def next_drain(case: Case) -> tuple[Slot, Slot | None] | None:
    """The next slot to drain of the release that has to end, and its successor. None: no slot is
    left, or others have to answer first."""
    for slot in _in_order(case):
        if may_drain(case, slot):
            return slot, _successor(case, slot)
    return None


def _in_order(case: Case) -> Iterator[Slot]:
    """The slots to drain, in order. Replicas that do not answer come first; those on an unreachable
    host last, because nothing can replace them before the host answers."""
    left = [slot for slot in case.source if slot in case.ledger.wanted]
    yield from sorted(
        left, key=lambda slot: (_is_silent(case, slot), slot in case.serving, slot.index)
    )


def _is_silent(case: Case, slot: Slot) -> bool:
    replica = case.present.get(slot)
    return replica is not None and not replica.is_heard


def may_drain(case: Case, slot: Slot) -> bool:
    """Whether a slot may be drained: enough others answer, or none is required."""
    if slot not in case.serving and not _is_about_to_serve(case, slot):
        return True
    if any(other not in case.serving and _is_about_to_serve(case, other) for other in case.target):
        return False  # more replicas will answer soon: they come first
    others = len(case.serving - {slot})
    if others >= _least(case):
        return True
    return others == 0 and _may_leave_a_gap(case, slot)


def _is_about_to_serve(case: Case, slot: Slot) -> bool:
    replica = case.present.get(slot)
    return replica is not None and replica.is_healthy and case.may_serve(slot)


def _least(case: Case) -> int:
    """How many replicas have to answer besides a drained one: with `recreate`, one less than in the
    end. Replicas past their deadline do not count, but at least one has to answer."""
    wanted = len(case.target) - sum(1 for _ in case.overdue(case.target))
    if case.opened.strategy is Strategy.RECREATE:
        wanted -= 1
    return max(wanted, 0 if not case.old else 1)


def _may_leave_a_gap(case: Case, slot: Slot) -> bool:
    """Whether its successor starts in its slot, on the same host, where its image was verified."""
    replica, successor = case.present.get(slot), _successor(case, slot)
    if not case.is_single or replica is None or successor is None:
        return False
    return case.is_verified(successor, replica.host)


def _successor(case: Case, slot: Slot) -> Slot | None:
    """The slot that replaces a drained one: the slot whose GPUs it had before; with `recreate` the
    slot with its number; else the first slot that is not wanted yet. None: all are wanted."""
    left = [other for other in case.target if other not in case.ledger.wanted]
    before = [other for other in case.ledger.chains.get(slot, ()) if other in left]
    alike = [other for other in left if other.index == slot.index]
    if before:
        return before[0]
    if alike and case.opened.strategy is Strategy.RECREATE:
        return alike[0]
    return left[0] if left else None


def next_to_keep(case: Case) -> Slot | None:
    """A drained slot that is wanted again; None: there is none."""
    return next(_back(case) if case.goes_back else _without_others(case), None)


def _without_others(case: Case) -> Iterator[Slot]:
    """Drained slots whose replica is healthy, if no other replica answers."""
    if case.serving or case.is_single:
        return
    for slot in case.old:
        replica = case.present.get(slot)
        if slot in case.ledger.drained and replica is not None and replica.is_healthy:
            yield slot


def _back(case: Case) -> Iterator[Slot]:
    """Slots of the release that takes over again: all whose replica still runs, and others while
    there is room."""
    away = [slot for slot in case.old if slot not in case.ledger.wanted]
    yield from (slot for slot in away if slot in case.present)
    taken = {before for slot in case.new for before in _gpus_of(case, slot)}
    room = most(case.situation, case.opened) - len(case.ledger.wanted | case.present.keys())
    if room > 0:
        yield from (slot for slot in away if slot not in taken)


def _gpus_of(case: Case, slot: Slot) -> tuple[Slot, ...]:
    """Slots that get their GPUs back when this slot is drained."""
    return case.ledger.chains.get(slot, ()) if slot in case.ledger.wanted else ()
