"""From a host's health reports: whether a replica is ready, is too late at startup, or is restarted
as unhealthy; and when a service ends.
"""

from __future__ import annotations

from collections.abc import Mapping

from hostler.base.units import format_duration
from hostler.decide.index import OpenAttempt
from hostler.decide.progress import Progress
from hostler.model.hosts import Health, Look, Workload
from hostler.model.pipelines import Cause
from hostler.model.plans import MarkReady
from hostler.model.runs import Attempt
from hostler.model.service_wishes import ends_at

Unhealthy = tuple[Cause, str]


def readiness(attempt: Attempt, workload: Workload, look: Look | None) -> MarkReady | None:
    """The note that a replica is ready now; None: nothing to note. A check counts from its first
    good answer since this start. The host checks under the attempt's id, and only after the attempt
    has a port."""
    if attempt.ready_at is not None or look is None:
        return None
    health = look.health.get(attempt.attempt_id)
    if health is None or not health.ok:
        return None
    return MarkReady(attempt, workload.port, workload.address)


def unhealthy(item: OpenAttempt, look: Look | None, now: float) -> Unhealthy | None:
    """Why a replica should be restarted; None: it may continue. A silent host proves nothing."""
    service, attempt = item.stage.service, item.attempt
    if service is None or look is None or attempt.launched_at is None:
        return None
    health = look.health.get(attempt.attempt_id)
    if attempt.ready_at is None:
        return _too_late(item, health, now)
    if health is None or health.ok or look.up is None:
        return None
    if look.up - health.since < service.health.patience:
        return None
    failing = format_duration(float(int(look.up - health.since)))
    return Cause.UNHEALTHY, f"it failed its health checks for {failing}{_said(health)}"


def startup_ends(item: OpenAttempt) -> float | None:
    """The deadline for a replica to be ready; None: it is ready, or not launched yet."""
    service, attempt = item.stage.service, item.attempt
    if service is None or attempt.launched_at is None or attempt.ready_at is not None:
        return None
    begun = item.since if item.since is not None else attempt.launched_at
    return begun + service.startup


def service_ends(progress: Progress) -> Mapping[str, float]:
    """The end times (`until`) of the services of a run that were not stopped."""
    run, found = progress.run, {}
    for stage in progress.services:
        wish = run.services.get(stage.base)
        at = ends_at(stage, run.services, run.submitted_at)
        if at is not None and not (wish is not None and wish.stopped):
            found[stage.base] = at
    return found


def _too_late(item: OpenAttempt, health: Health | None, now: float) -> Unhealthy | None:
    ends = startup_ends(item)
    if ends is None or now < ends or item.stage.service is None:
        return None
    after = format_duration(item.stage.service.startup)
    return Cause.UNHEALTHY, f"it was not ready after {after} (`startup`){_said(health)}"


def _said(health: Health | None) -> str:
    return f": {health.said}" if health is not None and health.said else ""
