"""What an open release waits for, in one sentence (as `hostler deploy` shows it). Pure."""

from __future__ import annotations

from hostler.decide.releases.case import Case
from hostler.model.releases import Slot


def what_it_waits_for(case: Case) -> str:
    """What the release waits for, in one sentence."""
    for slot in case.target:
        if slot in case.ledger.wanted and slot not in case.serving:
            return _slot_waits(case, slot)
    for slot in case.source:
        replica = case.present.get(slot)
        if replica is not None:
            return leftover_waits(case, replica.host, slot)
    return "waits for the next look"


def _slot_waits(case: Case, slot: Slot) -> str:
    replica = case.present.get(slot)
    before = case.ledger.after.get(slot)
    if before is not None and before in case.present:
        return leftover_waits(case, case.present[before].host, before)
    if replica is None:
        return f"replica {slot.index} of release {slot.release} waits for a host"
    if not replica.is_heard:
        return f"{replica.host}, where replica {slot.index} runs, does not answer"
    named = f"replica {slot.index} of release {slot.release} on {replica.host}"
    why = case.situation.unreached.get(replica.host)
    if why is not None and replica.is_healthy and not case.situation.is_direct:
        return f"the gateway does not reach {named}: {why}"
    return f"{named} does not answer yet"


def leftover_waits(case: Case, host: str, slot: Slot) -> str:
    """Words for the unwanted replica whose end the release waits for."""
    named = f"replica {slot.index} of release {slot.release} on {host}"
    if slot in case.ledger.wanted:
        return f"{named} serves until enough other replicas do"
    if not case.present[slot].is_heard:
        return f"{named} cannot be stopped: the host does not answer"
    return f"{named} finishes its requests, and is stopped then"
