"""What is promised of services, checked over a history. Pure; part of `checker`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.history import AttemptEnd, Fault, Final, History, Unanswered

MOVED = ("superseded", "host rebooted", "host lost", "GPU lost", "stopped")
"""Causes after which the GPUs of a replica are not kept for the next one."""
BREAKS = ("power", "gpu lost")
"""Faults of a host, by the first words of their names, after which neither."""
ENDS = (*BREAKS, "freeze", "kill agent", "stop agent")
"""Faults of a host, by the first words of their names, that end or stop what serves there: the
supervisors of replicas and gateway are agents, too."""
LATE_S = 15.0
"""Within which after such a fault something may still end by it."""
KEPT_S = 600.0
"""What cannot be started in its slot for so long goes elsewhere."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on the gateway's own host."""

    at: float
    until: float
    is_answered: bool


def left_to_nobody(
    service: str, asked: Sequence[Asked], faults: Iterable[Fault], host: str
) -> Iterator[Unanswered]:
    """Requests without an answer, after the first one that had one, but those from a fault that
    ends what serves on the host until an answer after it."""
    ends = [f for f in faults if f.name.startswith(ENDS) and f.host in ("", host)]
    first = next((each.at for each in asked if each.is_answered), float("inf"))
    good = [each.at for each in asked if each.is_answered]
    for each in asked:
        if each.is_answered or each.at < first:
            continue
        before = [f for f in ends if f.begun_at <= each.until]
        is_excused = any(
            f.ended_at is None or not any(f.ended_at + LATE_S < at < each.at for at in good)
            for f in before
        )
        if not is_excused:
            yield Unanswered(each.at, service, "no answer, and nothing broke what serves")


def answered(history: History) -> Iterator[str]:
    """No request is left to nobody while the rules promise an answer."""
    for one in history.unanswered:
        yield f"nobody answered requests to {one.service}: {one.what}"


def right_number(final: Final) -> Iterator[str]:
    """After recovery as many replicas run as are wanted, and no release is open for ever."""
    for service in final.services:
        if service.problem:
            yield f"{service.name} did not come to rest: {service.problem}"
        elif len(service.running) > service.wanted:
            there = ", ".join(service.running)
            yield f"{service.name} has the replicas {there}, and {service.wanted} are wanted"


def slots_kept(history: History, final: Final) -> Iterator[str]:
    """From one attempt of a replica that was ready to the next, its GPUs are nobody else's."""
    slots: dict[tuple[str, str], list[AttemptEnd]] = defaultdict(list)
    for attempt in final.attempts:
        slots[attempt.run_id, attempt.stage].append(attempt)
    for tries in slots.values():
        for before, after in pairwise(sorted(tries, key=lambda attempt: attempt.number)):
            if _is_kept(history, before, after) and not _is_given_back(final, before, after):
                yield from _others(history, final, before, after)


def _is_kept(history: History, before: AttemptEnd, after: AttemptEnd) -> bool:
    begun, ended = after.placed_at, before.finished_at
    if before.ready_at is None or begun is None or ended is None or before.cause in MOVED:
        return False
    return begun - ended < KEPT_S and not any(
        fault.name.startswith(BREAKS) and fault.host in ("", before.host)
        and fault.begun_at <= begun and (fault.ended_at is None or fault.ended_at >= ended)
        for fault in history.faults
    )  # fmt: skip


def _is_given_back(final: Final, before: AttemptEnd, after: AttemptEnd) -> bool:
    """Also of a replica that had crashed before: its cause does not say so."""
    begun = before.placed_at or 0.0
    return any(
        (slot.run_id, slot.stage) == (before.run_id, before.stage)
        and begun <= slot.at <= (after.placed_at or 0.0)
        for service in final.services
        for slot in service.given_back
    )


def _others(history: History, final: Final, before: AttemptEnd, after: AttemptEnd) -> Iterator[str]:
    runs = {before.run_id}
    runs |= {run for one in final.services if before.run_id in one.runs for run in one.runs}
    same = {attempt.attempt_id for attempt in final.attempts if attempt.run_id in runs}
    own = {gpu for g in history.grants if g.attempt_id == before.attempt_id for gpu in g.gpus}
    for grant in history.grants:
        is_between = (before.finished_at or 0.0) <= grant.at <= (after.placed_at or 0.0)
        is_other = grant.attempt_id not in same
        taken = own & set(grant.gpus)
        if grant.host == before.host and is_between and is_other and taken:
            gpus = ", ".join(sorted(taken))
            yield f"{gpus} of {before.attempt_id} given to {grant.attempt_id} before its next try"
