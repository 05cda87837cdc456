"""The kinds of events in the daemon's event log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """Every kind. The values are part of the API: they never change. docs/events.md describes
    them."""

    RUN_SUBMITTED = "run.submitted"
    RUN_CANCELLING = "run.cancelling"
    RUN_PRIORITY_LOWERED = "run.priority_lowered"
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    RUN_KEPT = "run.kept"
    RUN_KEPT_NO_LONGER = "run.kept_no_longer"
    RUN_REMOVED = "run.removed"
    RUN_RECOVERED = "run.recovered"

    ATTEMPT_PLACED = "attempt.placed"
    ATTEMPT_STARTED = "attempt.started"
    ATTEMPT_NOT_STARTED = "attempt.not_started"
    ATTEMPT_READY = "attempt.ready"
    ATTEMPT_WARNED = "attempt.warned"
    ATTEMPT_STOPPING = "attempt.stopping"
    ATTEMPT_SUCCEEDED = "attempt.succeeded"
    ATTEMPT_FAILED = "attempt.failed"
    ATTEMPT_REQUEUED = "attempt.requeued"
    ATTEMPT_CANCELLED = "attempt.cancelled"
    ATTEMPT_LOST = "attempt.lost"
    ATTEMPT_RECOVERED = "attempt.recovered"
    ATTEMPT_LOG_LOST = "attempt.log_lost"
    ATTEMPT_METRICS_LOST = "attempt.metrics_lost"
    ATTEMPT_FILES_HOLD_SECRETS = "attempt.files_hold_secrets"
    ATTEMPT_FILES_NOT_SAVED = "attempt.files_not_saved"
    ATTEMPT_FILES_STAY = "attempt.files_stay"
    ATTEMPT_STRAY = "attempt.stray"
    ATTEMPT_STRAY_OVER = "attempt.stray_over"
    ATTEMPT_GPU_CUT_OFF = "attempt.gpu_cut_off"
    ATTEMPT_GPU_CUT_OFF_OVER = "attempt.gpu_cut_off_over"

    SERVICE_SCALED = "service.scaled"
    SERVICE_STOPPING = "service.stopping"
    SERVICE_EXTENDED = "service.extended"
    SERVICE_FAILING = "service.failing"

    DEPLOY_OPENED = "deploy.opened"
    DEPLOY_SHIFTING = "deploy.shifting"
    DEPLOY_LIVE = "deploy.live"
    DEPLOY_FAILED = "deploy.failed"
    DEPLOY_RESTORED = "deploy.restored"

    HOST_UNREACHABLE = "host.unreachable"
    HOST_REFUSED = "host.refused"
    HOST_RETURNED = "host.returned"
    HOST_DRAINED = "host.drained"
    HOST_UNDRAINED = "host.undrained"
    HOST_STARTS_NOTHING = "host.starts_nothing"
    HOST_STARTS = "host.starts"
    HOST_NOISY = "host.noisy"
    HOST_MERGED = "host.merged"
    HOST_REMOVED = "host.removed"

    GPU_FAULT = "gpu.fault"
    GPU_XID = "gpu.xid"
    GPU_UNHEALTHY = "gpu.unhealthy"
    GPU_HEALTHY = "gpu.healthy"
    GPU_CONTESTED = "gpu.contested"
    GPU_SETTLED = "gpu.settled"

    WORKLOAD_UNKNOWN = "workload.unknown"
    WORKLOAD_NOT_REMOVED = "workload.not_removed"

    FILES_EXPIRING = "files.expiring"
    FILES_EXPIRING_FETCHED = "files.expiring_fetched"
    FILES_EXPIRY_OVER = "files.expiry_over"
    FILES_REMOVED = "files.removed"
    FILES_NOT_REMOVED = "files.not_removed"
    FILES_LOST = "files.lost"
    FILES_OVER_BUDGET = "files.over_budget"
    FILES_WITHIN_BUDGET = "files.within_budget"
    OUTPUTS_EXPIRING = "outputs.expiring"
    OUTPUTS_EXPIRY_OVER = "outputs.expiry_over"

    START_FAILED = "start.failed"
    RECORD_FAILED = "record.failed"
    FINISH_FAILED = "finish.failed"
    WARN_FAILED = "warn.failed"
    READY_FAILED = "ready.failed"
    SERVICE_FAILED = "service.failed"
    STOP_FAILED = "stop.failed"
    REMOVE_FAILED = "remove.failed"
    RELEASE_FAILED = "release.failed"
    END_FAILED = "end.failed"
    STEP_FAILED = "step.failed"

    STATE_FAILED = "state.failed"
    STATE_DAMAGED = "state.damaged"
    STATE_DISK_LOW = "state.disk_low"
    STATE_DISK_WELL = "state.disk_well"
    CONFIG_LOADED = "config.loaded"
    CONFIG_REFUSED = "config.refused"
    DAEMON_SUPERSEDED = "daemon.superseded"

    ALERT_ACKNOWLEDGED = "alert.acknowledged"
    ALERT_UNACKNOWLEDGED = "alert.unacknowledged"


FAILED = ".failed"
"""The ending of every kind that reports a failure."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for the log of events. `seq` only grows."""

    seq: int
    at: float
    kind: str
    """One of `EventKind`, or another kind of an earlier or later version."""
    message: str
    severity: str = "info"
    """"info", "warning" or "error"."""
    run_id: str | None = None
    stage: str | None = None
    attempt_id: str | None = None
    host: str | None = None
    actor: str | None = None
    """Unix user, if a person requested it."""
    gpu: str | None = None
    """UUID."""
