"""Reserves GPUs for the head of the queue so that small stages cannot starve a large one: who gets
one, on which host, and who may backfill.

As in EASY backfilling, the first stage that has to wait gets a reservation. A further stage gets
one only if all hosts that could ever take it are unsuitable for the earlier stages with
reservations (it waits for another kind of GPU), so that none of them delays another.

The GPUs that are free now on the chosen host are kept. Other stages may use the rest of that host.
They may use the kept GPUs only if they surely end before the latest time at which the waiting stage
can start. This time is known if all work in its way has a time limit.

The chosen host is the one where this time is the nearest. A host where it is unknown is chosen if
fewer GPUs are missing there and the nearest known time is far. A host where people outside Hostler
are in the way is never reserved, because it is unknown whether they leave.

Each plan chooses anew. The choice must not change without need, because a change gives the kept
GPUs to others. So work that is about to start, has ended, or is being released counts as work with
a near end, not as work with an unknown end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hostler.decide.holders import Holder, HolderKind
from hostler.decide.host_capacity import Candidate, HostCapacity, has_cpus_and_ram
from hostler.decide.index import Entry, Index, OpenAttempt
from hostler.decide.orphans import REAP_GRACE
from hostler.decide.requests import Request, card_of, cpus_suit, ram_suits
from hostler.decide.stop_reasons import time_limit
from hostler.decide.times import ended_at
from hostler.model.hosts import Gpu

FAR_S = 3600.0
"""Seconds. If a time limit is further away than this, a host where fewer GPUs are missing is
better: limits are often ten times too long, and work without a limit may end at any time."""


class Reservation(NamedTuple):
    """The capacity kept for a waiting stage."""

    entry: Entry
    capacity: HostCapacity
    gpus: tuple[Gpu, ...]
    until: float | None
    """The latest time when the stage can start, on the daemon's clock; None: unknown."""


class _Option(NamedTuple):
    capacity: HostCapacity
    free: list[Gpu]
    missing: int
    """GPUs on the host that have to become free first."""
    until: float | None


def reserve(
    entry: Entry, request: Request, found: Sequence[Candidate], index: Index
) -> Reservation | None:
    """Reserve the free capacity of the host where the stage will fit first; None: no such host is
    known."""
    options = [_option(candidate, request, index) for candidate in found]
    possible = [option for option in options if option is not None]
    if not possible:
        return None
    best = _best(possible, index.snapshot.now)
    kept = tuple(best.free[: request.gpus])
    best.capacity.keep(kept, request.cpus, float(request.ram or 0))
    return Reservation(entry, best.capacity, kept, best.until)


def _best(options: Sequence[_Option], now: float) -> _Option:
    known = min((o for o in options if o.until is not None), key=_soonest, default=None)
    unknown = min((o for o in options if o.until is None), key=_nearest, default=None)
    if known is None or unknown is None:
        found = known or unknown
        assert found is not None
        return found
    is_far = known.until is not None and known.until - now > FAR_S
    return unknown if is_far and unknown.missing < known.missing else known


def _soonest(option: _Option) -> tuple[float, ...]:
    return (option.until or 0.0, *_nearest(option))


def _nearest(option: _Option) -> tuple[float, ...]:
    return (option.missing, -option.capacity.cpus, option.capacity.order)


def _option(candidate: Candidate, request: Request, index: Index) -> _Option | None:
    capacity, cards = candidate
    if not (cpus_suit(capacity.host, request) and ram_suits(capacity.host, request)):
        return None
    look = capacity.host.look
    suitable = [g for g in look.gpus if card_of(g) in cards] if look is not None else []
    free = [gpu for gpu in suitable if not capacity.held[gpu.uuid]]
    missing = max(0, request.gpus - len(free))
    ends = sorted(_ends(suitable, capacity, index)) if missing else []
    if missing > len(ends):
        return None
    until = ends[missing - 1] if missing and has_cpus_and_ram(capacity, request) else math.inf
    return _Option(capacity, free, missing, None if until == math.inf else until)


def _ends(gpus: Sequence[Gpu], capacity: HostCapacity, index: Index) -> Iterator[float]:
    """When each GPU is released at the latest; GPUs that may never be released are omitted."""
    for gpu in gpus:
        held = capacity.held[gpu.uuid]
        ends = [_end(holder, index) for holder in held]
        known = [end for end in ends if end is not None]
        if held and len(known) == len(held):
            yield max(index.snapshot.now, *known)


def _end(holder: Holder, index: Index) -> float | None:
    """When a holder leaves at the latest: infinity if it certainly leaves, but at an unknown time;
    None if it may never leave."""
    now, source = index.snapshot.now, holder.source
    if not holder.ours or holder.attempt_id is None:
        return None
    if isinstance(source, OpenAttempt):
        return _latest_end(source, now)
    if holder.kind is HolderKind.LEASE:
        return _released_at(holder, index)
    return now + REAP_GRACE  # no attempt owns the workload any more, so it is being stopped


def _latest_end(item: OpenAttempt, now: float) -> float:
    limit = time_limit(item)
    if limit is None and item.stage.timeout is not None:
        limit = now + item.stage.timeout  # its start is in progress
    return math.inf if limit is None else limit + item.stage.grace


def _released_at(holder: Holder, index: Index) -> float | None:
    """When the lease of ended work is given back: now, because that may happen at any moment, so
    that no other stage fits in before. None: the GPU's memory is not free, and the GPU may stay
    quarantined for ever."""
    snapshot, attempt_id = index.snapshot, str(holder.attempt_id)
    used = holder.gpu.memory_used
    if used is None or used <= snapshot.policy.memory_floor:
        return snapshot.now
    attempt = index.attempts.get(attempt_id)
    ended = snapshot.lately.get(attempt_id)
    if ended is None and attempt is not None:
        ended = ended_at(attempt, snapshot)
    soon = ended is not None and snapshot.now < ended + snapshot.policy.release_patience
    return snapshot.now if soon else None
