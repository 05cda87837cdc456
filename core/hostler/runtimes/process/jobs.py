"""The agent's input for a process job: its folder, where it starts, and its variables over the
login's (the agent's `jobenv` decides which of those stay)."""

from __future__ import annotations

import posixpath

from hostler.base.errors import InputError
from hostler.model.jobs import Job
from hostler.runtimes.command import contract_env, relative, service_spec
from hostler_agent.json_values import Outgoing


def created(job: Job) -> Outgoing:
    """The request that creates the attempt's folder."""
    return {
        "attempt_id": job.attempt_id,
        "daemon_id": job.daemon_id,
        "run_id": job.run_id,
        "stage": job.stage,
        "owner": job.owner,
        "gpus": list(job.gpus),
        "checkpoint": None if job.checkpoint is None else relative(job.checkpoint),
        "checkpoint_key": job.checkpoint_key,
        "make": [relative(folder) for folder in job.make],
        "here": job.code_path,
        "log_cap": job.log_cap,
        "grace": job.grace,
        **({} if job.service is None else {"service": service_spec(job.service)}),
    }


def process_env(job: Job) -> dict[str, str]:
    """Variables of the stage besides the login's own HOME, USER, PATH and the like. The agent adds
    those, and the variables that name folders on the host.

    Hostler's own variables and the granted GPUs override the job's own (lab, submitter, stage).
    Raises InputError if the index of a granted GPU is unknown.
    """
    return {**job.env, **contract_env(job, None), **_gpus(job)}


def working_folder(job: Job) -> str:
    """Where the command starts: relative to the attempt's own folder, or absolute if it is
    elsewhere (`code = "here"`: the submitter's)."""
    base = job.code_path or ""
    if job.workdir is None:
        return base
    if posixpath.isabs(job.workdir):
        return posixpath.normpath(job.workdir)
    return posixpath.join(base, relative(job.workdir))


def _gpus(job: Job) -> dict[str, str]:
    if not job.gpus:
        return {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void"}
    if len(job.gpu_indices) != len(job.gpus):
        raise InputError(
            f"the GPU indices of {job.attempt_id} on {job.host} are unknown",
            remedy="try again when the host answers",
        )
    # By number and not by UUID, which crashes some tools; in the order that NVML numbers them.
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in job.gpu_indices),
    }
