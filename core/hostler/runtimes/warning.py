"""The request that warns a workload of its time limit, alike in all runtimes."""

from __future__ import annotations

from hostler.model.codec import from_json
from hostler.model.hosts import Workload
from hostler.model.time_limits import Warn, Warned
from hostler.ports import HostLink


async def warn_by(link: HostLink, verb: str, workload: Workload, warn: Warn) -> Warned:
    """Ask the agent; what it did."""
    payload = {
        "attempt_id": workload.attempt_id,
        "ref": workload.ref,
        "signal": warn.signal,
        "to": warn.to.value,
    }
    return from_json(Warned, await link.call(verb, payload))
