"""Environment variables of a process job (those kept of the login, PATH, metrics file), and the
commands before its own: virtual environment, modules, conda.

Pure, except for checks which folders exist here and whether there is a requirements file.
"""

from __future__ import annotations

import os
import sys
from typing import Dict, List, Mapping, Sequence

from hostler_agent.fields import optional_text
from hostler_agent.folders import Refusal
from hostler_agent.journal import Created
from hostler_agent.json_values import Message

_KEPT = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
_PATH = "/usr/local/bin:/usr/bin:/bin"
WHEELS = "wheels"
"""The folder in a job's folder with wheels that the daemon has fetched."""
METRICS = os.path.join(".hostler", "metrics.jsonl")
"""File in the working folder that `HOSTLER_METRICS` names."""


def environment(
    login: Mapping[str, str],
    given: Mapping[str, str],
    created: Created,
    work: str,
    gpu_indices: Sequence[int],
) -> Dict[str, str]:
    """All variables of a job: a few of the login's, Hostler's own, and the given ones. The given
    ones override the others, except the variables that name the attempt, its folders and its
    GPUs."""
    env = {name: login[name] for name in _KEPT if name in login}
    env.setdefault("PATH", _PATH)
    env["HOSTLER_RUN"] = created.run_id
    env["HOSTLER_STAGE"] = created.stage
    env.update(_seen_here(given, env["PATH"]))
    env["HOSTLER_ATTEMPT"] = created.attempt_id
    env["HOSTLER_WORK"] = work
    env["HOSTLER_METRICS"] = os.path.join(work, METRICS)
    if created.checkpoint:
        env["HOSTLER_CHECKPOINT"] = os.path.join(work, created.checkpoint)
    env["HOSTLER_GPUS"] = ",".join(created.gpus)
    # Some tools crash with UUIDs here; indices match NVML's only in PCI order.
    env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    env["CUDA_VISIBLE_DEVICES"] = ",".join(str(index) for index in gpu_indices)
    return env


def _seen_here(given: Mapping[str, str], path: str) -> Dict[str, str]:
    """The given variables, without environments and PATH folders that do not exist here."""
    env = dict(given)
    for names in (("VIRTUAL_ENV",), ("CONDA_PREFIX", "CONDA_DEFAULT_ENV")):
        if names[0] in env and not os.path.isdir(env[names[0]]):
            for name in names:
                env.pop(name, None)
    if "PATH" in env:
        folders = [folder for folder in env["PATH"].split(os.pathsep) if os.path.isdir(folder)]
        folders += [folder for folder in path.split(os.pathsep) if folder not in folders]
        env["PATH"] = os.pathsep.join(folders)
    return env


def prepared_command(
    argv: Sequence[str], payload: Message, job: str, venvs: str, keep: Sequence[str]
) -> List[str]:
    """The command that first prepares the requested environment, and then executes `argv`. `keep`:
    names of variables that must not change. Raises Refusal."""
    venv = optional_text(payload, "venv")
    if venv:
        wanted = os.path.normpath(os.path.join(optional_text(payload, "cwd") or "", venv))
        package = os.path.dirname(os.path.abspath(__file__))
        wheels = payload.get("wheels") is True
        argv = venv_command(argv, job, wanted, venvs, package, wheels=wheels)
    return loaded_command(argv, payload, keep)  # the build may need modules too


def loaded_command(argv: Sequence[str], payload: Message, keep: Sequence[str]) -> List[str]:
    """The command that loads the requested modules and conda environment, and then executes `argv`.
    Raises Refusal."""
    if not payload.get("modules") and not payload.get("conda"):
        return list(argv)
    from hostler_agent import environments

    return environments.command(argv, payload, keep)


def venv_command(
    argv: Sequence[str], job: str, wanted: str, venvs: str, package: str, wheels: bool = False
) -> List[str]:
    """The command that builds the virtual environment if needed and then executes `argv`.

    `wanted` names the requirements file in the working folder of the folder `job`. With `wheels`
    the wheels in the job's folder are installed. Raises Refusal when there is no such file or
    folder.
    """
    requirements = os.path.join(job, "work", wanted)
    if not os.path.isfile(requirements):
        message = "there is no file %s in the working folder, which `venv` asks for" % wanted
        raise Refusal(message, "InputError")
    script = os.path.join(package, "venv.py")
    own = os.path.join(job, "venv")
    fetched = os.path.join(job, WHEELS) if wheels else ""
    if wheels:
        _check_wheels(fetched)
    return [sys.executable, "-I", "-S", script, venvs, own, requirements, fetched, "--", *argv]


def _check_wheels(folder: str) -> None:
    from hostler_agent.venv import WHEELS_LIST  # few jobs need it

    if not os.path.isfile(os.path.join(folder, WHEELS_LIST)):
        raise Refusal("the packages of the job were not placed", "ConflictError")
