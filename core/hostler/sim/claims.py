"""Claims simulated GPUs, with refusals like those of the agent's `claims`, and judges stale
leases."""

from __future__ import annotations

from dataclasses import replace

from hostler.base.units import format_size
from hostler.model.hosts import Lease
from hostler.model.jobs import Claim, Claimed
from hostler.sim.host import SimHost
from hostler.sim.parts import ByHand, SimGpu, SimWork


def claim_gpus(host: SimHost, claim: Claim) -> Claimed:
    """Hold all the GPUs for an attempt, or none with the reason."""
    if host.trouble.taken_at_claim and claim.gpus:
        host.start_by_hand(claim.gpus[0], host.trouble.taken_at_claim.pop(0))
    refusal = _refusal(host, claim)
    if refusal is not None:
        return Claimed(refused=refusal)
    return Claimed(lease_ids=tuple(_lease(host, uuid, claim) for uuid in claim.gpus))


def bind_leases(host: SimHost, lease_ids: list[str], workload: str, claim: Claim) -> Claimed:
    """Tie leases to the workload that is to use their GPUs, after a second check of these GPUs."""
    work = host.works.get(claim.attempt_id or "")
    refusal = None if work is not None and work.running else _refusal(host, claim)
    if refusal is not None:
        return Claimed(refused=refusal)
    for lease_id in lease_ids:
        if lease_id in host.leases:
            host.leases[lease_id] = replace(host.leases[lease_id], workload=workload)
    return Claimed(lease_ids=tuple(lease_ids))


def lease_is_stale(host: SimHost, lease: Lease) -> bool:
    """Whether a lease holds nothing: it is of another boot or has expired, and none of its work
    runs."""
    old = lease.boot_id != host.boot_id
    expired = lease.until is not None and lease.until < host.clock.now()
    work = host.works.get(lease.attempt_id or "")
    return (old or expired) and not (work is not None and work.running)


def in_the_way(host: SimHost, uuid: str, claim: Claim) -> str | None:
    """Why a GPU cannot be claimed, in a sentence; None: it can."""
    gpu = host.gpu(uuid)
    if gpu is None:
        return f"{uuid} is not on {host.name}"
    where = f"GPU {gpu.index} of {host.name}"
    if host.trouble.docker and "docker" in host.facts.runtimes:
        return f"who uses the GPUs cannot be seen: {host.trouble.docker}"
    if gpu.problem:
        return f"{where}: {gpu.problem}"
    for lease in host.leases.values():
        if lease.gpu == uuid and not lease_is_stale(host, lease) and not _same(lease, claim):
            return f"{where} is leased to {lease.owner}'s {lease.attempt_id or 'work by hand'}"
    mine, others = _running(host, gpu, claim)
    if others:
        return f"{where} is used by {others[0].owner}'s {others[0].attempt_id}"
    for hand in host.by_hand.values():
        if hand.gpu == uuid and (hand.container is not None or not _ignored(hand, claim)):
            return f"{where} is used by {hand.user}'s {hand.command} ({hand.pid})"
    used = host.memory_used(gpu)
    if not mine and used > claim.memory_floor:
        return f"{where} has {format_size(used)} in use by an unknown process"
    return None


def _refusal(host: SimHost, claim: Claim) -> str | None:
    reasons = (in_the_way(host, uuid, claim) for uuid in claim.gpus)
    return next((reason for reason in reasons if reason is not None), None)


def _lease(host: SimHost, uuid: str, claim: Claim) -> str:
    for lease in list(host.leases.values()):
        if lease.gpu == uuid:
            if not lease_is_stale(host, lease):
                taken = replace(lease, attempt_id=claim.attempt_id)
                if lease.attempt_id != claim.attempt_id:
                    taken = replace(taken, workload=None)
                host.leases[lease.lease_id] = taken
                return lease.lease_id
            del host.leases[lease.lease_id]
    return host.add_lease(uuid, claim)


def _same(lease: Lease, claim: Claim) -> bool:
    return (
        lease.daemon_id == claim.daemon_id
        and lease.attempt_id in (claim.attempt_id, *claim.instead_of)
        and claim.attempt_id is not None
    )


def _running(host: SimHost, gpu: SimGpu, claim: Claim) -> tuple[list[SimWork], list[SimWork]]:
    users = host.users_of(gpu)
    mine = [
        work
        for work in users
        if work.attempt_id == claim.attempt_id and work.daemon_id == claim.daemon_id
    ]
    return mine, [work for work in users if work not in mine]


def _ignored(hand: ByHand, claim: Claim) -> bool:
    words = hand.command.split()
    return bool(words) and words[0].rsplit("/", 1)[-1] in claim.ignore
