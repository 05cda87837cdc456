"""Places a replica on the GPUs that are kept for it, and explains why it waits for them; whether
they are kept is in `slots`. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hostler.base.units import format_duration
from hostler.decide.holders import Holder, HolderKind
from hostler.decide.host_capacity import Choice, has_cpus_and_ram
from hostler.decide.index import Entry, Index, fresh_look
from hostler.decide.placing import Placing
from hostler.decide.progress import Progress
from hostler.decide.slots import slot_host
from hostler.decide.times import ended_at
from hostler.model.hosts import Gpu, Look
from hostler.model.pipelines import Stage


def hold_slots(placing: Placing, index: Index) -> None:
    """Reserve CPUs and RAM for the replicas whose GPUs are kept."""
    for run_id, progress in index.progress.items():
        for stage in _waiting(run_id, progress, index):
            name = slot_host(progress, stage, index)
            capacity = placing.capacities.get(name) if name is not None else None
            if capacity is not None:
                placing.slots[run_id, stage.name] = capacity.host.name
                capacity.cpus -= stage.resources.cpus
                capacity.ram -= stage.resources.ram or 0


def _waiting(run_id: str, progress: Progress, index: Index) -> Iterator[Stage]:
    yield from (s for s in progress.slots if (run_id, s.name) not in index.held)
    for stage in progress.ready if index.heirs else ():
        key = (run_id, stage.name)
        if key in index.heirs and key not in index.held and stage not in progress.slots:
            yield stage


def slot_choice(entry: Entry, placing: Placing, index: Index) -> Choice | str | None:
    """The place of a replica on the GPUs of its slot, or a sentence why it waits for them; None: it
    has no slot."""
    name = placing.slots.pop(entry.key, None)
    if name is None:
        return None
    capacity, tries = placing.capacities[name], index.tries(*entry.key)
    capacity.cpus += entry.stage.resources.cpus
    capacity.ram += entry.stage.resources.ram or 0
    request = placing.requests[entry.key] = index.plan_cache.request(entry.run, entry.stage)
    snapshot = index.snapshot
    look = fresh_look(capacity.host, snapshot.now, snapshot.policy)
    if look is None:
        after = _lost_after(entry)
        return f"{_kept_on(name)}, which does not answer; after {after} it moves to another host"
    if look.asked_at <= ended_at(tries[-1], snapshot) or not capacity.open_to_work:
        return f"{_kept_on(name)}; waits for the next update of its state"
    ids = {attempt.attempt_id for attempt in tries}
    gpus = _leased(look, ids, index)
    if len(gpus) != len(tries[-1].gpus):
        return None  # the leases were released, or it never had them
    busy = next((h for gpu in gpus for h in capacity.held[gpu.uuid] if not _is_slot(h, ids)), None)
    if busy is not None:
        return f"{_kept_on(name)}; GPU {busy.gpu.index} is not empty yet"
    if not has_cpus_and_ram(capacity, request):
        return f"{_kept_on(name)}; waits for CPUs and RAM there"
    capacity.add_free(gpus)
    placing.in_slot[entry.key] = f"its GPUs on {name} were kept for it"
    return Choice(capacity, gpus, 1)


def _kept_on(name: str) -> str:
    return f"its GPUs are kept for it on {name}"


def _lost_after(entry: Entry) -> str:
    return format_duration(entry.stage.lost_after)


def _leased(look: Look, ids: set[str], index: Index) -> tuple[Gpu, ...]:
    """The GPUs that are leased to attempts of a replica."""
    held = {
        lease.gpu
        for lease in look.leases
        if lease.attempt_id in ids
        and lease.daemon_id == index.snapshot.daemon_id
        and not lease.stale
    }
    return tuple(gpu for gpu in look.gpus if gpu.uuid in held)


def _is_slot(holder: Holder, ids: set[str]) -> bool:
    return holder.kind is HolderKind.LEASE and holder.ours and holder.attempt_id in ids
