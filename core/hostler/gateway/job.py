"""The processes of a gateway as jobs of the agent: restart when they fail, and a log of at most 1
MiB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hostler.base.failpoints import failpoint
from hostler.model.gateway_config import gateway_of
from hostler.ports import HostLink
from hostler_agent.json_values import Outgoing

_LOG_CAP = 1024 * 1024


def job(
    daemon_id: str,
    job_id: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    again: bool = False,
) -> Outgoing:
    """The payload that starts one. `again`: its shim restarts it when it fails."""
    created = {
        "daemon_id": gateway_of(daemon_id), "run_id": "gateway", "stage": "gateway",
        "owner": "hostler", "gpus": [], "log_cap": _LOG_CAP, "grace": 5.0,
    }  # fmt: skip
    hidden = {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void"}
    return {
        "attempt_id": job_id, "create": created, "argv": list(argv), "env": {**hidden, **env},
        "cwd": "", "gpu_indices": [], "again": again,
    }  # fmt: skip


async def end_job(link: HostLink, job_id: str, within: float) -> None:
    """End and remove it, if it exists. Raises HostError."""
    if (await link.call("job.inspect", {"attempt_id": job_id}))["workload"] is not None:
        await link.call("job.stop", {"attempt_id": job_id, "grace": 5.0}, within)
        failpoint("after_gateway_stop")
        await link.call("job.remove", {"attempt_id": job_id})
