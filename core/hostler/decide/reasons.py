"""The reason of a pending stage: its headline, the nearest host, and what could start now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from hostler.base.text import clean_line, first_of
from hostler.base.units import format_duration
from hostler.decide.groups import Group, groups_of
from hostler.decide.holders import HolderKind
from hostler.decide.host_capacity import (
    HostCapacity,
    candidates,
    capacities_of,
    choose,
    has_cpus_and_ram,
)
from hostler.decide.index import Index
from hostler.decide.lifecycle import has_groups
from hostler.decide.obstacles import host_reason, is_free
from hostler.decide.placing import Placing
from hostler.decide.progress import Progress
from hostler.decide.requests import Request, count_gpus, of_any_card, requests_of, wanted_of
from hostler.decide.reservation import Reservation
from hostler.decide.together import summed
from hostler.model.pipelines import Cause, GroupHosts, Stage
from hostler.model.plans import HostReason, Reason, Remedy, RemedyKind, Snapshot
from hostler.model.runs import Run, StageStatus

Key = tuple[str, str]

_DISTANCE = {
    RemedyKind.WAIT_FOR_TURN: 1,
    RemedyKind.WAIT_FOR_ATTEMPT: 2,
    RemedyKind.WAIT_FOR_LOOK: 4,
    RemedyKind.WAIT_FOR_HOST: 5,
    RemedyKind.WAIT_FOR_MEMORY: 4,
    RemedyKind.WAIT_FOR_LEASE: 6,
    RemedyKind.WAIT_FOR_PROCESS: 6,
    RemedyKind.UNDRAIN: 8,
    RemedyKind.FREE_FILES: 8,
    RemedyKind.LOWER: 10,
    RemedyKind.DROP: 10,
    RemedyKind.FIX_HOST: 12,
}
"""How far a remedy is from happening without a person; hosts are listed nearest first."""

_BY_CHANGE = {RemedyKind.LOWER, RemedyKind.DROP, RemedyKind.FIX_HOST}


class Nearest(NamedTuple):
    """A smaller or other request that would start now."""

    host: str
    gpus: int
    cpus: float
    any_card: bool
    """Whether GPUs of any model and memory count."""
    text: str


class Reasons(Mapping[Key, Reason]):
    """(run id, stage) -> reason, for every waiting stage that the plan does not start.

    The daemon plans on every event, but reads reasons rarely, so they are computed on reading.
    Their inputs are frozen once the plan is made: reading changes nothing.
    """

    def __init__(self, index: Index, placing: Placing) -> None:
        self._index = index
        self._placing = placing
        self._hosts: dict[Request, tuple[HostReason, ...]] = {}
        self._nearest: dict[Request, Nearest | None] = {}
        self._found: dict[Key, Reason] = {}

    def __getitem__(self, key: Key) -> Reason:
        found = self._found.get(key)
        if found is None:
            progress = self._index.progress.get(key[0])
            if progress is None or not self._waits(key, progress):
                raise KeyError(key)
            found = self._found[key] = self._reason(key, progress)
        return found

    def __iter__(self) -> Iterator[Key]:
        for run_id, progress in self._index.progress.items():
            for stage in progress.run.stages:
                if self._waits((run_id, stage.name), progress):
                    yield (run_id, stage.name)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def nearest(self, key: Key) -> Nearest | None:
        """The nearest request that would start now, for a stage that no host takes."""
        request = self._placing.requests[key]
        if request not in self._nearest:
            self._nearest[request] = nearest_request(self._placing, request)
        return self._nearest[request]

    def _waits(self, key: Key, progress: Progress) -> bool:
        waiting = progress.status.get(key[1]) is StageStatus.WAITING
        return waiting and key not in self._placing.started

    def _reason(self, key: Key, progress: Progress) -> Reason:
        placing, stage = self._placing, progress.stages[key[1]]
        if key in placing.unsure:
            return _unsure(placing.unsure[key])
        if key in placing.resting:
            return _resting(stage, progress, placing.resting[key], self._index.snapshot.now)
        if key in placing.in_slot:
            return Reason(placing.in_slot[key])
        if key in placing.capped:
            return self._capped(stage, progress)
        group = progress.groups.get(stage.name)
        if key in placing.blocked:
            apart = group is not None and group.hosts is GroupHosts.DISTINCT
            return self._blocked_group(key, group) if group and apart else self._blocked(key)
        if group is not None and not progress.unmet(stage):
            return _waiting_for_group(group)
        return _waiting_for_stages(stage, progress)

    def _blocked(self, key: Key) -> Reason:
        request = self._placing.requests[key]
        before = self._placing.blocked[key]
        hosts = self._head_reasons(key, request) or self._hosts.get(request)
        if hosts is None:
            hosts = self._hosts[request] = self._host_reasons(request)
        found = self.nearest(key)
        return Reason(
            _blocked_sentence(self._placing.alternatives.get(key, (request,)), hosts, before),
            hosts,
            (*_turn(self._placing, before), *_add_host(hosts)),
            found.text if found is not None else None,
        )

    def _blocked_group(self, key: Key, group: Group) -> Reason:
        """For stages that need a host each: how many hosts suit them, and how many suit now."""
        request, before = self._placing.requests[key]._replace(pin=None), self._placing.blocked[key]
        hosts = self._host_reasons(request)
        capacities = self._placing.capacities.values()
        free = [c.host.name for c in capacities if is_free(c, request, self._index)]
        able, count = len(free) + sum(map(is_as_asked, hosts)), len(group.stages)
        needs = f"its group needs {count} hosts with {wanted_of([request])} each"
        if able < count:
            said = f"{needs}, and {able} could take it"
            return Reason(said, hosts, (Remedy(RemedyKind.ADD_HOST),))
        queue = f" ({before} before it in the queue)" if before else ""
        pins = self._awaited(key[0], group, free)
        said = f"{needs} at once, and {len(free)} have free capacity now{pins}{queue}"
        return Reason(said, hosts, _turn(self._placing, before))

    def _awaited(self, run_id: str, group: Group, free: Sequence[str]) -> str:
        """Words for the stages of a group that wait for a certain host."""
        pins = ((s.name, self._placing.requests[run_id, s.name].pin) for s in group.stages)
        return "".join(
            f"; the checkpoint of {name} is on {pin}, which has no free capacity"
            for name, pin in pins
            if pin is not None and pin not in free
        )

    def _head_reasons(self, key: Key, request: Request) -> tuple[HostReason, ...] | None:
        """For a stage with a reservation: its own reservation is no obstacle. None: it has none."""
        reservation = self._placing.reservation_of(key)
        if reservation is None:
            return None
        capacity = reservation.capacity
        kept, cpus, ram = list(capacity.kept), capacity.kept_cpus, capacity.kept_ram
        capacity.unkeep()
        try:
            reasons = [
                host_reason(
                    each, request, self._index, None if each is capacity else self._kept(each)
                )
                for each in self._placing.capacities.values()
            ]
        finally:
            capacity.keep(kept, cpus, ram)
        return by_distance(reasons, request)

    def _host_reasons(self, request: Request) -> tuple[HostReason, ...]:
        reasons = [
            host_reason(capacity, request, self._index, self._kept(capacity))
            for capacity in self._placing.capacities.values()
        ]
        return by_distance(reasons, request)

    def _kept(self, capacity: HostCapacity) -> Reservation | None:
        return self._placing.reservations.get(capacity.host.name)

    def _capped(self, stage: Stage, progress: Progress) -> Reason:
        run_id = progress.run.run_id
        running = [
            start.attempt.attempt_id
            for start in self._placing.starts
            if start.attempt.run_id == run_id and start.stage.base == stage.base
        ]
        running += [
            item.attempt.attempt_id
            for item in self._index.open.values()
            if item.run.run_id == run_id
            and item.stage.base == stage.base
            and item.attempt.phase.is_at_work
        ]
        return Reason(
            f"{len(running)} cells of {stage.base} run, and max_parallel is {stage.max_parallel}",
            remedies=(Remedy(RemedyKind.WAIT_FOR_ATTEMPT, min(running)),) if running else (),
        )


def nearest_request(placing: Placing, request: Request) -> Nearest | None:
    """What would start at once if it were requested instead: fewer GPUs of the requested kind, else
    other GPUs, else fewer CPUs; None: nothing like it."""
    capacities = list(placing.capacities.values())
    if not request.gpus:
        return _fewer_cpus(capacities, request)
    for any_card in (False, True):
        asked = of_any_card(request) if any_card else request
        if any_card and asked == request:
            break
        most = max((capacity.free_count for capacity in capacities), default=0)
        for count in range(min(most, request.gpus - (not any_card)), 0, -1):
            smaller = asked._replace(gpus=count)
            choice = choose(candidates(capacities, smaller), smaller)
            if choice is not None:
                host = choice.capacity.host.name
                model = f" ({choice.gpus[0].name})" if any_card and choice.gpus[0].name else ""
                text = f"{count_gpus(count)} on {host}{model}"
                return Nearest(host, count, request.cpus, any_card, text)
    return None


def _fewer_cpus(capacities: Sequence[HostCapacity], request: Request) -> Nearest | None:
    smallest = request._replace(cpus=0.0)
    best = max(
        (
            candidate.capacity
            for candidate in candidates(capacities, smallest)
            if has_cpus_and_ram(candidate.capacity, smallest)
        ),
        key=lambda capacity: capacity.cpus,
        default=None,
    )
    if best is None or best.cpus < 1:
        return None
    cpus = float(int(best.cpus))
    name = best.host.name
    return Nearest(name, 0, cpus, False, f"{cpus:g} CPU{'s' if cpus != 1 else ''} on {name}")


def by_distance(reasons: Sequence[HostReason], request: Request) -> tuple[HostReason, ...]:
    """Nearest first: by the requirements that have to change, then by the length of the wait."""
    return tuple(sorted(reasons, key=lambda reason: _distance(reason, request)))


def _distance(reason: HostReason, request: Request) -> tuple[bool, bool, int, float, int, str]:
    # A user who names a host wants to know about that one, even if others need fewer changes.
    not_asked = any(r.kind is RemedyKind.DROP and r.subject == "hosts" for r in reason.remedies)
    changes = sum(_DISTANCE[r.kind] for r in reason.remedies if r.kind in _BY_CHANGE)
    waits = sum(_DISTANCE[r.kind] for r in reason.remedies if r.kind not in _BY_CHANGE)
    lacks = sum(_lacks(r, request) for r in reason.remedies if r.kind is RemedyKind.LOWER)
    return (not reason.remedies, not_asked, changes, lacks, waits, reason.host)


def _lacks(remedy: Remedy, request: Request) -> float:
    """The missing part of the request, from 0 to 1."""
    asked = getattr(request, remedy.subject)
    return 1.0 - (remedy.value or 0.0) / asked if asked else 0.0


def is_as_asked(reason: HostReason) -> bool:
    """Whether the host could take the request unchanged, after some time."""
    return bool(reason.remedies) and all(r.kind not in _BY_CHANGE for r in reason.remedies)


def _blocked_sentence(requests: Sequence[Request], hosts: Sequence[HostReason], before: int) -> str:
    asked = wanted_of(requests)
    queue = f" ({before} before it in the queue)" if before else ""
    if not hosts:
        return "there are no hosts"
    best = hosts[0]
    if not any(map(is_as_asked, hosts)):
        return f"no host can take {asked} as requested; nearest {best.host}: {best.sentence}"
    return f"waits for {asked}; nearest {best.host}: {best.sentence}{queue}"


def _turn(placing: Placing, before: int) -> tuple[Remedy, ...]:
    if not before:
        return ()
    run_id, stage = next(iter(placing.blocked))
    return (Remedy(RemedyKind.WAIT_FOR_TURN, f"{run_id}/{stage}", float(before)),)


def _add_host(hosts: Sequence[HostReason]) -> tuple[Remedy, ...]:
    return () if any(map(is_as_asked, hosts)) else (Remedy(RemedyKind.ADD_HOST),)


def _waiting_for_stages(stage: Stage, progress: Progress) -> Reason:
    unmet = progress.unmet(stage)
    if not unmet and stage.after:
        return Reason(progress.waits_for_runs(stage))
    shown = ", ".join(
        f"{'the end of ' if name in stage.needs_ended else ''}{name} ({progress.status[name]})"
        for name in unmet[:3]
    )
    more = f" and {len(unmet) - 3} more" if len(unmet) > 3 else ""
    return Reason(
        f"waits for {shown}{more}",
        remedies=tuple(Remedy(RemedyKind.WAIT_FOR_STAGE, name) for name in unmet),
    )


def _waiting_for_group(group: Group) -> Reason:
    """A group is placed together, once its last try has ended completely."""
    live = [a for a in group.attempts if not a.phase.is_final]
    return Reason(
        f"waits for {live[0].attempt_id} of its group to end"
        if live
        else "will be placed together with its group",
        remedies=tuple(Remedy(RemedyKind.WAIT_FOR_ATTEMPT, a.attempt_id) for a in live),
    )


def _unsure(hosts: Sequence[str]) -> Reason:
    named = first_of(hosts, 3)
    return Reason(
        f"may have started on {named} since the backup; waiting for the notes of {named} (if a "
        "host is gone for good, remove it from the config)",
        remedies=tuple(Remedy(RemedyKind.WAIT_FOR_LOOK, host) for host in hosts),
    )


def _resting(stage: Stage, progress: Progress, until: float, now: float) -> Reason:
    last = progress.history(stage.name)[-1]
    wait = format_duration(max(1.0, float(round(until - now))))
    how = f"ended ({last.cause})"
    if last.cause is Cause.HOST_FAULT:
        how = f"could not be started on {last.host}: {clean_line(last.detail, 120)}"
    return Reason(
        f"attempt {last.number} {how}; the next starts in {wait}",
        remedies=(Remedy(RemedyKind.WAIT_UNTIL, value=until),),
    )


def unplaceable(snapshot: Snapshot, run: Run) -> str | None:
    """The first stage of this run that no host can ever take as requested. None: each has a host,
    or may have one among those that have not answered yet."""
    index = Index(replace(snapshot, runs=()))
    capacities = list(map(_emptied, capacities_of(index)))
    requests: dict[tuple[tuple[Request, ...], int], Stage] = {}
    groups = groups_of(run) if has_groups(run.stages) else {}
    for stage in run.stages:
        requests.setdefault(_asked(run, stage, groups.get(stage.name)), stage)
    for (options, hosts), stage in requests.items():
        if any(len(candidates(capacities, request)) >= hosts for request in options):
            continue  # the usual case: the obstacles are not needed
        found = [_hopeless(capacities, request, index, hosts) for request in options]
        if None not in found:
            best = next(iter(by_distance(found[0] or (), options[0])), None)
            what = f"nearest {best.host}: {best.sentence}" if best else "there are no more hosts"
            if hosts > 1:
                return f"no {hosts} hosts can take {stage.name} as requested: {what}"
            what = what if best else "there are no hosts"
            return f"no host can take {stage.name} as requested: {what}"
    return None


def _asked(run: Run, stage: Stage, group: Group | None) -> tuple[tuple[Request, ...], int]:
    """The alternative requests of a stage with its group, and on how many hosts each is needed."""
    requests = requests_of(run, stage)
    if group is None:
        return requests, 1
    if group.hosts is GroupHosts.SAME:
        return (summed(requests[:1] * len(group.stages)),), 1
    return requests[:1], len(group.stages)


def _hopeless(
    capacities: list[HostCapacity], request: Request, index: Index, hosts: int
) -> list[HostReason] | None:
    """The obstacles on each host; None if enough hosts could take the request after some time."""
    reasons, able = [], 0
    for capacity in capacities:
        reason = host_reason(capacity, request, index, None)
        if is_as_asked(reason) or is_free(capacity, request, index):
            able += 1
        else:
            reasons.append(reason)
        if able == hosts:
            return None
    return reasons


def _emptied(capacity: HostCapacity) -> HostCapacity:
    """The host after all holders of its GPUs have ended."""
    for uuid, held in capacity.held.items():
        capacity.held[uuid] = tuple(h for h in held if h.kind is HolderKind.UNHEALTHY)
    return capacity
