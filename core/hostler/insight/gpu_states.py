"""The state of each GPU (free, leased, foreign, contested, drained, unknown), its owners and
problem: what `hostler gpus` shows, and in which order rules apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hostler.decide.holders import Holder, HolderKind, describe, holders
from hostler.decide.index import OpenAttempt, fresh_look
from hostler.decide.requests import unseen_containers
from hostler.model.codec import view_of
from hostler.model.hosts import Gpu, GpuState, Host, HostCondition
from hostler.model.plans import Policy
from hostler.model.timings import DEFAULT
from hostler.model.views.gpus import FleetView, GpuView, HostGpus

SCHEMA = "hostler.gpus/1"

_MOST_NAMED = 20
"""Most holders of a GPU that are named."""
_HELD_BY_HOSTLER = (HolderKind.ATTEMPT, HolderKind.WORKLOAD, HolderKind.LEASE)
_HELD_BY_OTHERS = (HolderKind.PROCESS, HolderKind.CONTAINER)


@dataclass(frozen=True, slots=True)
class ClassifiedGpu:
    """One GPU and whether it is available."""

    gpu: Gpu
    state: GpuState
    owners: tuple[str, ...] = ()
    """Unix users on it, each once."""
    why: str | None = None
    """For all states except free: who, what, since when."""
    since: float | None = None
    """When the state began, if known: for our attempts on the daemon's clock."""
    until: float | None = None
    """When it is available at the latest, if known."""


@dataclass(frozen=True, slots=True)
class History:
    """Facts that a single look does not contain."""

    idle_since: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(host, UUID) of GPUs that have hardly computed for a long time -> since when."""
    ended_at: Mapping[str, float] = field(default_factory=dict)
    """Recently ended attempts -> when. An ended attempt that is missing here ended long ago."""
    idle_after: float = DEFAULT.gpu_idle_after
    """Seconds for which a GPU is held and not used before it counts as idle."""


def classify(
    host: Host,
    now: float,
    policy: Policy,
    daemon_id: str | None = None,
    attempts: Sequence[OpenAttempt] = (),
    history: History | None = None,
) -> tuple[ClassifiedGpu, ...]:
    """The GPUs of a host in NVML order; empty if the host never reported any.

    `attempts` are this daemon's open ones (of any host: those elsewhere are skipped).
    """
    if host.look is None:
        return ()
    here = [item for item in attempts if item.attempt.host == host.name]
    held = holders(host, policy, daemon_id, here)
    silent = None if fresh_look(host, now, policy) is not None else _silence(host)
    known = history or History()
    return tuple(
        _unknown(gpu, held[gpu.uuid], host, silent)
        if silent is not None
        else _view(gpu, held[gpu.uuid], host, now, policy, known)
        for gpu in host.look.gpus
    )


def fleet(
    hosts: Iterable[Host],
    now: float,
    policy: Policy,
    *,
    source: str = "daemon",
    daemon_id: str | None = None,
    attempts: Sequence[OpenAttempt] = (),
    history: History | None = None,
) -> FleetView:
    """The `hostler.gpus/1` object of docs/protocol.md.

    Text from hosts is raw in it; clean it before display.
    """
    listed = [
        _host_gpus(host, now, classify(host, now, policy, daemon_id, attempts, history))
        for host in hosts
    ]
    gpus = [gpu for host in listed for gpu in host["gpus"]]
    free = sum(gpu["state"] == GpuState.FREE for gpu in gpus)
    summary = {"total": len(gpus), "free": free}
    return {"schema": SCHEMA, "at": now, "source": source, "summary": summary, "hosts": listed}


def _unknown(gpu: Gpu, held: tuple[Holder, ...], host: Host, why: str) -> ClassifiedGpu:
    since = host.look.asked_at if host.look is not None else host.since
    return ClassifiedGpu(gpu, GpuState.UNKNOWN, _owners(held), why, since)


def _view(
    gpu: Gpu,
    held: tuple[Holder, ...],
    host: Host,
    now: float,
    policy: Policy,
    history: History,
) -> ClassifiedGpu:
    state = _state(gpu, held, host, now, policy, history)
    if state is GpuState.DRAINED:
        return ClassifiedGpu(gpu, state, (), host.drained or "drained")
    if state is GpuState.UNKNOWN:
        return _unknown(gpu, held, host, _unseen(host) or "not known")
    why = "; ".join(describe(holder, now) for holder in held[:_MOST_NAMED]) or None
    if len(held) > _MOST_NAMED:
        why = f"{why}; and {len(held) - _MOST_NAMED} more"
    since = held[0].since if held else None
    quiet_since = history.idle_since.get((host.name, gpu.uuid))
    if state is GpuState.LEASED and quiet_since is not None:
        # Quiet before it was leased is no idleness of whoever holds it now.
        idle_since = max(quiet_since, since or quiet_since)
        if now - idle_since >= history.idle_after:
            return ClassifiedGpu(gpu, GpuState.IDLE, _owners(held), why, idle_since, _until(held))
    until = _until(held) if state is GpuState.LEASED else None
    return ClassifiedGpu(gpu, state, _owners(held), why, since, until)


def _until(held: Sequence[Holder]) -> float | None:
    ends = [holder.until for holder in held]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def _state(
    gpu: Gpu,
    held: tuple[Holder, ...],
    host: Host,
    now: float,
    policy: Policy,
    history: History,
) -> GpuState:
    """The first state that applies: unhealthy, contested, leased, foreign, drained, unknown,
    free."""
    if not held:
        if host.drained is not None:
            return GpuState.DRAINED
        return GpuState.FREE if _unseen(host) is None else GpuState.UNKNOWN
    kinds = {holder.kind for holder in held}
    if HolderKind.UNHEALTHY in kinds or HolderKind.MEMORY in kinds:
        return GpuState.UNHEALTHY
    hostlers = [h for h in held if h.kind in _HELD_BY_HOSTLER]
    dead = [h for h in held if getattr(h.source, "exists", True) is False]
    others = [h for h in held if h.kind in _HELD_BY_OTHERS and h not in dead]
    if hostlers and (others or len(hostlers) > 1):
        return GpuState.CONTESTED
    if hostlers:
        kept = _is_quarantined(gpu, hostlers[0], now, policy, history)
        return GpuState.UNHEALTHY if kept else GpuState.LEASED
    return GpuState.FOREIGN if others else GpuState.UNHEALTHY


def _unseen(host: Host) -> str | None:
    """Why a GPU without visible users may not count as free; None: nothing is hidden."""
    containers = unseen_containers(host)
    if containers is not None:
        return f"which GPUs containers hold: {containers}"
    leases = host.look.lease_problem if host.look is not None else None
    return None if leases is None else f"it cannot be leased: {leases}"


def _is_quarantined(gpu: Gpu, holder: Holder, now: float, policy: Policy, history: History) -> bool:
    """Whether only our lease is left, its attempt ended long ago, and the memory is not back."""
    if holder.kind is not HolderKind.LEASE or not holder.ours or holder.attempt_id is None:
        return False
    if gpu.memory_used is None or gpu.memory_used <= policy.memory_floor:
        return False
    ended = history.ended_at.get(holder.attempt_id)
    return ended is None or now - ended > policy.release_patience


def _owners(held: tuple[Holder, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(h.owner for h in held if h.owner))


def _silence(host: Host) -> str:
    if host.condition is HostCondition.UP and host.unmerged:
        return "the host's notes since the backup are not merged yet"
    if host.condition is HostCondition.UP:
        return "no news from the host"
    return f"host {host.condition}" + (f": {host.problem}" if host.problem else "")


def _host_gpus(host: Host, now: float, gpus: Sequence[ClassifiedGpu]) -> HostGpus:
    look = host.look
    return {
        "host": host.name,
        "transport": host.transport,
        "condition": host.condition.value,
        "problem": _problem(host),
        "gpu_problem": None if look is None else look.gpu_problem,
        "age_s": None if look is None else round(max(0.0, now - look.asked_at), 1),
        "drained": host.drained,
        "labels": dict(host.labels),
        "gpus": [_gpu_view(gpu) for gpu in gpus],
    }


def _problem(host: Host) -> str | None:
    look = host.look
    if host.problem is not None or look is None:
        return host.problem
    if look.gpu_problem is None and not look.gpus and look.docker_problem:
        return f"no GPUs; {look.docker_problem}"
    return look.gpu_problem or look.docker_problem or look.lease_problem or look.left_out


def _gpu_view(classified: ClassifiedGpu) -> GpuView:
    gpu = classified.gpu
    known = classified.state is not GpuState.UNKNOWN
    # What an old look measured is not what is there now: neither 0 % nor 100 %, but not known.
    seen = gpu if known else Gpu(gpu.uuid, gpu.index, gpu.name, gpu.memory_total)
    return view_of(
        GpuView,
        seen,
        model=gpu.name,
        state=classified.state.value,
        why=classified.why,
        owners=list(classified.owners),
        since=classified.since,
        until=classified.until,
    )
