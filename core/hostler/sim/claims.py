"""The last check before a GPU is given away, as the agent does it on the host itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.model.hosts import Lease
from hostler.model.jobs import Claim
from hostler.sim.parts import ByHand, SimGpu, SimWork
from hostler.units import format_size

if TYPE_CHECKING:
    from hostler.sim.host import SimHost


def lease_is_stale(host: SimHost, lease: Lease) -> bool:
    """Whether a lease holds nothing: of another boot or past its time, and nothing of it runs."""
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
        return f"{where} has {format_size(used)} in use by nobody who can be seen"
    return None


def _same(lease: Lease, claim: Claim) -> bool:
    return (
        lease.daemon_id == claim.daemon_id
        and lease.attempt_id == claim.attempt_id
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
