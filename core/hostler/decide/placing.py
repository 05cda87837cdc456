"""The order of the queue (priority, then the user with the fewest GPUs, then age), the host of a
checkpoint, and the sentence why a host was chosen.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from hostler.decide.host_capacity import (
    Candidate,
    Choice,
    HostCapacity,
    candidates,
    suitable_cards,
)
from hostler.decide.index import Entry, Index, fresh_look
from hostler.decide.progress import Progress
from hostler.decide.requests import (
    Request,
    checkpoint_host,
    count_gpus,
    cpus_suit,
    disk_suits,
    ram_suits,
    regardless_of_amounts,
)
from hostler.decide.reservation import Reservation
from hostler.model.pipelines import Cause, Stage
from hostler.model.plans import Start
from hostler.model.runs import Run


@dataclass(slots=True)
class Placing:
    """The result of one pass over the queue."""

    capacities: dict[str, HostCapacity]
    requests: dict[tuple[str, str], Request] = field(default_factory=dict)
    """The request of every stage that was checked. Of a stage with alternatives, this is
    the alternative with which it starts, or, if it waits, the alternative that its reason names."""
    alternatives: dict[tuple[str, str], tuple[Request, ...]] = field(default_factory=dict)
    """All alternatives, for stages that have some."""
    starts: list[Start] = field(default_factory=list)
    started: dict[tuple[str, str], Start] = field(default_factory=dict)
    blocked: dict[tuple[str, str], int] = field(default_factory=dict)
    """Stage that no host takes now -> how many such stages came before it."""
    resting: dict[tuple[str, str], float] = field(default_factory=dict)
    """Stage whose retry has to wait -> until when."""
    unsure: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Stage that may have begun already on hosts whose notes are not merged -> these hosts."""
    capped: set[tuple[str, str]] = field(default_factory=set)
    """Cells that `max_parallel` holds back."""
    reservations: dict[str, Reservation] = field(default_factory=dict)
    """Host -> the reservation there, in the order of the queue."""
    candidates: dict[Request, list[Candidate]] = field(default_factory=dict)

    slots: dict[tuple[str, str], str] = field(default_factory=dict)
    """Replica whose GPUs are kept for it -> the host. The pass removes it when it checks the
    replica."""
    in_slot: dict[tuple[str, str], str] = field(default_factory=dict)
    """Replica with a slot -> a sentence: why it starts there, or what it waits for."""

    def candidates_for(self, request: Request) -> list[Candidate]:
        """The hosts of the right kind for a request, computed once for all equal requests."""
        found = self.candidates.get(request)
        if found is None:
            alike = regardless_of_amounts(request)
            found = self.candidates.get(alike)
            if found is None:
                found = self.candidates[alike] = candidates(self.capacities.values(), alike)
            self.candidates[request] = found
        return found

    def reservation_of(self, key: tuple[str, str]) -> Reservation | None:
        """The reservation for a stage; None if it has none."""
        return next((r for r in self.reservations.values() if r.entry.key == key), None)


def level_of(run: Run, stage: Stage, progress: Progress) -> int:
    """The level of a stage in the queue: the lowest comes first. Replicas that were ready before
    come before all others."""
    return -1 if progress.slots and stage in progress.slots else -(run.priority + stage.priority)


class Queue:
    """An iterator over ready stages. While it runs, `charge` reports GPUs that were assigned."""

    def __init__(self, index: Index) -> None:
        self.held: dict[str, int] = {}
        for item in index.open.values():
            if item.attempt.phase.is_at_work:
                self.charge(item.run.owner, len(item.attempt.gpus))
        levels: dict[int, dict[str, deque[tuple[int, Entry]]]] = {}
        age = 0
        for run in index.snapshot.runs:
            progress = index.progress[run.run_id]
            level, line = None, deque[tuple[int, Entry]]()
            for stage in index.ready(progress):
                if level != (level := level_of(run, stage, progress)):
                    line = levels.setdefault(level, {}).setdefault(run.owner, deque())
                line.append((age, Entry(run, stage, progress)))
                age += 1
        self._levels = [levels[priority] for priority in sorted(levels)]

    def charge(self, owner: str, gpus: int) -> None:
        """Note that a user holds `gpus` more GPUs."""
        self.held[owner] = self.held.get(owner, 0) + gpus

    def __iter__(self) -> Iterator[Entry]:
        for owners in self._levels:
            yield from self._level(owners)

    def _level(self, owners: dict[str, deque[tuple[int, Entry]]]) -> Iterator[Entry]:
        if len(owners) == 1:
            for _, entry in next(iter(owners.values())):
                yield entry
            return
        heap = [(self.held.get(owner, 0), line[0][0], owner) for owner, line in owners.items()]
        heapq.heapify(heap)
        while heap:
            _, _, owner = heapq.heappop(heap)
            line = owners[owner]
            yield line.popleft()[1]
            if line:
                heapq.heappush(heap, (self.held.get(owner, 0), line[0][0], owner))


def pinned_host(entry: Entry, placing: Placing, index: Index) -> str | None:
    """The host with the stage's checkpoint, while it is up and could take the stage; None: any
    host."""
    if entry.stage.checkpoint is None:
        return None
    name = checkpoint_host(entry.progress, entry.stage)
    host = index.hosts.get(name) if name is not None else None
    snapshot = index.snapshot
    if host is not None and _goes_on(entry):
        return host.name  # on another host it would start from the beginning
    if host is None or fresh_look(host, snapshot.now, snapshot.policy) is None:
        return None
    capacity = placing.capacities[host.name]
    requests = index.plan_cache.requests(entry.run, entry.stage)
    if host.drained is not None or not any(could_take(capacity, each) for each in requests):
        return None
    return host.name


def _goes_on(entry: Entry) -> bool:
    """Whether it reached its time limit and was requeued to continue from its checkpoint, which
    only that host has. If the code runs in place, other hosts may see the checkpoint, too."""
    tries = entry.progress.tries.get(entry.stage.name, ())
    ran = [attempt for attempt in tries if attempt.launched_at is not None]
    return ran[-1:] != [] and ran[-1].cause is Cause.REQUEUED and entry.stage.code != "here"


def could_take(capacity: HostCapacity, request: Request) -> bool:
    """Whether a host has the GPUs, CPUs, RAM and disk for a request, even if they are in use
    now."""
    return (
        suitable_cards(capacity, request) is not None
        and cpus_suit(capacity.host, request)
        and ram_suits(capacity.host, request)
        and disk_suits(capacity.host, request)
    )


def why_there(choice: Choice, request: Request, avoided: Collection[str] = ()) -> str:
    """One sentence: why this host. `avoided`: hosts where an earlier try failed."""
    name = choice.capacity.host.name
    if request.pin is not None:
        return f"its checkpoint is on {name}"
    if request.image_from is not None and request.image_from != name:
        return f"{_chosen(choice, request, avoided)}; its image is copied from {request.image_from}"
    return _chosen(choice, request, avoided)


def _chosen(choice: Choice, request: Request, avoided: Collection[str]) -> str:
    name = choice.capacity.host.name
    if name == request.image_from:
        return f"its image was built on {name}"
    if name in request.near and name not in avoided:
        return f"{name} has its base image"
    if name in avoided:
        return "it failed there before, and no other host has free capacity"
    if avoided:
        return f"{_why_of_these(choice, request)}, after it failed on {', '.join(sorted(avoided))}"
    return _why_of_these(choice, request)


def _why_of_these(choice: Choice, request: Request) -> str:
    name = choice.capacity.host.name
    if choice.fitting == 1:
        return "the only host with free capacity"
    if not request.gpus:
        return f"{name} suits CPU work best of {choice.fitting} hosts with free capacity"
    left = choice.capacity.free_count - len(choice.gpus)
    rest = f"leaves {count_gpus(left)} there" if left else "leaves no GPU there"
    return f"the tightest fit of {choice.fitting} hosts with free capacity: {rest}"
