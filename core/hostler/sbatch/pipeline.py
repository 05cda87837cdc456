"""The pipeline file that a batch script means: its stage and matrix, the SLURM_ variables,
modules and login shell, and retries of a requeue."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

import tomli_w

from hostler.base.json_types import Json, JsonTable
from hostler.base.units import MIB
from hostler.model.pipeline_file import MAX_STAGES
from hostler.sbatch.job import BatchJob
from hostler.sbatch.limits import limit_keys
from hostler.sbatch.values import Array

STAGE = "run"
_CELL = "task"
_PLACE = re.compile(r"(?<!\$)\{([A-Za-z_][\w.-]*)\}", re.ASCII)
_NO_NAME = re.compile(r"[^a-z0-9._-]+")
_LONGEST = 63
NUMBERS = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID")
"""Variables that the daemon sets for stages with `slurm_commands`: they are made from ids."""
_SETS = re.compile(r"\b(SLURM\w*)=")
_LOGIN = re.compile(r"-[a-z]*l[a-z]*|--login")
_REQUEUE: JsonTable = {"max": 3, "on": ["host lost", "host rebooted", "GPU lost"]}
"""As in Slurm: if the node fails, not if the script fails."""

_COPY = """\
export SLURM_SUBMIT_DIR="$HOSTLER_WORK"
"""
_TEXT = """\
place=$HOSTLER_COMMANDS
[ -w "$place" ] || place=${{TMPDIR:-/tmp}}
script=$(mktemp "$place/script.XXXXXX") && printf %s "$1" >"$script" || exit 1
shift
set -- {interpreter} "$script" "$@"
export SLURM_SUBMIT_DIR="$PWD"
"""
_HOST = """\
SLURM_JOBID=$SLURM_JOB_ID
SLURM_JOB_NODELIST=$(uname -n)
SLURM_NODELIST=$SLURM_JOB_NODELIST
SLURMD_NODENAME=$SLURM_JOB_NODELIST
SLURM_GPUS_ON_NODE=$HOSTLER_GPU_COUNT
export SLURM_JOBID SLURM_JOB_NODELIST SLURM_NODELIST SLURMD_NODENAME
export SLURM_GPUS_ON_NODE
[ "$HOSTLER_ATTEMPT_NUMBER" = 1 ] || export SLURM_RESTART_COUNT=$((HOSTLER_ATTEMPT_NUMBER - 1))
"""
_MODULES = """\
for file in /etc/profile.d/z00_lmod.sh /etc/profile.d/lmod.sh /etc/profile.d/modules.sh \\
  /usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash /usr/share/Modules/init/bash; do
  [ -n "$BASH_ENV" ] || [ ! -r "$file" ] || export BASH_ENV="$file"
done
"""
_START = """\
exec "$@"
"""
_START_LOGIN = r"""
for name in srun scontrol sbatch squeue scancel; do
  set -- "BASH_FUNC_$name%%=() { \"$HOSTLER_COMMANDS/$name\" \"\$@\"; }" "$@"
done
exec env "$@"
"""
"""A login shell sets PATH anew, but keeps functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script, and its folders."""

    name: str
    """Its file name."""
    interpreter: tuple[str, ...]
    path: str
    """Path of the script, relative to the folder where it starts, or absolute."""
    submit_dir: str
    code: str
    """"here", or "snapshot": then the submitter's folder is the copy."""
    workdir: str | None = None
    """The folder where it starts, unless that is the code's folder itself."""
    env: Mapping[str, str]
    """Variables that `--export` names."""
    text: str | None = None
    """The script itself, if it is not a file of the code: then `path` is not used."""
    calls_modules: bool = False
    """Whether it calls `module`, which is a function of the shell."""


def pipeline_of(job: BatchJob, script: Script, more: Mapping[str, Json]) -> JsonTable:
    """The tables of its pipeline file. `more`: keys of the stage that `hostler run` was given,
    those of `resources` in a table of that name."""
    name = job.name or script.name
    words = (*script.interpreter, script.path) if script.text is None else (script.text,)
    stage: JsonTable = {
        "command": ["sh", "-c", _prelude(job, script), "sh", *map(literal, words), "{args}"],
        "env": {**_variables(job, name, script), **_literals(script.env)},
        "resources": _resources(job),
        "code": script.code,
        "slurm_commands": True,
    }  # fmt: skip
    if job.log_file:
        stage["slurm_output"] = job.log_file
    if job.error_file not in ("", job.log_file):
        stage["slurm_error"] = job.error_file
    if script.workdir:
        stage["workdir"] = literal(script.workdir)
    if job.time is not None:
        stage["timeout"] = f"{job.time:.0f}s"
    if job.requeue:
        stage["retries"] = _REQUEUE
    if job.array is not None:
        stage |= _cells(job.array)
    whole = _with(stage, more)
    title = "".join(char if char.isprintable() else " " for char in name).strip() or STAGE
    return {
        "name": plain_name(name),
        "title": title,
        "stages": {STAGE: whole | limit_keys(job, whole)},
    }


def text_of(tables: JsonTable) -> str:
    """The text of a pipeline file."""
    return tomli_w.dumps(tables, multiline_strings=True)


def variables_of(tables: JsonTable) -> frozenset[str]:
    """Names of the variables of Slurm that a script finds."""
    stages = tables["stages"]
    stage = stages[STAGE] if isinstance(stages, dict) else None
    found = stage if isinstance(stage, dict) else {}
    command, env = found.get("command"), found.get("env")
    prelude = str(command[2]) if isinstance(command, list) else ""
    return frozenset((*(env if isinstance(env, dict) else ()), *_SETS.findall(prelude), *NUMBERS))


def plain_name(text: str) -> str:
    """A name that a pipeline may have."""
    return _NO_NAME.sub("-", text.lower()).strip("._-")[:_LONGEST] or STAGE


def literal(text: str) -> str:
    """Text without placeholders: `{params.x}` in it stays unchanged."""
    return _PLACE.sub(r"{{\1}}", text)


def _literals(env: Mapping[str, str]) -> JsonTable:
    return {name: literal(value) for name, value in env.items()}


def _with(stage: JsonTable, more: Mapping[str, Json]) -> JsonTable:
    merged = {**stage, **more}
    for key in ("env", "resources"):
        first, second = stage.get(key), more.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            merged[key] = {**first, **second}
    return merged


def _prelude(job: BatchJob, script: Script) -> str:
    """The command of `sh -c`: it sets values that only the host knows, and then executes the
    script."""
    folder = "" if script.code == "here" else _COPY
    if script.text is not None:
        folder = _TEXT.format(interpreter=literal(shlex.join(script.interpreter)))
    modules = _MODULES if script.calls_modules else ""
    login = _is_login(script.interpreter)
    return folder + _HOST + modules + (_START_LOGIN if login else _START)


def _is_login(interpreter: tuple[str, ...]) -> bool:
    """Whether it is a bash that reads the login's profile."""
    words = " ".join(interpreter).split()
    is_bash = any(PurePath(word).name == "bash" for word in words)
    return is_bash and any(_LOGIN.fullmatch(word) for word in words)


def _resources(job: BatchJob) -> JsonTable:
    found: JsonTable = {"cpus": job.cpus}
    if job.gpus:
        found["gpus"] = job.gpus
        if job.gpu_models:
            first, *more = job.gpu_models
            found["gpu_model"] = [*job.gpu_models] if more else first
    if job.memory:
        found["ram"] = f"{-(-job.memory // MIB)}MiB"
    if job.disk:
        found["disk"] = f"{-(-job.disk // MIB)}MiB"
    if job.labels:
        found["labels"] = {**job.labels}
    return found


def _variables(job: BatchJob, name: str, script: Script) -> JsonTable:
    """The variables of Slurm whose values are known before the start."""
    cpus = str(job.cpus)
    found: JsonTable = {
        "SLURM_JOB_NAME": literal(name),
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_TASKS_PER_NODE": str(job.tasks),
        "SLURM_CPUS_ON_NODE": cpus,
        "SLURM_JOB_CPUS_PER_NODE": cpus,
    }
    if script.code == "here":
        found["SLURM_SUBMIT_DIR"] = literal(script.submit_dir)
    if job.cpus_per_task is not None:
        found["SLURM_CPUS_PER_TASK"] = str(job.cpus_per_task)
    if job.gpus:
        found["SLURM_GPUS"] = found["SLURM_GPUS_PER_NODE"] = str(job.gpus)
    if job.memory:
        found["SLURM_MEM_PER_NODE"] = str(job.memory // MIB)
    found |= _of_tasks(job)
    asked = {"ACCOUNT": job.account, "PARTITION": job.asked_partition, "QOS": job.qos}
    found |= {f"SLURM_JOB_{name}": literal(text) for name, text in asked.items() if text}
    return found | (_of_array(job.array) if job.array is not None else {})


def _of_tasks(job: BatchJob) -> JsonTable:
    """As in sbatch, only if tasks were requested: programs take these variables for a start by
    srun."""
    found: JsonTable = {}
    if job.has_tasks:
        found["SLURM_NTASKS"] = found["SLURM_NPROCS"] = str(job.tasks)
    if job.tasks_per_node is not None:
        found["SLURM_NTASKS_PER_NODE"] = str(job.tasks_per_node)
    return found


def _of_array(array: Array) -> JsonTable:
    return {
        "SLURM_ARRAY_TASK_ID": f"{{matrix.{_CELL}}}",
        "SLURM_ARRAY_TASK_COUNT": str(len(array.ids)),
        "SLURM_ARRAY_TASK_MIN": str(array.ids[0]),
        "SLURM_ARRAY_TASK_MAX": str(array.ids[-1]),
        "SLURM_ARRAY_TASK_STEP": str(array.step),
    }


def _cells(array: Array) -> JsonTable:
    first, last = array.ids[0], array.ids[-1]
    span = range(first, last + 1, array.step)
    whole = len(span) == len(array.ids) and array.ids == tuple(span)  # a span may be huge
    values: Json = {"from": first, "to": last, "step": array.step} if whole else [*array.ids]
    found: JsonTable = {"matrix": {_CELL: values}, "fail_fast": False}
    return found | ({"max_parallel": min(array.at_once, MAX_STAGES)} if array.at_once else {})
