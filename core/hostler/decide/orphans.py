"""Removes leftovers of this daemon: containers, processes, and leases once the GPU's memory is
free; how long that may take: `release_patience` in `model.config`.

Leftovers of another daemon are never touched.
"""

from __future__ import annotations

import itertools
import math

from hostler.decide.index import Index, fresh_look
from hostler.decide.slots import keeps
from hostler.decide.times import ended_at
from hostler.model.hosts import Gpu, Host, Lease, Look, Workload
from hostler.model.pipelines import Cause
from hostler.model.plans import Action, Policy, Release, Remove, Stop
from hostler.model.runs import Attempt
from hostler.model.runtimes import traits_of

REAP_GRACE = 30.0
"""Seconds between TERM and KILL for a workload whose stage is no longer known."""
MOST_AT_ONCE = 64
"""Most orphans of one host that a plan ends: the host may name thousands, and each needs a search
in the database."""


def end_orphans(index: Index) -> list[Action]:
    """Stop workloads of ours that no open attempt owns; remove those that have ended."""
    actions: list[Action] = []
    snapshot = index.snapshot
    for host in snapshot.hosts:
        look = fresh_look(host, snapshot.now, snapshot.policy)
        if look is None:
            continue
        orphans = (w for w in look.workloads if _is_orphan(w, index))
        found = (_end(workload, host, index) for workload in orphans)
        new = (action for action in found if action.key not in snapshot.in_flight)
        actions.extend(itertools.islice(new, MOST_AT_ONCE))
    return actions


def release(index: Index) -> list[Action]:
    """Give back the leases of final attempts, once it is proven that these no longer use the
    GPU."""
    actions: list[Action] = []
    snapshot = index.snapshot
    for host in snapshot.hosts:
        look = fresh_look(host, snapshot.now, snapshot.policy)
        if look is None or not look.leases:
            continue
        done: dict[str, list[str]] = {}
        for lease in look.leases:
            if is_over(lease, index) and is_empty(lease, host, look, index):
                done.setdefault(str(lease.attempt_id), []).append(lease.lease_id)
        for attempt_id, lease_ids in done.items():
            actions.append(Release(host.name, tuple(sorted(lease_ids)), attempt_id))
    return actions


def is_over(lease: Lease, index: Index) -> bool:
    """Whether a lease is ours and none of our attempts needs it.

    An attempt that the snapshot does not know belongs to a run that ended: intents are durable
    before any claim, so it cannot belong to a future attempt.
    """
    if lease.attempt_id is None or lease.daemon_id != index.snapshot.daemon_id:
        return False
    item = index.open.get(lease.attempt_id)
    at_work = item is not None and item.attempt.phase.is_at_work
    if at_work or index.starting(lease.attempt_id):
        return False
    return not (index.is_replica(lease.attempt_id) and keeps(lease, index))


def is_empty(lease: Lease, host: Host, look: Look, index: Index) -> bool:
    """Whether the workload is gone and its memory is back, as far as the look shows."""
    if lease.stale:
        return True
    if look.asked_at <= _ended_at(lease, index):
        return False  # the look may be older than the workload's use of the GPU
    workload = index.workload(host.name, str(lease.attempt_id))
    if workload is not None and (workload.running or workload.created_only):
        return False  # a created workload may start soon: a sent request is not withdrawn
    if look.docker_problem and _may_be_in_engine(lease, index):
        return False
    gpu = next((gpu for gpu in look.gpus if gpu.uuid == lease.gpu), None)
    return gpu is not None and memory_is_back(gpu, lease, index.snapshot.policy)


def memory_is_back(gpu: Gpu, lease: Lease, policy: Policy) -> bool:
    """Whether the lease's holder has left the GPU. A GPU that does not report its memory counts as
    empty; memory of another user's running process is not ours."""
    ours = [p for p in gpu.processes if _belongs(p.attempt_id, p.container_id, lease)]
    if ours:
        return False
    if gpu.memory_used is None or gpu.memory_used <= policy.memory_floor:
        return True
    return any(p.exists and p.kind == "compute" for p in gpu.processes)


def quarantine_at(lease: Lease, index: Index) -> float | None:
    """When a GPU whose memory is still in use counts as quarantined; None: unknown."""
    attempt = _attempt(lease, index)
    if attempt is None or attempt.finished_at is None:
        return None
    return ended_at(attempt, index.snapshot) + index.snapshot.policy.release_patience


def _ended_at(lease: Lease, index: Index) -> float:
    """When the lease's attempt ended; minus infinity if unknown."""
    attempt = _attempt(lease, index)
    if attempt is None:
        return index.snapshot.lately.get(str(lease.attempt_id), -math.inf)
    return ended_at(attempt, index.snapshot)


def _belongs(attempt_id: str | None, container_id: str | None, lease: Lease) -> bool:
    if attempt_id is not None and attempt_id == lease.attempt_id:
        return True
    return container_id is not None and container_id == lease.workload


def _may_be_in_engine(lease: Lease, index: Index) -> bool:
    """Whether a container may still use the GPU: of a run that has ended, the lease says so."""
    attempt = _attempt(lease, index)
    if attempt is not None:
        return traits_of(attempt.runtime).has_engine
    return not lease.is_of_process


def _attempt(lease: Lease, index: Index) -> Attempt | None:
    return index.attempts.get(lease.attempt_id) if lease.attempt_id is not None else None


def _is_orphan(workload: Workload, index: Index) -> bool:
    """Whether no open attempt owns a workload of ours. An attempt is on one host only: if it is
    open on another host, that is the same host under another name in the config."""
    return (
        workload.daemon_id == index.snapshot.daemon_id
        and workload.attempt_id not in index.open
        and not (workload.running and workload.attempt_id in index.at_gateway)
        and not index.starting(workload.attempt_id)
    )


def _end(workload: Workload, host: Host, index: Index) -> Action:
    if not workload.running:
        return Remove(host.name, workload)
    attempt = index.attempts.get(workload.attempt_id)
    if attempt is None:
        return Stop(host.name, workload, Cause.STOPPED, "its run is over", REAP_GRACE)
    stage = index.progress[attempt.run_id].stages.get(attempt.stage)
    grace = stage.grace if stage is not None else REAP_GRACE
    detail = f"its attempt is {attempt.phase} already"
    return Stop(host.name, workload, attempt.cause or Cause.STOPPED, detail, grace)
