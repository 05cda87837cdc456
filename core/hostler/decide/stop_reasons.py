"""Which open attempts to stop, and why (cancelled, time limit, wrong GPU, unhealthy, a failed
member of group or matrix), and when to warn of the time limit.
"""

from __future__ import annotations

from typing import NamedTuple

from hostler.base.units import format_duration
from hostler.decide.groups import Group
from hostler.decide.index import Index, OpenAttempt
from hostler.decide.services import unhealthy
from hostler.model.pipelines import Cause
from hostler.model.runs import Attempt
from hostler.model.service_wishes import why_unwanted


class StopReason(NamedTuple):
    """A reason to stop an attempt."""

    cause: Cause
    detail: str


def stop_reason_for(item: OpenAttempt, index: Index) -> StopReason | None:
    """Why to stop this attempt; None: it continues. The first recorded reason stays."""
    run, stage, attempt = item.run, item.stage, item.attempt
    if not attempt.phase.is_at_work:
        return None  # it has ended, and its results are kept even after a stop
    if attempt.stop_reason is not None:
        return StopReason(attempt.stop_reason, attempt.stop_detail)
    if run.cancelled_by is not None and run.run_id not in index.draining:
        return StopReason(Cause.STOPPED, f"by {run.cancelled_by}")
    if index.leaving and attempt.attempt_id in index.leaving:
        return StopReason(Cause.SUPERSEDED, index.leaving[attempt.attempt_id])
    limit = time_limit(item)
    if limit is not None and index.snapshot.now >= limit:
        return StopReason(Cause.TIME_LIMIT, f"ran longer than {format_duration(stage.timeout)}")
    if stage.service is not None and (found := _of_service(item, index)) is not None:
        return found
    stray = index.snapshot.strays.get(attempt.attempt_id)
    if stray is not None and stray.ends and index.snapshot.policy.strays == "stop":
        return StopReason(Cause.WRONG_GPU, f"computed {stray.where}")
    group = index.progress[run.run_id].groups.get(stage.name)
    reason = _of_group(attempt, group) if group is not None else None
    if reason is not None:
        return reason
    failed = index.progress[run.run_id].failed_bases.get(stage.base)
    if failed is not None:
        return StopReason(Cause.DEPENDENCY, f"{failed} failed (fail_fast)")
    return None


def _of_service(item: OpenAttempt, index: Index) -> StopReason | None:
    if why := why_unwanted(item.stage, item.run.services):
        return StopReason(Cause.STOPPED, why)
    found = unhealthy(item, index.fresh.get(item.attempt.host), index.snapshot.now)
    return None if found is None else StopReason(*found)


def _of_group(attempt: Attempt, group: Group) -> StopReason | None:
    """Why to stop a stage of a group, which runs completely or not at all; None: it continues."""
    if attempt.number < group.number:
        return StopReason(Cause.DEPENDENCY, "its group was placed again")
    if group.culprit is not None:
        why = f"{group.culprit.stage} of its group {group.how}"
        return StopReason(Cause.DEPENDENCY, why)
    if not group.is_whole:
        return StopReason(Cause.NOT_STARTED, "the rest of its group was not placed")
    return None


def time_limit(item: OpenAttempt) -> float | None:
    """When its time is over, on the daemon's clock; None: it has no limit or does not run yet.
    Outside a plan's index, an attempt counts as begun at the stored time."""
    begun = item.begun if item.begun is not None else item.attempt.launched_at
    if item.stage.timeout is None or begun is None:
        return None
    return begun + item.stage.timeout


def warn_at(item: OpenAttempt) -> float | None:
    """The time of the warning before its time limit; None: no warning, or already sent."""
    limit, warn = time_limit(item), item.stage.warn
    if limit is None or warn is None or item.attempt.warning:
        return None
    return limit - warn.before
