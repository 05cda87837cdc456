"""The variables of a stage that runs as a plain process. Pure."""

from __future__ import annotations

import posixpath

from hostler.errors import InputError
from hostler.model.jobs import Job
from hostler.runtimes.contract import contract_env, relative

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def process_env(job: Job, folder: str) -> dict[str, str]:
    """All variables of the stage; `folder` is its working folder on the host.

    The job's own (lab, submitter, stage, in that order) win over what a login would have; what
    Hostler says and the GPUs that were granted win over everything.
    Raises InputError where the index of a granted GPU is not known.
    """
    env = {"PATH": _PATH, "LANG": "C.UTF-8"}
    if job.home is not None:
        env["HOME"] = job.home
    if job.user is not None:
        env |= {"USER": job.user, "LOGNAME": job.user}
    env |= job.env
    env |= contract_env(job, folder)
    env |= _gpus(job)
    return env


def working_folder(job: Job, folder: str) -> str:
    """Where the command starts: the attempt's own folder, or the submitter's (`code = "here"`)."""
    base = job.code_path or folder
    if job.workdir is None:
        return base
    if posixpath.isabs(job.workdir):
        return posixpath.normpath(job.workdir)
    return posixpath.normpath(posixpath.join(base, relative(job.workdir)))


def _gpus(job: Job) -> dict[str, str]:
    if not job.gpus:
        return {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void"}
    if len(job.gpu_indices) != len(job.gpus):
        raise InputError(
            f"the numbers of the GPUs of {job.attempt_id} on {job.host} are not known",
            remedy="wait until the host was looked at again",
        )
    # By number and not by UUID, which crashes some tools; in the order that NVML numbers them.
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in job.gpu_indices),
    }
