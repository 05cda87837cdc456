"""Who holds each GPU of a host (lease, process, container), and the words for it ("bo's sleep for
10m"), for placing, the fleet view and every reason. Pure.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hostler.base.text import clean_line
from hostler.base.units import format_duration, format_size
from hostler.decide.index import OpenAttempt
from hostler.decide.stop_reasons import time_limit
from hostler.model.hosts import ForeignContainer, Gpu, GpuProcess, Host, Lease, Look, Workload
from hostler.model.plans import Policy, Remedy, RemedyKind
from hostler.model.runs import Attempt


class HolderKind(StrEnum):
    """A kind of reason why a GPU is not free."""

    ATTEMPT = "attempt"
    """An open attempt of ours, seen on the host or not."""
    WORKLOAD = "workload"
    """A running workload of any Hostler that no open attempt of ours explains."""
    LEASE = "lease"
    PROCESS = "process"
    """A compute process that no lease explains."""
    CONTAINER = "container"
    """A running container without our labels that was given the GPU."""
    MEMORY = "memory"
    """More memory in use than the floor, and no visible process that uses it."""
    UNHEALTHY = "unhealthy"


_OTHERS = (HolderKind.PROCESS, HolderKind.CONTAINER)


Source = OpenAttempt | Workload | Lease | GpuProcess | ForeignContainer | None


@dataclass(frozen=True, slots=True)
class Holder:
    """One reason why a GPU is not free."""

    kind: HolderKind
    gpu: Gpu
    source: Source
    ours: bool = False
    """Whether it belongs to this daemon."""

    @property
    def owner(self) -> str | None:
        """The Unix user of the holder; None: unknown."""
        source = self.source
        if isinstance(source, OpenAttempt):
            return source.run.owner
        if isinstance(source, Lease):  # our lease names the owner of the run
            return source.owner if self.ours else source.holder
        if isinstance(source, Workload):
            return source.owner
        return source.user if isinstance(source, GpuProcess) else None

    @property
    def attempt_id(self) -> str | None:
        """The id of the holder's attempt, of any Hostler; None: none."""
        return _attempt_of(self.source)

    @property
    def until(self) -> float | None:
        """When it ends at the latest, by a time limit or the lease; None: unknown."""
        source = self.source
        if isinstance(source, OpenAttempt):
            return time_limit(source)
        return source.until if isinstance(source, Lease) else None

    @property
    def since(self) -> float | None:
        """When it began: ours on the daemon's clock, others' on the host's; None: unknown."""
        source = self.source
        if isinstance(source, OpenAttempt):
            return source.attempt.placed_at
        if isinstance(source, Lease):
            return source.claimed_at
        return source.started_at if isinstance(source, (Workload, GpuProcess)) else None


def _attempt_of(source: Source) -> str | None:
    if isinstance(source, OpenAttempt):
        return source.attempt.attempt_id
    return source.attempt_id if isinstance(source, (Workload, Lease)) else None


NOT_HELD: tuple[Holder, ...] = ()


def holders(
    host: Host, policy: Policy, daemon_id: str | None, open_here: Sequence[OpenAttempt]
) -> dict[str, tuple[Holder, ...]]:
    """GPU UUID -> all its holders; an empty tuple: it is free.

    `open_here` are our open attempts on this host; those that are only collected hold nothing.
    Several signs of one attempt (its lease, its container, its processes) are one holder.
    """
    look = host.look
    if look is None or not look.gpus:
        return {}
    open_here = [item for item in open_here if item.attempt.phase.is_at_work]
    by_gpu: dict[str, list[Holder]] = {gpu.uuid: [] for gpu in look.gpus}
    gpus = {gpu.uuid: gpu for gpu in look.gpus}
    for item in open_here:
        _add(by_gpu, gpus, item.attempt.gpus, HolderKind.ATTEMPT, item, True)
    running = [w for w in look.workloads if w.running and w.gpus]
    for workload in running:
        if workload.daemon_id == daemon_id:
            _add(by_gpu, gpus, workload.gpus, HolderKind.WORKLOAD, workload, True)
    for lease in look.leases:
        if not lease.stale:
            ours = lease.daemon_id == daemon_id
            _add(by_gpu, gpus, (lease.gpu,), HolderKind.LEASE, lease, ours)
    for workload in running:
        if workload.daemon_id != daemon_id:
            _add(by_gpu, gpus, workload.gpus, HolderKind.WORKLOAD, workload, False)
    for container in look.foreign_containers:
        _add(by_gpu, gpus, container.gpus, HolderKind.CONTAINER, container, False)
    ignore = frozenset(policy.ignore)
    refs = _containers(look, daemon_id, {item.attempt.attempt_id for item in open_here})
    found: dict[str, tuple[Holder, ...]] = {}
    for gpu in look.gpus:
        held = by_gpu[gpu.uuid]
        if _needs_closer_look(gpu, policy):
            _add_what_nvml_shows(gpu, held, refs, ignore, policy)
        found[gpu.uuid] = tuple(held) if held else NOT_HELD
    return found


def remedy_for(holder: Holder, host: str) -> Remedy:
    """The remedy: what has to happen before this holder leaves the GPU."""
    kind, place = holder.kind, f"{host}:{holder.gpu.uuid}"
    if kind is HolderKind.UNHEALTHY:
        return Remedy(RemedyKind.FIX_HOST, host)
    if kind is HolderKind.MEMORY:
        return Remedy(RemedyKind.WAIT_FOR_MEMORY, place)
    if kind is HolderKind.ATTEMPT or (kind is HolderKind.WORKLOAD and holder.ours):
        return Remedy(RemedyKind.WAIT_FOR_ATTEMPT, str(holder.attempt_id))
    if isinstance(holder.source, Lease):
        if holder.ours and holder.attempt_id is not None:
            return Remedy(RemedyKind.WAIT_FOR_MEMORY, place)
        return Remedy(RemedyKind.WAIT_FOR_LEASE, holder.source.lease_id)
    return Remedy(RemedyKind.WAIT_FOR_PROCESS, place)


def describe(holder: Holder, now: float) -> str:
    """A holder in a few words: who, what, since when."""
    source = holder.source
    if isinstance(source, OpenAttempt):
        run, stage = source.run, source.stage
        return f"{run.owner}'s {run.run_id} {stage.name}{_age(holder, now)}"
    if isinstance(source, Workload):
        whose = "our" if holder.ours else f"{source.owner or 'an unknown user'}'s"
        ending = ", being stopped" if holder.ours else ""
        return f"{whose} {source.attempt_id}{_age(holder, now)}{ending}"
    if isinstance(source, Lease):
        if holder.ours and source.attempt_id is not None:
            memory = f", memory in use {_used(holder.gpu)}" if holder.gpu.memory_used else ""
            return f"{source.attempt_id}, which ended and is being released{memory}"
        what = source.attempt_id or "lease by hand"
        return f"{holder.owner}'s {what}{_age(holder, now)}"
    if isinstance(source, GpuProcess):
        return _describe_process(source, holder, now)
    if isinstance(source, ForeignContainer):
        return f"container {clean_line(source.name, 40)} (not Hostler's)"
    if holder.kind is HolderKind.MEMORY:
        return f"{_used(holder.gpu)} in use by an unknown process"
    return clean_line(holder.gpu.problem or "MIG is on", 60)


def _describe_process(process: GpuProcess, holder: Holder, now: float) -> str:
    if not process.exists:
        return f"{_used(holder.gpu)} held by PID {process.pid}, which no longer exists"
    command = clean_line(program(process) or "a process", 30)
    memory = f", {format_size(process.memory)}" if process.memory else ""
    user = process.user or "an unknown user"
    of = f" of {clean_line(process.attempt_id, 60)}" if process.attempt_id else ""
    return f"{user}'s {command} ({process.pid}{memory}){of}{_age(holder, now)}"


def program(process: GpuProcess) -> str | None:
    """The program's own name: "/usr/lib/xorg/Xorg vt2" is "Xorg"."""
    if not process.command:
        return None
    words = process.command.split()
    return words[0].rsplit("/", 1)[-1] if words else None


def _used(gpu: Gpu) -> str:
    return format_size(gpu.memory_used)


def _age(holder: Holder, now: float) -> str:
    """How long it has held the GPU, in whole minutes, so that a sentence does not change each
    second."""
    since = holder.since
    if since is None or now - since < 60:
        return ""
    return f" for {format_duration(float(int((now - since) // 60) * 60))}"


def _add(
    by_gpu: dict[str, list[Holder]],
    gpus: Mapping[str, Gpu],
    uuids: Iterable[str],
    kind: HolderKind,
    source: OpenAttempt | Workload | Lease | ForeignContainer,
    ours: bool,
) -> None:
    attempt = _attempt_of(source)
    for uuid in uuids:
        held = by_gpu.get(uuid)
        if held is None:
            continue
        # Other users may write our attempt's id into a lease; that does not show that it is ours.
        if attempt is None or all(h.ours != ours or h.attempt_id != attempt for h in held):
            held.append(Holder(kind, gpus[uuid], source, ours))


def _persons(holder: Holder) -> Lease | None:
    """The holder's lease, if a person or another daemon claimed it; None: any other holder. The
    owner of such a lease's file may use the GPU."""
    lease = holder.source
    if isinstance(lease, Lease) and (lease.attempt_id is None or not holder.ours):
        return lease
    return None


def _needs_closer_look(gpu: Gpu, policy: Policy) -> bool:
    used = gpu.memory_used
    over = used is not None and used > policy.memory_floor
    return bool(gpu.processes) or over or bool(gpu.problem) or bool(gpu.mig)


def _containers(look: Look, daemon_id: str | None, ours: Container[str]) -> dict[str, str]:
    """Container id -> the attempt or container name by which a holder is known. A lease of another
    daemon cannot name an attempt of ours."""
    refs = {w.ref: w.attempt_id for w in look.workloads if w.ref}
    refs.update((c.container_id, c.container_id) for c in look.foreign_containers)
    for lease in look.leases:
        of_others = lease.daemon_id != daemon_id
        if lease.workload and lease.attempt_id and not (of_others and lease.attempt_id in ours):
            refs.setdefault(lease.workload, lease.attempt_id)
    return refs


def _add_what_nvml_shows(
    gpu: Gpu,
    held: list[Holder],
    refs: Mapping[str, str],
    ignore: frozenset[str],
    policy: Policy,
) -> None:
    known = {h.attempt_id for h in held}
    known.update(h.source.container_id for h in held if isinstance(h.source, ForeignContainer))
    known.discard(None)
    lessees = {lease.user for h in held if (lease := _persons(h)) is not None and lease.user}
    for process in gpu.processes:
        if process.kind != "compute" or (program(process) or "") in ignore:
            continue
        if process.user in lessees and process.attempt_id is None:
            continue  # it works on the GPU that its user leased
        # A starting attempt's process may be known only by its container id at first.
        if process.attempt_id in known or refs.get(process.container_id or "") in known:
            continue
        held.append(Holder(HolderKind.PROCESS, gpu, process))
    if gpu.problem or gpu.mig:
        held.append(Holder(HolderKind.UNHEALTHY, gpu, None))
    used = gpu.memory_used
    if not held and used is not None and used > policy.memory_floor:
        held.append(Holder(HolderKind.MEMORY, gpu, None))


def contested_by(
    attempt: Attempt,
    host: Host,
    policy: Policy,
    daemon_id: str,
    open_here: Sequence[OpenAttempt],
    now: float,
) -> str:
    """One sentence about other uses of its GPUs in the last look; "" for none."""
    if not attempt.gpus or host.look is None:
        return ""
    held = holders(host, policy, daemon_id, open_here)
    index = {gpu.uuid: gpu.index for gpu in host.look.gpus}
    told = [
        f"GPU {index[uuid]}: {describe(holder, now)}"
        for uuid in attempt.gpus
        for holder in held.get(uuid, ())
        if _is_somebody_else(holder, attempt)
    ]
    return f"its GPU was contested ({'; '.join(told)})" if told else ""


def _is_somebody_else(holder: Holder, attempt: Attempt) -> bool:
    return holder.kind in _OTHERS or (
        holder.attempt_id is not None and holder.attempt_id != attempt.attempt_id
    )
