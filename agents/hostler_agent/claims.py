"""Claims GPUs under the host's one lock: refuses those leased, used by programs that are not on the
ignore list, with memory in use, in MIG mode or faulty.

The pull of an image may take many minutes between the claim and the start. So `bind`, the last step
before a start, checks the GPUs again.
"""

from __future__ import annotations

import fnmatch
import os
import time
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple, TypedDict

from hostler_agent.containers import Running
from hostler_agent.fields import optional_number, optional_text, text, texts, whole
from hostler_agent.folders import Refusal, is_identifier
from hostler_agent.grants import resolve
from hostler_agent.json_values import Json, strings
from hostler_agent.leasefolder import owner_of
from hostler_agent.leases import Found, Leases, Live, plain_owner, works
from hostler_agent.look_sections import GpuProcess, Lease
from hostler_agent.nvml import Device, Reading
from hostler_agent.processes import Process

_GIB = 1024**3
_MOST_BEFORE = 64
"""Attempts from which one claim may take over leases."""


class Sight(NamedTuple):
    """How the machine is checked for a claim; each call checks again."""

    devices: Callable[[], Sequence[Device]]
    read: Callable[[Sequence[Device]], Dict[str, Optional[Reading]]]
    containers: Callable[[], Sequence[Running]]
    """The running containers. Raises HttpError if Docker runs but does not list them."""
    describe: Callable[[Process], GpuProcess]
    """Describes a process that NVML lists."""
    programs: Callable[[int], Sequence[str]]
    live: Callable[[Sequence[Running]], Live]
    gpu_problem: Callable[[], Optional[str]]


class Claim(NamedTuple):
    """A checked request for GPUs."""

    gpus: Tuple[str, ...]
    attempt_id: Optional[str]
    daemon_id: str
    owner: str
    memory_floor: int
    ignore: Tuple[str, ...]
    until: Optional[float]
    instead_of: Tuple[str, ...] = ()


def read_claim(payload: Json) -> Claim:
    """The claim in a request. Raises Refusal when a field is invalid."""
    if not isinstance(payload, dict):
        raise Refusal("a claim should be an object", "InputError")
    attempt, daemon = optional_text(payload, "attempt_id"), text(payload, "daemon_id")
    for key, value in (("attempt_id", attempt), ("daemon_id", daemon)):
        if value is not None and not is_identifier(value):
            raise Refusal("%s of the claim is not an id" % key, "InputError")
    return Claim(
        tuple(texts(payload, "gpus")), attempt, daemon, plain_owner(text(payload, "owner")),
        whole(payload, "memory_floor", _GIB), tuple(strings(payload.get("ignore"))),
        optional_number(payload, "until"), tuple(strings(payload.get("instead_of"))[:_MOST_BEFORE]),
    )  # fmt: skip


class Claimed(TypedDict, total=False):
    """Leases of all requested GPUs, or none; then `refused` gives the reason as a sentence."""

    lease_ids: Sequence[str]
    refused: str


class _Seen(NamedTuple):
    """The machine at the moment of a check, while the lock is held."""

    containers: Sequence[Running]
    live: Live
    found: Sequence[Found]
    own: Dict[str, Found]
    """GPU -> the lease on it that the requesting attempt already has."""


class Claims:
    """Claims, binds and releases leases of this user."""

    def __init__(self, leases: Leases, sight: Sight) -> None:
        self._leases = leases
        self._sight = sight

    def claim(self, claim: Claim) -> Claimed:
        """Lease all requested GPUs, or none and give the reason as a sentence."""
        devices = {d.uuid: d for d in self._sight.devices()}
        try:
            targets = [self._device(devices, uuid) for uuid in claim.gpus]
        except Refusal as refusal:
            return {"refused": str(refusal)}
        with self._leases.locked():
            seen = self._see(claim)
            refused = self._refusal(claim, targets, devices, seen)
            if refused is not None:
                return {"refused": refused}
            boot = seen.live.boot_id
            return {"lease_ids": [self._write(claim, d, seen.own, boot) for d in targets]}

    def _see(self, claim: Claim) -> _Seen:
        containers = self._sight.containers()
        live = self._sight.live(containers)
        found = self._leases.list(live, claim.gpus)
        own = {f.lease["gpu"]: f for f in found if _is_own(f, claim)}
        return _Seen(containers, live, found, own)

    def _device(self, devices: Dict[str, Device], uuid: str) -> Device:
        device = devices.get(uuid)
        if device is None:
            why = self._sight.gpu_problem()
            raise Refusal("GPU %s is not on this machine%s" % (uuid, ": " + why if why else ""))
        return device

    def _refusal(
        self,
        claim: Claim,
        targets: Sequence[Device],
        devices: Dict[str, Device],
        seen: _Seen,
    ) -> Optional[str]:
        containers = seen.containers
        for one in seen.found:
            index = next((d.index for d in targets if d.uuid == one.lease["gpu"]), None)
            if index is not None and not one.stale and not _is_own(one, claim):
                return "GPU %d: %s" % (index, lease_text(one))
            if index is not None and not one.stale and _is_before(one, claim):
                # An attempt in an unknown state may still run, and use the GPU's memory.
                if works(one.lease["workload"], seen.live) is not False:
                    text = "GPU %d: attempt %s before this one has not ended"
                    return text % (index, one.lease["attempt_id"])
        pairs = [(d.index, d.uuid) for d in devices.values()]
        for container in containers:
            if _is_ours(container, claim) or _ignored((container.name, container.image), claim):
                continue
            for uuid in resolve(container.grants, pairs):
                if uuid in claim.gpus:
                    text = "container %s (%s) was given it"
                    return ("GPU %d: " + text) % (
                        devices[uuid].index, container.name, container.image,
                    )  # fmt: skip
        readings = self._sight.read(targets)
        for device in targets:
            why = self._in_the_way(claim, device, readings[device.uuid], containers)
            if why is not None:
                return "GPU %d: %s" % (device.index, why)
        return None

    def _in_the_way(
        self,
        claim: Claim,
        device: Device,
        reading: Optional[Reading],
        containers: Sequence[Running],
    ) -> Optional[str]:
        if reading is None:
            return "it does not answer"
        if reading.problem:
            return "it cannot be used: %s" % reading.problem
        if device.slow.values.mig:
            return "MIG mode is on"
        if device.slow.values.problem:
            return "it cannot be used: %s" % device.slow.values.problem
        if reading.compute is None:
            return "NVML does not list its processes"
        mine = {c.container_id for c in containers if _is_ours(c, claim)}
        ours = False
        for process in reading.compute:
            described = self._sight.describe(process)
            inside = described.container_id in mine
            if inside or (claim.attempt_id and described.attempt_id == claim.attempt_id):
                ours = True
            elif not _ignored(self._sight.programs(process[0]), claim):
                return _process_text(described)
        used = reading.values.memory_used
        if used is None:
            return "its memory cannot be read" if reading.memory_supported else None
        if not ours and used * 1024**2 >= claim.memory_floor:
            return "%.1f GiB of its memory are in use by no process that NVML lists" % (used / 1024)
        return None

    def _write(self, claim: Claim, device: Device, own: Dict[str, Found], boot_id: str) -> str:
        before = own.get(device.uuid)
        if before is not None and not before.stale:
            # A lease of an earlier attempt names that attempt's workload, which has ended.
            workload = None if _is_before(before, claim) else before.lease["workload"]
            attempt: Lease = {**before.lease, "attempt_id": claim.attempt_id, "workload": workload}
            self._leases.write({**attempt, "until": claim.until, "owner": claim.owner})
            return before.lease["lease_id"]
        lease: Lease = {
            "lease_id": "%s.%d.%s" % (device.uuid, os.getuid(), os.urandom(6).hex()),
            "gpu": device.uuid,
            "daemon_id": claim.daemon_id,
            "owner": claim.owner,
            "attempt_id": claim.attempt_id,
            "claimed_at": time.time(),
            "until": claim.until,
            "boot_id": boot_id,
            "workload": None,
        }
        self._leases.write(lease)
        return lease["lease_id"]

    def bind(self, lease_ids: Sequence[str], workload: str, claim: Claim) -> Claimed:
        """Bind leases to a container id or "pid:start ticks", after another check that `claim` may
        have the GPUs. Raises Refusal if a lease is gone."""
        devices = {d.uuid: d for d in self._sight.devices()}
        with self._leases.locked():
            leases = [self._own(lease_id) for lease_id in lease_ids]
            seen = self._see(claim)
            refused = self._late_refusal(claim, devices, seen)
            if refused is not None:
                return {"refused": refused}
            for lease in leases:
                if not works(lease["workload"], seen.live):
                    self._leases.write({**lease, "workload": workload[:255]})
            return {"lease_ids": list(lease_ids)}

    def _own(self, lease_id: str) -> Lease:
        lease = self._leases.own(lease_id)
        if lease is None:
            raise Refusal("lease %s no longer exists" % lease_id, "ConflictError")
        return lease

    def _late_refusal(self, claim: Claim, devices: Dict[str, Device], seen: _Seen) -> Optional[str]:
        """Why the GPUs may not be used; None if they may. Also None if the work already runs: the
        bind is repeated, and processes that started on the GPU later are no reason to stop the
        work."""
        if any(_is_ours(container, claim) for container in seen.containers):
            return None
        if any(works(one.lease["workload"], seen.live) for one in seen.own.values()):
            return None
        try:
            targets = [self._device(devices, uuid) for uuid in claim.gpus]
        except Refusal as refusal:
            return str(refusal)
        return self._refusal(claim, targets, devices, seen)

    def started(self, daemon_id: str, attempt_id: str, bound: str) -> None:
        """Bind the leases of a job to its process once it exists, so that other users can check
        them."""
        with self._leases.locked():
            for found in self._leases.of(daemon_id):
                lease = found.lease
                if lease["attempt_id"] == attempt_id and lease["workload"] != bound:
                    self._leases.write({**lease, "workload": bound})

    def release(self, lease_ids: Sequence[str]) -> None:
        """Release leases; missing ones are ignored."""
        with self._leases.locked():
            for lease_id in lease_ids:
                self._leases.remove(lease_id)


def _is_own(found: Found, claim: Claim) -> bool:
    lease = found.lease
    if found.uid != os.getuid() or lease["daemon_id"] != claim.daemon_id:
        return False
    if claim.attempt_id is None:
        return lease["attempt_id"] is None and lease["owner"] == claim.owner
    return lease["attempt_id"] in (claim.attempt_id, *claim.instead_of)


def _is_before(found: Found, claim: Claim) -> bool:
    """Whether the lease belongs to an earlier attempt, from which the claim may take it over."""
    return _is_own(found, claim) and found.lease["attempt_id"] != claim.attempt_id


def _is_ours(container: Running, claim: Claim) -> bool:
    return (
        claim.attempt_id is not None
        and container.attempt_id == claim.attempt_id
        and container.daemon_id == claim.daemon_id
    )


def _ignored(names: Sequence[str], claim: Claim) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in claim.ignore)


def lease_text(found: Found) -> str:
    """Text for people: who has leased a GPU. It names the file's owner, and the owner in the lease
    if different."""
    lease = found.lease
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(lease["claimed_at"]))
    what = "for %s " % lease["attempt_id"] if lease["attempt_id"] else "by reservation "
    user = owner_of(found.uid)
    by = "" if user == lease["owner"] else "by %s " % user
    return "leased %sto %s %ssince %s" % (by, lease["owner"], what, since)


def _process_text(described: GpuProcess) -> str:
    pid, memory = described.pid, described.memory
    size = "" if memory is None else ", %.1f GiB" % (memory / _GIB)
    if not described.exists:
        return "its memory is held by PID %d, which no longer exists%s" % (pid, size)
    command = (described.command or "an unknown program")[:120]
    user = described.user or "an unknown user"
    return "in use by %s: %s (PID %d%s)" % (user, command, pid, size)
