"""Free GPUs, CPUs and memory of each host while planning, and which host and which GPUs a request
gets (tightest fit, same card, neighbouring indices).

A HostCapacity changes while a plan is made. Each plan makes new ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hostler.decide.fullness import full_runtimes
from hostler.decide.health import concerns
from hostler.decide.holders import Holder, HolderKind, holders
from hostler.decide.index import Index, OpenAttempt, fresh_look
from hostler.decide.requests import (
    EPSILON,
    Card,
    Request,
    card_of,
    card_suits,
    pin_suits,
    sees_code,
    suits,
    why_too_full,
)
from hostler.model.hosts import Gpu, Host
from hostler.model.plans import Ailment, Snapshot


class HostCapacity:
    """One host: its GPUs by kind of card, CPUs and RAM that are still free."""

    __slots__ = (
        "ailments", "cpus", "free", "free_count", "full", "has_one_kind", "held", "host", "kept",
        "kept_cpus", "kept_ram", "open_to_work", "order", "placed", "ram", "share", "total",
    )  # fmt: skip

    def __init__(self, host: Host, order: int, index: Index) -> None:
        snapshot = index.snapshot
        self.host = host
        self.order = order
        self.ailments = {
            runtime: ailment
            for (name, runtime), ailment in snapshot.ailing.items()
            if name == host.name
        }
        self.open_to_work = is_open_to_work(host, snapshot)
        self.full = full_runtimes(host, snapshot)
        """Runtime -> why it starts no stage here that keeps files."""
        here = index.at_host.get(host.name, [])
        self.held: dict[str, tuple[Holder, ...]] = {}
        if host.look is not None and host.look.gpus:
            self.held = holders(host, snapshot.policy, snapshot.daemon_id, here)
        self.placed: list[OpenAttempt] = list(here)
        """Open attempts here, including those that this plan starts."""
        self.free: dict[Card, list[Gpu]] = {}
        self.total: dict[Card, int] = {}
        """Kind of card -> the number of healthy ones."""
        self._count_gpus()
        self.has_one_kind = len(self.total) == 1
        """Whether all cards are alike."""
        self.free_count = sum(map(len, self.free.values()))
        self.cpus = math.inf if host.cpus is None else float(host.cpus)
        self.ram = math.inf if host.memory is None else float(host.memory)
        for item in here:
            self.cpus -= item.stage.resources.cpus
            self.ram -= item.stage.resources.ram or 0
        gpus = sum(self.total.values())
        self.share = max(1.0, host.cpus / gpus / 2) if gpus and host.cpus else 1.0
        """CPUs that a stage with a GPU probably needs; without them the GPU is useless."""
        self.kept: list[Gpu] = []
        """Free GPUs that are kept for the head of the queue. CPUs and RAM are kept with them."""
        self.kept_cpus = 0.0
        self.kept_ram = 0.0

    def _count_gpus(self) -> None:
        look = self.host.look
        if look is None or look.gpu_problem is not None or look.lease_problem is not None:
            return
        for gpu in look.gpus:
            held = self.held[gpu.uuid]
            card = card_of(gpu)
            if any(h.kind is HolderKind.UNHEALTHY for h in held):
                continue
            self.total[card] = self.total.get(card, 0) + 1
            if not held:
                self.free.setdefault(card, []).append(gpu)

    def ailment(self, request: Request) -> Ailment | None:
        """The ailment that prevents a stage like this from starting here; None: it may start."""
        found = self.ailments.get(request.runtime)
        return found if found is not None and concerns(found, bool(request.gpus)) else None

    def why_full(self, request: Request) -> str | None:
        """Why there is no room for the stage's files here: the files that it would leave, its code,
        or the disk space that it requests; None: there is room, or it needs none."""
        if request.keeps and request.runtime in self.full:
            stays_here = request.here is not None and sees_code(self.host, request)
            if not stays_here:
                return self.full[request.runtime]
        return why_too_full(self.host, request)

    def take(self, item: OpenAttempt, gpus: Sequence[Gpu]) -> None:
        """Give GPUs, CPUs and RAM to an attempt that this plan starts."""
        asked = item.stage.resources
        for gpu in gpus:
            self.free[card_of(gpu)].remove(gpu)
            self.held[gpu.uuid] = (Holder(HolderKind.ATTEMPT, gpu, item, True),)
        self.free_count -= len(gpus)
        self.cpus -= asked.cpus
        self.ram -= asked.ram or 0
        self.placed.append(item)

    def add_free(self, gpus: Iterable[Gpu]) -> None:
        """Count as free the GPUs that are kept for the stage that gets them now."""
        for gpu in gpus:
            self.free.setdefault(card_of(gpu), []).append(gpu)
            self.free_count += 1

    def keep(self, gpus: Iterable[Gpu], cpus: float, ram: float) -> None:
        """Reserve GPUs, CPUs and RAM for the head of the queue."""
        self.kept = list(gpus)
        for gpu in self.kept:
            self.free[card_of(gpu)].remove(gpu)
        self.free_count -= len(self.kept)
        self.kept_cpus = min(cpus, max(self.cpus, 0.0))
        self.kept_ram = min(ram, max(self.ram, 0.0))
        self.cpus -= self.kept_cpus
        self.ram -= self.kept_ram

    def unkeep(self) -> None:
        """Cancel the reservation of `keep`."""
        for gpu in self.kept:
            self.free.setdefault(card_of(gpu), []).append(gpu)
        for gpus in self.free.values():
            gpus.sort(key=lambda gpu: gpu.index)
        self.free_count += len(self.kept)
        self.cpus += self.kept_cpus
        self.ram += self.kept_ram
        self.kept, self.kept_cpus, self.kept_ram = [], 0.0, 0.0

    def stranded(self, free: int, cpus: float) -> int:
        """How many of `free` GPUs would be left without the CPUs to use them."""
        if cpus >= free * self.share:
            return 0
        return free - max(0, int(cpus / self.share))


def capacities_of(index: Index) -> list[HostCapacity]:
    """The capacities of all hosts, by name."""
    ordered = sorted(index.snapshot.hosts, key=lambda host: host.name)
    return [HostCapacity(host, i, index) for i, host in enumerate(ordered)]


class Candidate(NamedTuple):
    """A host that could take a request if it were empty."""

    capacity: HostCapacity
    cards: tuple[Card, ...]
    """The kinds of card that suit, smallest memory first."""


class Choice(NamedTuple):
    """The best place for a request now."""

    capacity: HostCapacity
    gpus: tuple[Gpu, ...]
    fitting: int
    """How many hosts were suitable."""


def is_open_to_work(host: Host, snapshot: Snapshot) -> bool:
    """Whether a host may get new work now: it answered recently, is not drained, and refused no
    claim since its last look."""
    look = fresh_look(host, snapshot.now, snapshot.policy)
    if look is None or host.drained is not None:
        return False
    return snapshot.refused.get(host.name, -math.inf) < look.asked_at


def candidates(
    capacities: Iterable[HostCapacity], request: Request, *, ailing: bool = False
) -> list[Candidate]:
    """The hosts that are open to work, and that could take a request and its files if they were
    empty. With `ailing`, only hosts where such a stage cannot start now; otherwise only the
    others."""
    found = []
    for capacity in capacities:
        host = capacity.host
        if not capacity.open_to_work or not pin_suits(host, request):
            continue
        if (bool(capacity.ailments) and capacity.ailment(request) is not None) != ailing:
            continue
        if capacity.why_full(request) is not None:
            continue
        cards = suitable_cards(capacity, request)
        if cards is not None and suits(host, request):
            found.append(Candidate(capacity, cards))
    return found


def able_hosts(capacities: Iterable[HostCapacity], request: Request) -> set[str]:
    """The hosts that could ever take a request, as far as is known. These include hosts that are
    busy, silent, or cannot start work now, but not drained ones: a person has to end the drain."""
    return {
        capacity.host.name
        for capacity in capacities
        if capacity.host.look is not None
        and capacity.host.drained is None
        and suitable_cards(capacity, request) is not None
        and suits(capacity.host, request)
    }


def suitable_cards(capacity: HostCapacity, request: Request) -> tuple[Card, ...] | None:
    """The kinds of card on a host that suit; None: too few GPUs, even if all were free."""
    if not request.gpus:
        return ()
    cards = [card for card in capacity.total if card_suits(card, request)]
    if sum(capacity.total[card] for card in cards) < request.gpus:
        return None
    return tuple(sorted(cards, key=lambda card: (card[1], card[0])))


def choose(found: Sequence[Candidate], request: Request) -> Choice | None:
    """The best of the candidates; None: none has enough free capacity now. The same input gives the
    same answer."""
    return _choose_gpus(found, request) if request.gpus else _choose_cpus(found, request)


def has_cpus_and_ram(capacity: HostCapacity, request: Request) -> bool:
    """Whether enough CPUs and RAM are free now."""
    return capacity.cpus + EPSILON >= request.cpus and capacity.ram >= (request.ram or 0)


def _choose_cpus(found: Sequence[Candidate], request: Request) -> Choice | None:
    """CPU work goes to a host without GPUs, else to the host where it strands the fewest GPUs; then
    the tightest fit."""
    best: HostCapacity | None = None
    best_score: tuple[float, ...] = ()
    fitting = 0
    for capacity, _ in found:
        if not has_cpus_and_ram(capacity, request):
            continue
        fitting += 1
        left = capacity.cpus - request.cpus
        free = capacity.free_count
        score = (
            float(bool(capacity.total)),
            capacity.stranded(free, left),
            free,
            left,
            capacity.order,
        )
        if best is None or score < best_score:
            best, best_score = capacity, score
    return None if best is None else Choice(best, (), fitting)


def _choose_gpus(found: Sequence[Candidate], request: Request) -> Choice | None:
    """The tightest fit keeps large blocks whole: identical cards first, then the fewest GPUs
    stranded without CPUs, the fewest left over, the smallest cards, the fewest CPUs left."""
    best: tuple[HostCapacity, tuple[Card, ...]] | None = None
    best_score: tuple[float, ...] = ()
    most_left = math.inf
    # A host with more GPUs left over than `most_left` cannot be a better choice.
    fitting = 0
    wanted, asked_cpus, asked_ram = request.gpus, request.cpus - EPSILON, request.ram or 0
    for capacity, cards in found:
        left = capacity.free_count - wanted
        if left < 0 or capacity.cpus < asked_cpus or capacity.ram < asked_ram:
            continue
        alike = capacity.has_one_kind
        if alike and left > most_left:
            fitting += 1
            continue
        picked = cards if alike else _pick_cards(capacity, cards, wanted)
        if picked is None:
            continue
        fitting += 1
        cpus = capacity.cpus - request.cpus
        mixed = float(len(picked) > 1)
        stranded = 0 if cpus >= left * capacity.share else capacity.stranded(left, cpus)
        score = (mixed, stranded, left, picked[-1][1], cpus, capacity.order)
        if best is None or score < best_score:
            best, best_score = (capacity, picked), score
            most_left = left if not mixed and not stranded else math.inf
    if best is None:
        return None
    capacity, picked = best
    return Choice(capacity, _pick_gpus(capacity, picked, wanted), fitting)


def _pick_cards(
    capacity: HostCapacity, cards: tuple[Card, ...], wanted: int
) -> tuple[Card, ...] | None:
    """One kind of card if one kind is enough, the smallest such; else several together."""
    free = capacity.free
    together = 0
    for card in cards:
        here = len(free.get(card, ()))
        if here >= wanted:
            return (card,)
        together += here
    return cards if together >= wanted else None


def _pick_gpus(capacity: HostCapacity, cards: tuple[Card, ...], wanted: int) -> tuple[Gpu, ...]:
    """Neighbouring GPUs if possible: an aligned block of free indices, else the lowest ones."""
    free = [gpu for card in cards for gpu in capacity.free.get(card, ())]
    if len(cards) == 1 and wanted > 1:
        by_index = {gpu.index: gpu for gpu in free}
        for start in sorted(by_index):
            block = range(start, start + wanted)
            if start % wanted == 0 and all(i in by_index for i in block):
                return tuple(by_index[i] for i in block)
    return tuple(sorted(free[:wanted], key=lambda gpu: gpu.index))
