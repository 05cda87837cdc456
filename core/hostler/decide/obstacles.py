"""Why a request cannot start on one host now, in the words of `hostler why`: host down or drained,
GPUs held, reservation, disk; each with its remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hostler.base.text import clean_line
from hostler.base.units import format_duration, format_size
from hostler.decide.holders import Holder, HolderKind, describe, remedy_for
from hostler.decide.host_capacity import HostCapacity
from hostler.decide.index import Index, fresh_look
from hostler.decide.lacks import Finding, add_lacking, drop, lower
from hostler.decide.requests import (
    EPSILON,
    Constraint,
    Request,
    card_of,
    card_suits,
    count_gpus,
    cpus_suit,
    memory_suits,
    model_suits,
    ram_suits,
    unmet,
)
from hostler.decide.reservation import Reservation
from hostler.model.hosts import Gpu, HostCondition, Look
from hostler.model.plans import HostReason, Remedy, RemedyKind
from hostler.model.runtimes import traits_of

_TROUBLE = {
    HolderKind.ATTEMPT: 2,
    HolderKind.WORKLOAD: 3,
    HolderKind.LEASE: 4,
    HolderKind.PROCESS: 5,
    HolderKind.CONTAINER: 5,
    HolderKind.MEMORY: 6,
    HolderKind.UNHEALTHY: 7,
}
"""How far a GPU is from being free, by the worst of its holders."""


def host_reason(
    capacity: HostCapacity, request: Request, index: Index, reservation: Reservation | None
) -> HostReason:
    """All obstacles for a request on this host. `reservation` keeps capacity for another stage. The
    remedies together remove all obstacles; if that is impossible, there are no remedies."""
    found = _find(capacity, request, index, reservation)
    remedies = () if found.hopeless else tuple(found.remedies)
    return HostReason(capacity.host.name, "; ".join(found.words) or "is free", remedies)


def is_free(capacity: HostCapacity, request: Request, index: Index) -> bool:
    """Whether there is no obstacle at all."""
    return not _find(capacity, request, index, None).words


def _find(
    capacity: HostCapacity, request: Request, index: Index, reservation: Reservation | None
) -> Finding:
    found = Finding()
    _host_itself(capacity, index, found)
    _ailment(capacity, request, found)
    _files(capacity, request, found)
    host = capacity.host
    lacks = _said(unmet(host, request))
    for constraint in lacks:
        if constraint not in _AMOUNTS:
            add_lacking(constraint, host, request, found)
    look = host.look
    waited: tuple[str, ...] = ()
    if look is not None and request.gpus:
        waited = _gpus(capacity, look, request, index, reservation, found)
    for constraint in lacks:
        if constraint in _AMOUNTS:
            add_lacking(constraint, host, request, found)
    _cpus_and_ram(capacity, request, waited, index, reservation, found)
    return found


_AMOUNTS = (Constraint.CPUS, Constraint.RAM, Constraint.DISK)
"""The message names these after the GPUs."""


def _said(lacks: Iterable[Constraint]) -> list[Constraint]:
    """The constraints to name: if a runtime does not run there, its access to GPUs is not
    mentioned."""
    found = list(lacks)
    if Constraint.RUNTIME in found and Constraint.GPU_ACCESS in found:
        found.remove(Constraint.GPU_ACCESS)
    return found


def _host_itself(capacity: HostCapacity, index: Index, found: Finding) -> None:
    host, snapshot = capacity.host, index.snapshot
    wait = Remedy(RemedyKind.WAIT_FOR_LOOK, host.name)
    problem = f": {clean_line(host.problem, 80)}" if host.problem else ""
    if host.condition is HostCondition.REFUSED:
        found.add(f"refused us{problem}", Remedy(RemedyKind.FIX_HOST, host.name))
    elif host.look is None:
        found.add(f"no answer yet{problem}", wait)
    elif host.condition is not HostCondition.UP:
        silent = format_duration(float(int(max(0.0, snapshot.now - host.look.asked_at))))
        found.add(f"{host.condition}, last answer {silent} ago{problem}", wait)
    elif host.unmerged:
        found.add("its notes since the backup are not merged yet", wait)
    elif fresh_look(host, snapshot.now, snapshot.policy) is None:
        found.add("has not answered lately", wait)
    elif snapshot.refused.get(host.name, -1.0) >= host.look.asked_at:
        found.add("GPU state just changed; waiting for the next update", wait)
    if host.drained is not None:
        why = f": {clean_line(host.drained, 60)}" if host.drained else ""
        found.add(f"drained{why}", Remedy(RemedyKind.UNDRAIN, host.name))


def _ailment(capacity: HostCapacity, request: Request, found: Finding) -> None:
    ailment = capacity.ailment(request)
    if ailment is None:
        return
    what = traits_of(request.runtime).noun
    kind = " with GPUs" if ailment.gpus_only else ""
    found.add(
        f"no {what}{kind} starts there: {clean_line(ailment.why, 120)} (one is tried after "
        f"{format_duration(ailment.pause)}; after the repair: hostler undrain "
        f"{capacity.host.name})",
        Remedy(RemedyKind.WAIT_FOR_HOST, capacity.host.name),
    )


def _files(capacity: HostCapacity, request: Request, found: Finding) -> None:
    why = capacity.why_full(request)
    if why is not None:
        found.add(why, Remedy(RemedyKind.FREE_FILES, capacity.host.name))


def _gpus(
    capacity: HostCapacity,
    look: Look,
    request: Request,
    index: Index,
    reservation: Reservation | None,
    found: Finding,
) -> tuple[str, ...]:
    """Add the holders of the host's GPUs. Returns the attempts that have to end to free GPUs."""
    if look.gpu_problem is not None:
        fix = Remedy(RemedyKind.FIX_HOST, capacity.host.name)
        found.add(f"no GPUs known: {clean_line(look.gpu_problem, 80)}", fix)
        return ()
    if not look.gpus:
        found.never("has no GPUs")
        return ()
    if look.lease_problem is not None:
        fix = Remedy(RemedyKind.FIX_HOST, capacity.host.name)
        found.add(f"no GPU can be leased: {clean_line(look.lease_problem, 200)}", fix)
    suitable, wanted = _relaxed(look.gpus, request, found)
    kept = {gpu.uuid for gpu in capacity.kept}
    ranked = sorted(suitable, key=lambda gpu: (_trouble(gpu, capacity, kept), gpu.index))
    chosen = ranked[:wanted]
    if all(_trouble(gpu, capacity, kept) == 0 for gpu in chosen):
        return ()
    free = sum(_trouble(gpu, capacity, kept) == 0 for gpu in suitable)
    words = [f"{free} of {len(suitable)} GPUs free"]
    remedies: list[Remedy] = []
    who: dict[str, list[int]] = {}
    waited: list[str] = []
    for gpu in chosen:
        if gpu.uuid in kept and reservation is not None:
            who.setdefault(_kept_words(reservation), []).append(gpu.index)
            remedies.append(_turn(reservation))
        for holder in capacity.held[gpu.uuid]:
            who.setdefault(describe(holder, index.snapshot.now), []).append(gpu.index)
            remedy = remedy_for(holder, capacity.host.name)
            remedies.append(remedy)
            if remedy.kind is RemedyKind.WAIT_FOR_ATTEMPT:
                waited.append(remedy.subject)
    words += [f"GPU {','.join(map(str, indices))}: {words}" for words, indices in who.items()]
    found.add(", ".join(words), *remedies)
    return tuple(dict.fromkeys(waited))


def _relaxed(gpus: Sequence[Gpu], request: Request, found: Finding) -> tuple[list[Gpu], int]:
    """The candidate GPUs and how many of them are needed, after dropping requirements that the host
    cannot meet: as few as possible."""
    wanted = request.gpus
    suits = [gpu for gpu in gpus if card_suits(card_of(gpu), request)]
    if len(suits) >= wanted:
        return suits, wanted
    models = ", ".join(request.gpu_models)
    big = [gpu for gpu in gpus if memory_suits(card_of(gpu), request)]
    if len(big) >= wanted:
        found.add(f"has {len(suits)} of the requested model ({models})", drop("gpu_models"))
        return big, wanted
    named = [gpu for gpu in gpus if model_suits(card_of(gpu), request)]
    if len(named) >= wanted:
        return _smaller(named, wanted, request, found), wanted
    if suits:
        found.add(
            f"has {count_gpus(len(suits))} that suit, of {wanted} requested",
            lower("gpus", len(suits)),
        )
        return suits, len(suits)
    pool = named or big or list(gpus)
    if not named:
        found.add(f"has no GPU of the requested model ({models})", drop("gpu_models"))
    count = min(wanted, len(pool))
    if count < wanted:
        found.add(f"has {count_gpus(len(pool))}, of {wanted} requested", lower("gpus", count))
    if any(not memory_suits(card_of(gpu), request) for gpu in pool):
        return _smaller(pool, count, request, found), count
    return pool, count


def _smaller(gpus: Sequence[Gpu], wanted: int, request: Request, found: Finding) -> list[Gpu]:
    sizes = sorted((gpu.memory_total or 0 for gpu in gpus), reverse=True)
    enough = sizes[wanted - 1]
    found.add(
        f"its GPUs have {format_size(enough)}, not {format_size(request.gpu_memory)}",
        lower("gpu_memory", enough),
    )
    return [gpu for gpu in gpus if (gpu.memory_total or 0) >= enough]


def _cpus_and_ram(
    capacity: HostCapacity,
    request: Request,
    waited: tuple[str, ...],
    index: Index,
    reservation: Reservation | None,
    found: Finding,
) -> None:
    host = capacity.host
    cpus = request.cpus if cpus_suit(host, request) else float(host.cpus or 0)
    ram = float((request.ram if ram_suits(host, request) else host.memory) or 0)
    gone = set(waited)
    free_cpus, free_ram = capacity.cpus, capacity.ram
    for item in capacity.placed:
        if item.attempt.attempt_id in gone:
            free_cpus += item.stage.resources.cpus
            free_ram += item.stage.resources.ram or 0
    if free_cpus + EPSILON >= cpus and free_ram >= ram:
        return
    what = f"{max(0.0, capacity.cpus):g} of {host.cpus} CPUs free"
    if free_cpus + EPSILON >= cpus:
        what = f"{format_size(max(0.0, capacity.ram))} of {format_size(host.memory)} RAM free"
    who: list[str] = []
    remedies: list[Remedy] = []
    if reservation is not None:
        who.append(_kept_words(reservation))
        remedies.append(_turn(reservation))
        free_cpus += capacity.kept_cpus
        free_ram += capacity.kept_ram
    for item in sorted(capacity.placed, key=lambda i: -i.stage.resources.cpus):
        if free_cpus + EPSILON >= cpus and free_ram >= ram:
            break
        attempt = item.attempt
        if attempt.attempt_id in gone:
            continue
        holder = Holder(HolderKind.ATTEMPT, _NO_GPU, item, True)
        who.append(describe(holder, index.snapshot.now))
        remedies.append(Remedy(RemedyKind.WAIT_FOR_ATTEMPT, attempt.attempt_id))
        free_cpus += item.stage.resources.cpus
        free_ram += item.stage.resources.ram or 0
    found.add(f"{what}: {_some(who)}", *remedies)


_NO_GPU = Gpu("", -1)


def _trouble(gpu: Gpu, capacity: HostCapacity, kept: set[str]) -> int:
    held = capacity.held[gpu.uuid]
    if not held:
        return 1 if gpu.uuid in kept else 0
    return max(_TROUBLE[holder.kind] for holder in held)


def _kept_words(reservation: Reservation) -> str:
    run, stage = reservation.entry.run, reservation.entry.stage
    return f"kept for {run.owner}'s {run.run_id} {stage.name}, which is ahead in the queue"


def _turn(reservation: Reservation) -> Remedy:
    run_id, stage = reservation.entry.key
    return Remedy(RemedyKind.WAIT_FOR_TURN, f"{run_id}/{stage}", 1.0)


def _some(words: list[str]) -> str:
    shown = words[:3]
    more = [f"{len(words) - 3} more"] if len(words) > 3 else []
    return ", ".join(shown + more)
