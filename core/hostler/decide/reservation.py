"""A place kept for the head of the queue, so that small stages cannot starve a large one.

As in EASY backfilling, only the first stage that has to wait gets one. When the stages in its way
will end is seldom known, so the reservation keeps what is free now on the host where the fewest
GPUs are missing. Others may use the rest of that host; what is kept they may use only if their time
limit lies before the time at which the head can start at the latest, which is known where all that
is in its way has a time limit. Hosts where people outside Hostler are in the way are never
reserved: nobody knows whether they leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hostler.decide.holding import Holder, HolderKind
from hostler.decide.index import Index, OpenAttempt
from hostler.decide.progress import Progress
from hostler.decide.requests import Request, amounts_suit, card_of
from hostler.decide.rooms import Candidate, Room, has_cpus_and_ram
from hostler.decide.wishes import time_limit
from hostler.model.hosts import Gpu
from hostler.model.pipelines import Stage
from hostler.model.plans import Policy
from hostler.model.runs import Run


class Entry(NamedTuple):
    """A ready stage in the queue."""

    run: Run
    stage: Stage
    progress: Progress

    @property
    def key(self) -> tuple[str, str]:
        """As in `Plan.reasons`."""
        return (self.run.run_id, self.stage.name)


class Reservation(NamedTuple):
    """What is kept for the head of the queue."""

    entry: Entry
    room: Room
    gpus: tuple[Gpu, ...]
    until: float | None
    """When it can start at the latest, on the daemon's clock; None: not known."""


class _Option(NamedTuple):
    score: tuple[float, ...]
    room: Room
    free: list[Gpu]
    until: float | None


def reserve(
    entry: Entry, request: Request, found: Sequence[Candidate], index: Index
) -> Reservation | None:
    """Keep what is free where the stage will fit first; None: where that is cannot be known."""
    options = [_option(candidate, request, index) for candidate in found]
    possible = [option for option in options if option is not None]
    if not possible:
        return None
    best = min(possible, key=lambda option: option.score)
    kept = tuple(best.free[: request.gpus])
    best.room.keep(kept, request.cpus, float(request.ram or 0))
    return Reservation(entry, best.room, kept, best.until)


def _option(candidate: Candidate, request: Request, index: Index) -> _Option | None:
    room, cards = candidate
    if not amounts_suit(room.host, request):
        return None
    look = room.host.look
    suitable = [g for g in look.gpus if card_of(g) in cards] if look is not None else []
    free = [gpu for gpu in suitable if not room.held[gpu.uuid]]
    policy = index.snapshot.policy
    ending = [gpu for gpu in suitable if _will_end(room.held[gpu.uuid], policy)]
    missing = max(0, request.gpus - len(free))
    if missing > len(ending):
        return None
    until = _latest_start(room, ending, missing, request)
    score = (math.inf if until is None else until, missing, -room.cpus, room.order)
    return _Option(score, room, free, until)


def _will_end(held: tuple[Holder, ...], policy: Policy) -> bool:
    """Whether only work of ours is on a GPU: that ends, and the GPU comes back. A lease that is
    left over may be quarantined for good if its memory is not back."""
    return bool(held) and all(
        holder.ours
        and holder.attempt_id is not None
        and (holder.kind is not HolderKind.LEASE or _memory_is_low(holder.gpu, policy))
        for holder in held
    )


def _memory_is_low(gpu: Gpu, policy: Policy) -> bool:
    return gpu.memory_used is None or gpu.memory_used <= policy.memory_floor


def _latest_start(
    room: Room, ending: Sequence[Gpu], missing: int, request: Request
) -> float | None:
    """From the time limits of what is in the way; None: something there has none."""
    if not has_cpus_and_ram(room, request):
        return None
    limits = sorted(_limit(room.held[gpu.uuid]) for gpu in ending)
    if not missing or limits[missing - 1] == math.inf:
        return None
    return limits[missing - 1]


def _limit(held: tuple[Holder, ...]) -> float:
    latest = 0.0
    for holder in held:
        source = holder.source
        limit = time_limit(source) if isinstance(source, OpenAttempt) else None
        if limit is None or not isinstance(source, OpenAttempt):
            return math.inf
        latest = max(latest, limit + source.stage.grace)
    return latest
