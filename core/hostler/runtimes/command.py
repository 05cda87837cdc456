"""Argument list and standard environment variables (HOSTLER_RUN, HOSTLER_GPUS, ...) of a stage, for
every runtime; with a shell and pipefail, or without."""

from __future__ import annotations

import base64
import posixpath

from hostler.base.errors import InputError
from hostler.model.codec import to_json
from hostler.model.jobs import Job
from hostler.model.services import Service
from hostler_agent.json_values import Outgoing

METRICS = ".hostler/metrics.jsonl"
"""Where a stage writes its metrics, relative to the working folder; `$HOSTLER_METRICS` names it."""


_NO_PIPEFAIL = "hostler: this sh has no pipefail: a pipe fails only where its last program does"


def argv(job: Job) -> list[str]:
    """The arguments to execute. With `shell` the one element of the command is a line for `sh`,
    with pipefail if that `sh` has it."""
    if not job.shell:
        return list(job.command)
    if job.plain_shell:
        return ["sh", "-c", *job.command]
    (line,) = job.command
    # Tried in a subshell, since a shell without it may end there. The line gets a shell of its own,
    # which becomes its last program as it always did, so that signals reach that.
    told = f"echo '{_NO_PIPEFAIL}' >&2; " if _has_pipe(line) else ""
    probe = (
        'if (set -o pipefail) 2>/dev/null; then exec sh -o pipefail -c "$0"; fi; '
        f'{told}exec sh -c "$0"'
    )
    return ["sh", "-c", probe, line]


def _has_pipe(line: str) -> bool:
    return "|" in line.replace("||", "")


def relative(path: str) -> str:
    """`path` normalised, relative to the working folder; "" is the working folder itself.

    Raises InputError for absolute paths, paths that lead out of the folder, and NUL.
    """
    clean = posixpath.normpath(path or ".")
    if posixpath.isabs(path) or clean == ".." or clean.startswith("../") or "\0" in path:
        raise InputError(
            f"{path!r} is not inside the working folder",
            remedy="use a path relative to the working folder, without '..'",
        )
    return "" if clean == "." else clean


def secret_values(job: Job) -> dict[str, str]:
    """The values of a job's secrets by name, in base64, as the agent takes them."""
    return {
        given.name: base64.b64encode(given.value.reveal().encode()).decode()
        for given in job.secrets
    }


def contract_env(job: Job, work: str | None) -> dict[str, str]:
    """Variables that every stage gets; `work` is its working folder as the stage sees it. None: the
    agent adds the variables that name it."""
    env = {
        "HOSTLER_RUN": job.run_id,
        "HOSTLER_STAGE": job.stage,
        "HOSTLER_ATTEMPT": job.attempt_id,
        "HOSTLER_GPUS": ",".join(job.gpus),
        "HOSTLER_GPU_COUNT": str(len(job.gpus)),
        "HOSTLER_CPUS": f"{job.cpus:.12g}",
    }
    if job.ram is not None:
        env["HOSTLER_RAM_BYTES"] = str(job.ram)
    if work is None:
        return env
    env |= {"HOSTLER_WORK": work, "HOSTLER_METRICS": posixpath.join(work, METRICS)}
    if job.checkpoint is not None:
        env["HOSTLER_CHECKPOINT"] = posixpath.join(work, relative(job.checkpoint))
    return env


def service_spec(service: Service) -> Outgoing:
    """The health check of a replica, for the host."""
    warmup = {} if service.warmup is None else {"warmup": to_json(service.warmup)}
    return {"health": to_json(service.health), **warmup}


def reserved(job: Job) -> list[str]:
    """Folders in the working folder that receive files, parents first, without "": archives may
    only have folders there."""
    wanted = {posixpath.dirname(METRICS)}
    wanted |= {relative(placement.target) for placement in job.placements}
    if job.checkpoint is not None:
        wanted.add(relative(job.checkpoint))
    return sorted({part for path in wanted for part in lineage(path)})


def lineage(path: str) -> list[str]:
    """A path and the folders above it, the uppermost first."""
    parts = path.split("/") if path else []
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
