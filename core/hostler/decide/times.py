"""Elapsed times by clocks that can be compared after a restart of the daemon: since when an attempt
runs, when it ended.

A daemon reads the wall clock at its start; from then on its clock is steady. Times that an earlier
daemon stored are from another such clock, and the wall clock may have been set meanwhile. So no
decision compares times of both. The host measures how long a workload runs.
"""

from __future__ import annotations

from hostler.model.hosts import Look, Workload
from hostler.model.plans import Snapshot
from hostler.model.runs import Attempt, Phase

_SLACK_S = 30.0
"""Seconds by which a start may return later than its work began."""


def known_since(attempt: Attempt, snapshot: Snapshot) -> float:
    """When it was launched, or placed; for an attempt of an earlier daemon, when this daemon
    began."""
    if attempt.attempt_id in snapshot.earlier:
        return snapshot.begun_at
    return attempt.placed_at if attempt.launched_at is None else attempt.launched_at


def ended_at(attempt: Attempt, snapshot: Snapshot) -> float:
    """When it ended, or was placed if the end is unknown. An attempt that ended under an earlier
    daemon ended before this one began, whatever time is stored."""
    seen = snapshot.ended.get(attempt.attempt_id)
    if seen is not None:
        return seen
    noted = attempt.placed_at if attempt.finished_at is None else attempt.finished_at
    return min(noted, snapshot.begun_at) if attempt.attempt_id in snapshot.earlier else noted


def begun_at(
    attempt: Attempt, snapshot: Snapshot, look: Look | None, workload: Workload | None
) -> float | None:
    """Since when it runs, by the clock of its host; None: it does not run yet.

    If the host does not report that, its launch counts; for an attempt of an earlier daemon, only
    the time since this daemon began. A wall clock may be changed while the attempt runs, so it is
    used only for attempts that this daemon did not launch.
    """
    if attempt.launched_at is None and attempt.phase is not Phase.RUNNING:
        return None
    known = known_since(attempt, snapshot)
    measured = measured_start(look, workload)
    if measured is None:
        return known
    if attempt.attempt_id in snapshot.earlier:
        return measured
    return measured if _by_boot_clock(look, workload) and measured < known - _SLACK_S else known


def measured_start(look: Look | None, workload: Workload | None) -> float | None:
    """When a running workload began, on the daemon's clock; None: its host does not report that.

    It is measured by the host's clock since boot, which cannot be changed, or else by its wall
    clock.
    """
    if look is None or workload is None or not workload.running:
        return None
    if look.up is not None and workload.started_up is not None:
        ran = look.up - workload.started_up
    elif look.wall is not None and workload.started_at is not None:
        ran = look.wall - workload.started_at
    else:
        return None
    return look.asked_at - max(0.0, ran)


def _by_boot_clock(look: Look | None, workload: Workload | None) -> bool:
    if look is None or workload is None:
        return False
    return look.up is not None and workload.started_up is not None
