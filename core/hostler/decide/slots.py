"""How long a replica keeps its GPUs after it ended (10 minutes without a start), and after which
causes it leaves them. Pure.

A replica that was ready once keeps its leases from one attempt to the next, so that a crash does
not give its GPUs to pending stages. On the host, the next attempt takes over the lease under the
lock (`Claim.instead_of`). A replica that lost its slot goes first in the queue.
"""

from __future__ import annotations

from collections.abc import Sequence

from hostler.decide.index import Index, fresh_look
from hostler.decide.progress import Progress
from hostler.decide.times import ended_at
from hostler.model.hosts import Lease
from hostler.model.pipelines import UNCOUNTED, Cause, Stage
from hostler.model.plans import Snapshot
from hostler.model.runs import Attempt, Phase, Run

MOST_BEFORE = 20
"""Most earlier attempts of a replica whose leases a claim takes over."""
PATIENCE = 600.0
"""Seconds. A replica that cannot start in its slot for so long starts elsewhere. This is longer
than its longest pause between attempts."""
_LEAVES = frozenset({Cause.HOST_FAULT, Cause.GPU_LOST, Cause.HOST_LOST, Cause.HOST_REBOOTED})
"""Causes of an end after which another GPU is better, or the replica has none any more."""
_NOT_RUN = UNCOUNTED - {Cause.SUPERSEDED}


def keeps(lease: Lease, index: Index) -> bool:
    """Whether the lease of an ended attempt stays, for the next attempt of its slot."""
    attempt = index.attempts.get(lease.attempt_id or "")
    key = _heir_of(attempt, index) if attempt is not None else None
    progress = index.progress.get(key[0]) if key is not None else None
    stage = progress.stages.get(key[1]) if progress is not None and key is not None else None
    if attempt is None or progress is None or stage is None or stage.service is None:
        return False
    own = progress.tries.get(stage.name)
    if (
        own and not own[-1].phase.is_final
    ):  # its claim may be in progress, or its verdict was just stored
        is_wanted = own[-1].phase.is_at_work or progress.run.cancelled_by is None
        return is_wanted and own[-1].host == attempt.host and lease.gpu in own[-1].gpus
    return slot_host(progress, stage, index) == attempt.host


def attempts_before(attempt: Attempt, run: Run) -> tuple[str, ...]:
    """The ended attempts of a replica on this host: one of them has the leases of its slot."""
    return tuple(
        a.attempt_id
        for a in run.attempts
        if a.stage == attempt.stage and a.host == attempt.host and a.phase.is_final
    )[-MOST_BEFORE:]


def _heir_of(attempt: Attempt, index: Index) -> tuple[str, str] | None:
    """The replica that gets an attempt's GPUs: its own slot, or one of another release; None: no
    such replica is wanted."""
    for key, before in index.heirs.items():
        if any(each.attempt_id == attempt.attempt_id for each in before):
            return key
    key = (attempt.run_id, attempt.stage)
    return None if key in index.held and key not in index.slots else key


def slot_host(progress: Progress, stage: Stage, index: Index) -> str | None:
    """The host that keeps the GPUs of a replica that will start again; None: none."""
    run_id = progress.run.run_id
    if stage not in progress.slots and (run_id, stage.name) not in index.heirs:
        return None
    tries = index.tries(run_id, stage.name)
    last = tries[-1]
    host, snapshot = index.hosts.get(last.host), index.snapshot
    if host is None or host.drained is not None or not last.gpus or last.phase is Phase.LOST:
        return None
    if last.cause in _LEAVES or (last.host, last.runtime) in snapshot.ailing:
        return None
    is_heard = fresh_look(host, snapshot.now, snapshot.policy) is not None
    begun = _ran_until(tries, snapshot)
    if not is_heard:
        begun = max(begun, host.look.asked_at if host.look is not None else host.since)
    patience = PATIENCE if is_heard else stage.lost_after
    return host.name if snapshot.now - begun < patience else None


def _ran_until(tries: Sequence[Attempt], snapshot: Snapshot) -> float:
    """When the replica last ended, without attempts that never ran; not before this daemon
    began."""
    ran = [attempt for attempt in tries if attempt.cause not in _NOT_RUN]
    return max(ended_at((ran or tries)[-1], snapshot), snapshot.begun_at)
