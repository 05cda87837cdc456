"""One pass over the queue (its order is in `placing`): which ready stages are placed where,
backfill, `max_parallel`, trial starts on failing hosts.

The order: higher priority first, then the user with the fewest GPUs, then age. The first stage that
has to wait until work of ours ends gets a reservation (see `reservation`). On a host where starts
fail (see `health`), a stage that finds no other place is tried from time to time.
"""

from __future__ import annotations

from collections.abc import Sequence

from hostler.decide.groups import Group
from hostler.decide.health import concerns, may_probe
from hostler.decide.host_capacity import (
    Candidate,
    Choice,
    HostCapacity,
    able_hosts,
    candidates,
    capacities_of,
    choose,
)
from hostler.decide.index import Entry, Index, OpenAttempt
from hostler.decide.placing import Placing, Queue, could_take, why_there
from hostler.decide.progress import Progress
from hostler.decide.requests import (
    Request,
    hosts_to_avoid,
)
from hostler.decide.reservation import Reservation, reserve
from hostler.decide.slot_places import hold_slots, slot_choice
from hostler.decide.ties import choose_near_image, tied
from hostler.decide.times import ended_at
from hostler.decide.together import Chooser, choose_together, pinned_together, summed
from hostler.model.pipelines import Cause, GroupHosts, Stage
from hostler.model.plans import Start
from hostler.model.runs import Attempt, Phase, Run


def place(index: Index) -> Placing:
    """Go through the queue once and place the stages that fit. If no stage is ready, no host is
    checked: running stages do not change the queue."""
    if not index.has_slots and not any(index.ready(each) for each in index.progress.values()):
        return Placing({}, in_slot=dict(index.held))
    placing = Placing({c.host.name: c for c in capacities_of(index)}, in_slot=dict(index.held))
    if index.has_slots:
        hold_slots(placing, index)
    _Pass(index, placing).run()
    return placing


def queue_order(index: Index) -> list[Entry]:
    """All ready stages, in the order in which they are checked if none can start."""
    return list(Queue(index))


class _Pass:
    """One walk over the queue."""

    def __init__(self, index: Index, placing: Placing) -> None:
        self._index = index
        self._now = index.snapshot.now
        self._placing = placing
        self._cells: dict[tuple[str, str], int] = {}
        """(run id, base) -> the number of its cells that this pass starts."""
        self._hopeless_groups: set[tuple[GroupHosts | Request, ...]] = set()
        self._hopeless: set[Request] = set()
        """Requests that did not fit. Capacities only shrink during a pass, so these will not fit
        later."""
        self._alike: set[int] = set()
        """Requests (their `id`, in the plan cache) for which all stages with an equal request are
        blocked."""
        self._spoken_for: set[str] = set()
        """Hosts that could ever take one of the stages that have a reservation."""
        self._ailing = [capacity for capacity in placing.capacities.values() if capacity.ailments]

    def run(self) -> None:
        queue = Queue(self._index)
        for entry in queue:
            if self._is_blocked_alike(entry):
                continue
            group = entry.progress.groups.get(entry.stage.name)
            if group is not None:
                if group.stages[0].name == entry.stage.name:
                    self._place_group(entry, group, queue)
                continue
            if self._held_back(entry):
                continue
            in_slot = self._placing.slots and slot_choice(entry, self._placing, self._index)
            if isinstance(in_slot, str):
                self._placing.in_slot[entry.key] = in_slot
            elif (choice := in_slot or self._place_alone(entry)) is not None:
                self._start(entry, choice)
                queue.charge(entry.run.owner, len(choice.gpus))

    def _is_blocked_alike(self, entry: Entry) -> bool:
        """Whether it is blocked like an earlier stage with an equal request. In a sweep with
        thousands of cells, this is true for all except the first few. A stage that was tried, or is
        held back, is checked individually."""
        stage, progress, snapshot = entry.stage, entry.progress, self._index.snapshot
        options = self._index.plan_cache.requests(entry.run, stage)
        if id(options) not in self._alike or stage.is_tied or stage.max_parallel is not None:
            return False
        key = entry.key
        if stage.name in progress.tries or stage.name in progress.groups or key in snapshot.near:
            return False
        self._placing.requests[key] = options[0]
        self._placing.blocked[key] = len(self._placing.blocked)
        return True

    def _place_alone(self, entry: Entry) -> Choice | None:
        """A place for a stage that is in no group; None: it is blocked."""
        key, placing = entry.key, self._placing
        options, fresh = self._options(entry, key), []
        for request in options:
            choice = None
            if request not in self._hopeless:  # a hash takes as long as the rest of this method
                fresh.append(request)
                choice = self._choose(entry, request)
            if choice is None and self._ailing:
                choice = self._probe(entry, request)
            if choice is not None:
                placing.requests[key] = request
                return choice
        request = self._likeliest(options) if len(options) > 1 else options[0]
        placing.requests[key] = request
        placing.blocked[key] = len(placing.blocked)
        self._note_alike(entry, options)
        if fresh:
            self._hopeless.update(fresh)
            if request in fresh:
                self._reserve([(entry, request)])
        return None

    def _note_alike(self, entry: Entry, options: tuple[Request, ...]) -> None:
        """After one stage was blocked: note whether all stages with an equal request are
        blocked."""
        differ = self._ailing or self._placing.slots or self._index.snapshot.unsure
        if len(options) == 1 and not differ and not self._is_tied(entry):
            self._alike.add(id(options))

    def _options(self, entry: Entry, key: tuple[str, str]) -> tuple[Request, ...]:
        """The requests of a stage: its first one, and its alternatives. Each of them is enough."""
        options = self._index.plan_cache.requests(entry.run, entry.stage)
        if self._is_tied(entry):
            options = tuple(tied(entry, each, self._placing, self._index) for each in options)
        if len(options) > 1:
            self._placing.alternatives[key] = options
        return options

    def _likeliest(self, options: Sequence[Request]) -> Request:
        """The request to wait for: the first that a host could take now, or ever."""
        placing = self._placing
        for request in options:
            if placing.candidates_for(request):
                return request
        capacities = placing.capacities.values()
        return next((each for each in options if able_hosts(capacities, each)), options[0])

    def _place_group(self, first: Entry, group: Group, queue: Queue) -> None:
        """Place all stages of a group, or none."""
        entries = [first._replace(stage=stage) for stage in group.stages]
        if self._are_held_back(entries) or self._is_starting(first, group):
            return
        requests = self._requests(entries, group.hosts)
        choices = None
        if (group.hosts, *requests) not in self._hopeless_groups:
            choices = choose_together(requests, group.hosts, self._chooser(entries))
        if choices is not None:
            for number, (entry, choice) in enumerate(zip(entries, choices, strict=True)):
                self._start(entry, choice, counts=number == 0, until_bound=True)
                queue.charge(entry.run.owner, len(choice.gpus))
            return
        self._block_group(entries, requests, group.hosts)

    def _are_held_back(self, entries: list[Entry]) -> bool:
        """Whether a stage is held back. All are checked, so that each has its reason."""
        held = [self._held_back(entry) for entry in entries]
        return any(held)

    def _is_starting(self, first: Entry, group: Group) -> bool:
        """Whether the daemon is starting the next try: after a failed write, an intent may not be
        stored yet."""
        number = first.progress.next_number(first.stage.name)
        ids = (attempt_id_of(first.run, stage, number) for stage in group.stages)
        return any(map(self._index.starting, ids))

    def _chooser(self, entries: list[Entry]) -> Chooser:
        def chosen(number: int, request: Request, taken: frozenset[str]) -> Choice | None:
            found = self._placing.candidates_for(request)
            free = [c for c in found if c.capacity.host.name not in taken] if taken else found
            entry = entries[number]
            return self._choose_among(free, entry, request) or self._probe(entry, request, taken)

        return chosen

    def _block_group(
        self, entries: list[Entry], requests: list[Request], hosts: GroupHosts
    ) -> None:
        placing, before = self._placing, len(self._placing.blocked)
        same = hosts is GroupHosts.SAME
        asked = [summed(requests)] * len(requests) if same else requests
        for entry, request in zip(entries, asked, strict=True):
            placing.requests[entry.key] = request
            placing.blocked[entry.key] = before
        if (hosts, *requests) not in self._hopeless_groups:
            self._hopeless_groups.add((hosts, *requests))
            pairs = list(zip(entries, asked, strict=True))
            self._reserve(pairs[:1] if same else pairs)

    def _reserve(self, wanted: list[tuple[Entry, Request]]) -> None:
        """Make reservations for waiting stages, each on a different host, if they delay no earlier
        reservation: for all of these stages or for none."""
        placing = self._placing
        if len(self._spoken_for) == len(placing.capacities):
            return
        asked = {request for _, request in wanted}
        able = set().union(*(able_hosts(placing.capacities.values(), each) for each in asked))
        if len(able) < len(wanted) or not self._spoken_for.isdisjoint(able):
            return
        kept: dict[str, Reservation] = {}
        for entry, request in sorted(wanted, key=lambda pair: pair[1].pin is None):
            found = placing.candidates_for(request)
            left = [c for c in found if c.capacity.host.name not in kept] if kept else found
            reservation = reserve(entry, request, left, self._index)
            if reservation is None:
                for earlier in kept.values():
                    earlier.capacity.unkeep()
                return
            kept[reservation.capacity.host.name] = reservation
        placing.reservations |= kept
        self._spoken_for |= able

    def _probe(
        self, entry: Entry, request: Request, taken: frozenset[str] = frozenset()
    ) -> Choice | None:
        """Try a stage on a host where nothing starts, to find out whether starts work again."""
        capacities = [
            capacity
            for capacity in self._ailing
            if capacity.host.name not in taken and self._may_probe(capacity, entry, request)
        ]
        return choose(candidates(capacities, request, ailing=True), request) if capacities else None

    def _may_probe(self, capacity: HostCapacity, entry: Entry, request: Request) -> bool:
        ailment = capacity.ailment(request)
        if ailment is None or not may_probe(ailment, entry.stage, entry.run.owner, self._now):
            return False
        return not any(
            item.attempt.runtime == request.runtime
            and item.attempt.phase is Phase.STARTING
            and concerns(ailment, bool(item.attempt.gpus))
            for item in capacity.placed
        )

    def _ended_at(self, attempt: Attempt) -> float:
        return ended_at(attempt, self._index.snapshot)

    def _is_mended(self, progress: Progress, stage: Stage) -> bool:
        """Whether the host that could not start the stage can start stages again, so that the stage
        need not wait."""
        last = progress.history(stage.name)[-1]
        ails = (last.host, last.runtime) in self._index.snapshot.ailing
        return last.cause is Cause.HOST_FAULT and not ails

    def _held_back(self, entry: Entry) -> bool:
        """Whether the stage waits for a host that is not merged, for a time, or for `max_parallel`,
        and not for capacity."""
        stage, progress = entry.stage, entry.progress
        if self._index.snapshot.unsure:
            request = self._index.plan_cache.request(entry.run, stage)
            unsure = self._index.unsure_of(entry.run.run_id, request)
            if unsure:
                self._placing.unsure[entry.key] = unsure
                return True
        until = None
        if progress.history(stage.name) and not self._is_mended(progress, stage):
            until = progress.not_before(stage, self._ended_at)
        if until is not None and until > self._now:
            self._placing.resting[entry.key] = until
            return True
        if stage.max_parallel is None:
            return False
        cells = progress.running_cells.get(stage.base, 0)
        cells += self._cells.get((entry.run.run_id, stage.base), 0)
        if cells >= stage.max_parallel:
            self._placing.capped.add(entry.key)
            return True
        return False

    def _request(self, entry: Entry, key: tuple[str, str]) -> Request:
        request = self._index.plan_cache.request(entry.run, entry.stage)
        if self._is_tied(entry):
            request = tied(entry, request, self._placing, self._index)
        self._placing.requests[key] = request
        return request

    def _is_tied(self, entry: Entry) -> bool:
        """Whether the stage may need a checkpoint or image that only some hosts have."""
        return entry.stage.is_tied or entry.key in self._index.snapshot.near

    def _requests(self, entries: list[Entry], hosts: GroupHosts) -> list[Request]:
        """The requests of the stages of a group."""

        def possible(name: str, request: Request) -> bool:
            return could_take(self._placing.capacities[name], request)

        alone = [self._request(entry, entry.key) for entry in entries]
        together = pinned_together(alone, hosts, possible)
        for entry, request in zip(entries, together, strict=True):
            self._placing.requests[entry.key] = request
        return together

    def _choose(self, entry: Entry, request: Request) -> Choice | None:
        found = self._placing.candidates_for(request)
        choice = self._choose_among(found, entry, request)
        if choice is None and request.timeout is not None:
            ends = self._now + request.timeout + entry.stage.grace
            return self._backfill(found, request, ends)
        return choice

    def _choose_among(
        self, found: list[Candidate], entry: Entry, request: Request
    ) -> Choice | None:
        avoided = hosts_to_avoid(entry.progress, entry.stage)
        if request.image_from is not None or request.near:
            there = choose_near_image(found, request, avoided)
            if there is not None:
                return there
        if avoided:
            elsewhere = choose([c for c in found if c.capacity.host.name not in avoided], request)
            if elsewhere is not None:
                return elsewhere
        return choose(found, request)

    def _backfill(self, found: list[Candidate], request: Request, ends: float) -> Choice | None:
        """A place on capacity that is reserved for another stage, if the stage certainly ends in
        time; None: there is none."""
        for reservation in self._placing.reservations.values():
            if reservation.until is not None and ends <= reservation.until:
                choice = self._use_kept(reservation.capacity, found, request)
                if choice is not None:
                    return choice
        return None

    def _use_kept(
        self, capacity: HostCapacity, found: list[Candidate], request: Request
    ) -> Choice | None:
        kept, cpus, ram = list(capacity.kept), capacity.kept_cpus, capacity.kept_ram
        capacity.unkeep()
        choice = choose([c for c in found if c.capacity is capacity], request)
        used = {gpu.uuid for gpu in choice.gpus} if choice is not None else set()
        capacity.keep((gpu for gpu in kept if gpu.uuid not in used), cpus, ram)
        return choice

    def _start(
        self, entry: Entry, choice: Choice, *, counts: bool = True, until_bound: bool = False
    ) -> None:
        """Start a stage at its place. `counts`: it counts against `max_parallel`; a group counts
        once."""
        run, stage, capacity = entry.run, entry.stage, choice.capacity
        look = capacity.host.look
        assert look is not None
        number = entry.progress.next_number(stage.name)
        attempt = Attempt(
            attempt_id=attempt_id_of(run, stage, number),
            run_id=run.run_id,
            stage=stage.name,
            number=number,
            phase=Phase.STARTING,
            host=capacity.host.name,
            gpus=tuple(gpu.uuid for gpu in choice.gpus),
            placed_at=self._now,
            runtime=stage.runtime,
            boot_id=look.boot_id,
        )
        avoided = hosts_to_avoid(entry.progress, stage)
        why = self._placing.in_slot.pop(entry.key, "")
        why = why or why_there(choice, self._placing.requests[entry.key], avoided)
        start = Start(attempt, stage, why, until_bound)
        capacity.take(OpenAttempt(run, stage, attempt), choice.gpus)
        cells = (run.run_id, stage.base)
        self._cells[cells] = self._cells.get(cells, 0) + counts
        self._placing.starts.append(start)
        self._placing.started[entry.key] = start


def attempt_id_of(run: Run, stage: Stage, number: int) -> str:
    """The id of an attempt. It is also the name of its container, folder and leases."""
    return f"{run.run_id}-{stage.name}-{number}"
