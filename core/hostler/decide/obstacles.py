"""Why a request cannot start on one host now: every obstacle, its holder, and its remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from hostler.base.text import clean_line
from hostler.base.units import format_duration, format_size
from hostler.decide.holders import Holder, HolderKind, describe, remedy_for
from hostler.decide.host_capacity import HostCapacity
from hostler.decide.index import Index, fresh_look
from hostler.decide.requests import (
    EPSILON,
    Constraint,
    Request,
    card_of,
    card_suits,
    count_gpus,
    cpus_suit,
    disk_size,
    has_program,
    memory_suits,
    model_suits,
    ram_suits,
    sizes,
    unmet,
    unusable_mounts,
)
from hostler.decide.reservation import Reservation
from hostler.model.hosts import Gpu, Host, HostCondition, Look
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


@dataclass(slots=True)
class _Finding:
    """What is collected on the way."""

    words: list[str] = field(default_factory=list)
    remedies: list[Remedy] = field(default_factory=list)
    hopeless: bool = False
    """No remedy would bring it here."""

    def add(self, words: str, *remedies: Remedy) -> None:
        self.words.append(words)
        self.remedies.extend(r for r in remedies if r not in self.remedies)

    def never(self, words: str) -> None:
        self.words.append(words)
        self.hopeless = True


def host_reason(
    capacity: HostCapacity, request: Request, index: Index, reservation: Reservation | None
) -> HostReason:
    """Every obstacle between a request and this host, on which `reservation` keeps something for
    another. The remedies together remove them all; where nothing would, there are none."""
    found = _find(capacity, request, index, reservation)
    remedies = () if found.hopeless else tuple(found.remedies)
    return HostReason(capacity.host.name, "; ".join(found.words) or "is free", remedies)


def is_free(capacity: HostCapacity, request: Request, index: Index) -> bool:
    """Whether there is no obstacle at all."""
    return not _find(capacity, request, index, None).words


def _find(
    capacity: HostCapacity, request: Request, index: Index, reservation: Reservation | None
) -> _Finding:
    found = _Finding()
    _host_itself(capacity, index, found)
    _ailment(capacity, request, found)
    _files(capacity, request, found)
    host = capacity.host
    lacks = _said(unmet(host, request))
    for constraint in lacks:
        if constraint not in _AMOUNTS:
            _lacking(constraint, host, request, found)
    look = host.look
    waited: tuple[str, ...] = ()
    if look is not None and request.gpus:
        waited = _gpus(capacity, look, request, index, reservation, found)
    for constraint in lacks:
        if constraint in _AMOUNTS:
            _lacking(constraint, host, request, found)
    _cpus_and_ram(capacity, request, waited, index, reservation, found)
    return found


def _never(request: Request) -> str:
    """What of members a daemon's own machine does not take."""
    if traits_of(request.runtime).shares_login:
        return "processes of members never run"
    return 'containers of members never run in a folder of it (code = "here")'


_AMOUNTS = (Constraint.CPUS, Constraint.RAM, Constraint.DISK)
"""Said after the GPUs."""


def _said(lacks: Iterable[Constraint]) -> list[Constraint]:
    """A runtime that does not run there is all that is said of how it gives GPUs."""
    found = list(lacks)
    if Constraint.RUNTIME in found and Constraint.GPU_ACCESS in found:
        found.remove(Constraint.GPU_ACCESS)
    return found


def _host_itself(capacity: HostCapacity, index: Index, found: _Finding) -> None:
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


def _ailment(capacity: HostCapacity, request: Request, found: _Finding) -> None:
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


def _files(capacity: HostCapacity, request: Request, found: _Finding) -> None:
    why = capacity.why_full(request)
    if why is not None:
        found.add(why, Remedy(RemedyKind.FREE_FILES, capacity.host.name))


def _lacking(constraint: Constraint, host: Host, request: Request, found: _Finding) -> None:
    """Say of a constraint that the host does not meet it, and what would help."""
    fix = Remedy(RemedyKind.FIX_HOST, host.name)
    match constraint:
        case Constraint.PIN:
            found.never(f"the checkpoint of its last attempt is on {request.pin}")
        case Constraint.RUNTIME:
            found.add(_cannot_run(host, request), fix)
        case Constraint.GPU_ACCESS:
            found.add(
                "Docker there cannot give GPUs to containers (what to do: "
                f"hostler doctor {host.name}; then hostler daemon restart)",
                fix,
            )
        case Constraint.OWN_MACHINE:
            found.never(f"is the daemon's own machine, where {_never(request)}")
        case Constraint.NAME:
            wanted = ", ".join(request.hosts)
            found.add(f"is not one of the requested hosts ({wanted})", _drop("hosts"))
        case Constraint.LABELS:
            missing = ", ".join(f"{k}={v}" for k, v in request.labels if host.labels.get(k) != v)
            found.add(f"lacks the label {missing}", _drop("labels"))
        case Constraint.CODE:
            where = f"{clean_line(request.here or '', 80)}, where the code is"
            found.add(f"does not see {where} ([shared] paths, or send it)", _drop("code"))
        case Constraint.MOUNTS:
            _mounts(host, request, found)
        case Constraint.PROGRAM:
            _program(host, request, found)
        case Constraint.CPUS:
            words = f"has {host.cpus or 0} CPUs, of {request.cpus:g} requested"
            found.add(words, _lower("cpus", host.cpus))
        case Constraint.RAM:
            found.add(f"has {sizes(host.memory, ' RAM', request.ram)}", _lower("ram", host.memory))
        case Constraint.DISK:
            total = disk_size(host, request)
            found.add(f"has a disk of {sizes(total, '', request.disk)}", _lower("disk", total))
        case _:
            assert_never(constraint)


def _mounts(host: Host, request: Request, found: _Finding) -> None:
    """Folders that the host has to have. One that it was not asked for yet is not absent."""
    for mount in unusable_mounts(host, request):
        what = f"the mount {mount.name} ({clean_line(mount.path, 80)})"
        if mount.problem is None:
            wait = Remedy(RemedyKind.WAIT_FOR_LOOK, host.name)
            found.add(f"was not checked yet for {what}", wait)
        elif mount.name in request.mounts and not mount.path:
            found.add(f"the mount {mount.name} {mount.problem}", _drop("mounts"))
        else:
            fix = Remedy(RemedyKind.FIX_HOST, host.name)
            found.add(f"{what} {clean_line(mount.problem, 80)} there", fix)


def _program(host: Host, request: Request, found: _Finding) -> None:
    path = clean_line(request.program or "", 120)
    if has_program(host, request) is None:
        wait = Remedy(RemedyKind.WAIT_FOR_LOOK, host.name)
        found.add(f"was not checked yet for {path}", wait)
    else:
        found.add(f"does not have {path} from the submitter's environment", _drop("program"))


def _cannot_run(host: Host, request: Request) -> str:
    problem = host.look.docker_problem if host.look is not None else None
    if request.runtime not in host.runtimes or problem is None:
        return f"cannot run {request.runtime} stages"
    if traits_of(request.runtime).has_engine:
        return f"cannot run {request.runtime} stages: {clean_line(problem, 80)}"
    return f"it is unknown which GPUs its containers hold: {clean_line(problem, 80)}"


def _gpus(
    capacity: HostCapacity,
    look: Look,
    request: Request,
    index: Index,
    reservation: Reservation | None,
    found: _Finding,
) -> tuple[str, ...]:
    """What is in the way of its GPUs; the attempts that have to end for them."""
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


def _relaxed(gpus: Sequence[Gpu], request: Request, found: _Finding) -> tuple[list[Gpu], int]:
    """The GPUs to look at and how many of them, after giving up what cannot be had there: of
    several ways the one that gives up least."""
    wanted = request.gpus
    suits = [gpu for gpu in gpus if card_suits(card_of(gpu), request)]
    if len(suits) >= wanted:
        return suits, wanted
    models = ", ".join(request.gpu_models)
    big = [gpu for gpu in gpus if memory_suits(card_of(gpu), request)]
    if len(big) >= wanted:
        found.add(f"has {len(suits)} of the requested model ({models})", _drop("gpu_models"))
        return big, wanted
    named = [gpu for gpu in gpus if model_suits(card_of(gpu), request)]
    if len(named) >= wanted:
        return _smaller(named, wanted, request, found), wanted
    if suits:
        found.add(
            f"has {count_gpus(len(suits))} that suit, of {wanted} requested",
            _lower("gpus", len(suits)),
        )
        return suits, len(suits)
    pool = named or big or list(gpus)
    if not named:
        found.add(f"has none of the requested model ({models})", _drop("gpu_models"))
    count = min(wanted, len(pool))
    if count < wanted:
        found.add(f"has {count_gpus(len(pool))}, of {wanted} requested", _lower("gpus", count))
    if any(not memory_suits(card_of(gpu), request) for gpu in pool):
        return _smaller(pool, count, request, found), count
    return pool, count


def _smaller(gpus: Sequence[Gpu], wanted: int, request: Request, found: _Finding) -> list[Gpu]:
    sizes = sorted((gpu.memory_total or 0 for gpu in gpus), reverse=True)
    enough = sizes[wanted - 1]
    found.add(
        f"its GPUs have {format_size(enough)}, not {format_size(request.gpu_memory)}",
        _lower("gpu_memory", enough),
    )
    return [gpu for gpu in gpus if (gpu.memory_total or 0) >= enough]


def _cpus_and_ram(
    capacity: HostCapacity,
    request: Request,
    waited: tuple[str, ...],
    index: Index,
    reservation: Reservation | None,
    found: _Finding,
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
    return f"kept for {run.owner}'s {run.run_id} {stage.name}, which is before it"


def _turn(reservation: Reservation) -> Remedy:
    run_id, stage = reservation.entry.key
    return Remedy(RemedyKind.WAIT_FOR_TURN, f"{run_id}/{stage}", 1.0)


def _some(words: list[str]) -> str:
    shown = words[:3]
    more = [f"{len(words) - 3} more"] if len(words) > 3 else []
    return ", ".join(shown + more)


def _drop(what: str) -> Remedy:
    return Remedy(RemedyKind.DROP, what)


def _lower(what: str, value: float | None) -> Remedy:
    return Remedy(RemedyKind.LOWER, what, float(value or 0))
