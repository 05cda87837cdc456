"""Requests to a host about time limits, for all runtimes: warn a workload, read its checkpoint."""

from __future__ import annotations

from hostler.model.codec import from_json
from hostler.model.hosts import Workload
from hostler.model.time_limits import CheckpointSeen, Warn, Warned
from hostler.ports import HostLink
from hostler.runtimes.command import relative

_TIMEOUT_S = 60.0
"""A checkpoint may have very many files."""


async def warn_by(link: HostLink, verb: str, workload: Workload, warn: Warn) -> Warned:
    """Ask the agent to warn; what it did."""
    payload = {
        "attempt_id": workload.attempt_id,
        "ref": workload.ref,
        "signal": warn.signal,
        "to": warn.to.value,
    }
    return from_json(Warned, await link.call(verb, payload))


async def checkpoint_by(
    link: HostLink, verb: str, workload: Workload, path: str, beside: str | None
) -> CheckpointSeen:
    """Ask the agent when the checkpoint was last written."""
    payload = {
        "attempt_id": workload.attempt_id,
        "ref": workload.ref,
        "path": relative(path),
        "beside": beside,
        "since": workload.started_at,
        "until": workload.finished_at,
    }
    return from_json(CheckpointSeen, await link.call(verb, payload, _TIMEOUT_S))
