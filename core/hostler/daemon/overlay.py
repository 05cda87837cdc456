"""Adds pushed changes (exits, GPU faults) to a host's latest look, and decides whether a look
differs from the one before enough to plan again.
"""

from __future__ import annotations

from dataclasses import replace

from hostler.base.units import GIB
from hostler.model.hosts import Gpu, Look, Workload
from hostler.model.xids import is_well

_MOST_TOLD = 256
_MOST_EXITS = 4096


class FaultsTold:
    """Remembers recently reported faults: a failing program may cause thousands of one kind, and
    only the first is reported."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int | None], float] = {}

    def is_news(self, gpu: str, xid: int | None, now: float, repeat_after: float) -> bool:
        """Whether to report a fault; if so, it counts as reported for this many seconds."""
        self._told = {k: at for k, at in self._told.items() if 0 <= now - at < repeat_after}
        if (gpu, xid) in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told[gpu, xid] = now
        return True

    def forget(self, gpu: str) -> None:
        """The GPU is healthy: its next fault is reported again."""
        self._told = {key: at for key, at in self._told.items() if key[0] != gpu}


class ExitOverlay:
    """Pushed exits and removals, added to looks until a look shows them itself.

    A look may be taken just before the exit and arrive just after the push; it must not show the
    workload as running again. An attempt runs once, so its exit is final.
    """

    def __init__(self) -> None:
        self._exits: dict[str, tuple[float, Workload]] = {}
        self._removed: dict[str, float] = {}

    def add(self, workload: Workload, at: float) -> None:
        """Remember an exit that was pushed at `at`, on the daemon's clock."""
        if workload.ref not in self._removed:
            self._exits[workload.ref] = (at, workload)
            while len(self._exits) > _MOST_EXITS:  # looks tell them, too
                del self._exits[next(iter(self._exits))]

    def remove(self, ref: str, at: float) -> None:
        """Remember that a workload was removed at `at`: only a later look can show it again."""
        self._exits.pop(ref, None)
        self._removed[ref] = at

    def apply(self, look: Look) -> Look:
        """`look`, with the remembered exits and removals applied; forgets those that it shows
        itself or that are outdated."""
        if not self._exits and not self._removed:
            return look
        listed = {workload.ref: workload for workload in look.workloads}
        for ref, at in tuple(self._removed.items()):
            if look.asked_at <= at:
                listed.pop(ref, None)
            else:
                del self._removed[ref]
        for ref, (at, workload) in tuple(self._exits.items()):
            shown = listed.get(ref)
            if (shown is not None and (shown.running or shown.created_only)) or (
                shown is None and look.asked_at <= at
            ):
                listed[ref] = workload
            else:
                del self._exits[ref]
        return replace(look, workloads=tuple(listed.values()))


class FaultOverlay:
    """GPUs with a reported fatal XID, marked in looks until a probe finds them healthy.

    NVML may report no error for a card whose memory has just failed; a lost card may come back by a
    reset, without a restart of the agent or daemon.
    """

    def __init__(self) -> None:
        self._faults: dict[str, tuple[float, str]] = {}
        self._well_since: dict[str, float] = {}
        self._healed: list[str] = []

    def add(self, gpu: str, message: str, at: float) -> None:
        """Remember a fatal fault."""
        self._faults[gpu] = (at, message)
        self._well_since.pop(gpu, None)

    def apply(self, look: Look, healthy_for: float) -> Look:
        """`look`, with those GPUs as unhealthy; forgets GPUs that looks have found healthy for this
        many seconds."""
        if not self._faults:
            return look
        gpus = tuple(self._apply(gpu, look.asked_at, healthy_for) for gpu in look.gpus)
        return replace(look, gpus=gpus)

    def _apply(self, gpu: Gpu, asked_at: float, healthy_for: float) -> Gpu:
        found = self._faults.get(gpu.uuid)
        if found is None:
            return gpu
        at, message = found
        if asked_at <= at or not is_well(gpu):
            self._well_since.pop(gpu.uuid, None)
            return gpu if gpu.problem is not None else replace(gpu, problem=message)
        if asked_at - self._well_since.setdefault(gpu.uuid, asked_at) < healthy_for:
            return replace(gpu, problem=message)
        del self._faults[gpu.uuid], self._well_since[gpu.uuid]
        self._healed.append(gpu.uuid)
        return gpu

    def healed(self) -> list[str]:
        """The GPUs that were found healthy since the last call."""
        healed, self._healed = self._healed, []
        return healed


def has_news(before: Look, after: Look) -> bool:
    """Whether a change can affect a decision: mere changes of load, power or temperature do not."""
    return (
        before.boot_id != after.boot_id
        or before.workloads != after.workloads
        or before.health != after.health
        or before.leases != after.leases
        or before.foreign_containers != after.foreign_containers
        or before.gpu_problem != after.gpu_problem
        or before.docker_problem != after.docker_problem
        or before.lease_problem != after.lease_problem
        or [_decisive(gpu) for gpu in before.gpus] != [_decisive(gpu) for gpu in after.gpus]
    )


def _decisive(gpu: Gpu) -> tuple[object, ...]:
    used = None if gpu.memory_used is None else gpu.memory_used * 4 // GIB
    return (gpu.uuid, gpu.problem, gpu.mig, used, tuple(p.pid for p in gpu.processes))
