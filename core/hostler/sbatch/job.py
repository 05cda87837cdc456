"""What the options of a batch script ask for together: GPUs, CPUs, memory, nodes, tasks,
dependencies; the largest numbers; notes about unused options."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hostler.base.errors import InputError
from hostler.base.readers import MAX_BYTES, read_env
from hostler.base.text import shown
from hostler.sbatch.header import Option, options_of, remedy_for
from hostler.sbatch.limits import BatchSignal, read_batch_signal
from hostler.sbatch.options import REFUSED, UNUSED
from hostler.sbatch.values import (
    Array,
    Gpus,
    read_array,
    read_gpus,
    read_gres,
    read_memory,
    read_number,
    read_time,
)

T = TypeVar("T")
_RUN = re.compile(r"\w{1,40}", re.ASCII)
_NODES = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_WAITS = {"afterok": "after", "afterany": "after_any"}
_EXPORTS = ("ALL", "NONE", "NIL")
"""Words of `--export` other than variables, in upper or lower case."""
_TASKS = ("ntasks", "ntasks-per-node", "ntasks-per-gpu")
_MOST_CPUS = 4096
_MOST_GPUS = 1024
_ONE_HOST = "a run has one host until stages over several hosts are supported"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJob:
    """The requests of one script. A field that is None was not requested."""

    name: str | None = None
    gpus: int = 0
    gpu_models: tuple[str, ...] = ()
    """Any of these models; empty: any model."""
    tasks: int = 1
    has_tasks: bool = False
    """Whether the number of tasks was requested."""
    tasks_per_node: int | None = None
    cpus_per_task: int | None = None
    cpus: int = 1
    """For all tasks together."""
    memory: int | None = None
    """Bytes, for all tasks together."""
    time: float | None = None
    """Seconds."""
    array: Array | None = None
    disk: int | None = None
    """Bytes that must be free."""
    account: str = ""
    qos: str = ""
    output: str = ""
    """The value of `--output`."""
    error: str = ""
    log_file: str = ""
    """A second path for the log, relative to the folder where the script starts."""
    error_file: str = ""
    """A second path for standard error: the same file as the log, or another one."""
    chdir: str | None = None
    export: tuple[str, ...] = ("ALL",)
    requeue: bool = False
    after: tuple[str, ...] = ()
    """Runs that must succeed before."""
    after_any: tuple[str, ...] = ()
    """Runs that must end before."""
    asked_partition: str = ""
    partition: str = ""
    """The requested partition, if the configuration does not map it."""
    constraint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the host."""
    signal: BatchSignal | None = None
    unused: tuple[str, ...] = ()
    """Unused parts of the header, in its order."""

    @property
    def notes(self) -> tuple[str, ...]:
        """The unused parts of the header, one per line."""
        return _notes(self)


def read_job(text: str, more: Sequence[Option] = ()) -> BatchJob:
    """The requests in the header, and `more` options, which win. Raises InputError, which names the
    line."""
    options = [*options_of(text), *more]
    header = _Header({option.name: option for option in options})
    for option in options:
        if option.name in REFUSED:
            raise header.problem(option, "is not supported", REFUSED[option.name])
    found = header.read("gres", read_gres) or Gpus()
    tasks, gpus = _tasks_and_gpus(header, found)
    per_task = header.read("cpus-per-task", read_number)
    cpus = (per_task or 1) * tasks
    per_gpu = header.read("cpus-per-gpu", read_number)
    cpus = max(cpus, per_gpu * gpus.count) if per_gpu else cpus
    memory = _memory(header, cpus, gpus.count)
    header.check(("cpus-per-task", "cpus-per-gpu", *_TASKS), cpus, _MOST_CPUS, "CPUs")
    header.check(("gpus-per-task", "gpus", "gres", *_TASKS), gpus.count, _MOST_GPUS, "GPUs")
    header.check(("mem-per-cpu", "mem-per-gpu"), memory or 0, MAX_BYTES, "bytes of memory")
    waits = header.read("dependency", _dependency) or {}
    return BatchJob(
        name=header.text("job-name"),
        gpus=gpus.count,
        gpu_models=(gpus.model,) if gpus.model else (),
        tasks=tasks,
        has_tasks=header.has(*_TASKS),
        tasks_per_node=header.read("ntasks-per-node", read_number),
        cpus_per_task=per_task,
        cpus=cpus,
        memory=memory,
        time=header.read("time", read_time),
        array=header.read("array", read_array),
        disk=header.read("tmp", read_memory) or None,
        account=header.text("account") or "",
        qos=header.text("qos") or "",
        output=header.text("output") or "",
        error=header.text("error") or "",
        chdir=header.text("chdir"),
        export=header.read("export", _export) or ("ALL",),
        requeue=_requeues(options),
        after=tuple(waits.get("after", ())),
        after_any=tuple(waits.get("after_any", ())),
        asked_partition=header.text("partition") or "",
        partition=header.text("partition") or "",
        constraint=header.text("constraint") or "",
        signal=header.read("signal", read_batch_signal),
        unused=_unused(options, found),
    )


class _Header:
    """The options by their names: the last of each counts."""

    def __init__(self, options: Mapping[str, Option]) -> None:
        self._options = options

    def has(self, *names: str) -> bool:
        return any(name in self._options for name in names)

    def text(self, name: str) -> str | None:
        option = self._options.get(name)
        return option.value if option is not None else None

    def read(self, name: str, reader: Callable[[str], T]) -> T | None:
        option = self._options.get(name)
        if option is None:
            return None
        try:
            return reader(option.value)
        except ValueError as error:
            raise InputError(
                f"{option.place}--{name}: {error}", remedy=remedy_for(option.value)
            ) from None

    def check(self, names: Iterable[str], value: int, most: int, what: str) -> None:
        """Refuse a sum that no host can have; the error names a line that contributes to it."""
        if value <= most:
            return
        place = next(self._options[name].place for name in names if name in self._options)
        raise InputError(
            f"{place}the script asks for {value:,} {what}; at most {most:,} are allowed",
            remedy="Correct this line",
        )

    def problem(self, option: Option, what: str, remedy: str) -> InputError:
        return InputError(
            f"{option.place}--{option.name} {what}",
            remedy=f"Remove the line, and {remedy}",
        )

    def several_nodes(self, name: str, count: int) -> InputError:
        place = self._options[name].place
        return InputError(
            f"{place}--{name} asks for {count} nodes, and {_ONE_HOST}",
            remedy="Ask for one node, with as many GPUs as one host has",
        )


def _tasks_and_gpus(header: _Header, found: Gpus) -> tuple[int, Gpus]:
    """Either may follow from the other, by `--ntasks-per-gpu`."""
    tasks = _tasks(header)
    gpus = _gpus(header, found, tasks)
    each = header.read("ntasks-per-gpu", read_number)
    if each and gpus.count and not header.has("ntasks", "ntasks-per-node"):
        return each * gpus.count, gpus
    if each and not gpus.count:
        return tasks, Gpus(-(-tasks // each), gpus.model)
    return tasks, gpus


def _tasks(header: _Header) -> int:
    nodes = header.read("nodes", _nodes) or 1
    if nodes > 1:
        raise header.several_nodes("nodes", nodes)
    each = header.read("ntasks-per-node", read_number)
    tasks = header.read("ntasks", read_number)
    if each and tasks and tasks > each:
        raise header.several_nodes("ntasks-per-node", -(-tasks // each))
    return tasks or each or 1


def _nodes(text: str) -> int:
    match = _NODES.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not a number of nodes")
    return int(match[1])


def _gpus(header: _Header, found: Gpus, tasks: int) -> Gpus:
    """The largest number that any of the options requests; they usually state the same number
    twice."""
    task = header.read("gpus-per-task", read_gpus) or Gpus()
    asked = [
        found,
        header.read("gpus", read_gpus) or Gpus(),
        header.read("gpus-per-node", read_gpus) or Gpus(),
        Gpus(task.count * tasks, task.model),
    ]
    model = next((gpus.model for gpus in asked if gpus.model), "")
    return Gpus(max(gpus.count for gpus in asked), model)


def _memory(header: _Header, cpus: int, gpus: int) -> int | None:
    """None also for `--mem=0`, which means all memory of the host: the job gets a share by GPUs
    instead."""
    for name, times in (("mem", 1), ("mem-per-cpu", cpus), ("mem-per-gpu", gpus)):
        size = header.read(name, read_memory)
        if size:
            return size * times or None
    return None


def _export(text: str) -> tuple[str, ...]:
    parts = text.split(",")
    read_env(dict(part.split("=", 1) for part in parts if "=" in part))
    return tuple(part.upper() if part.upper() in _EXPORTS else part for part in parts)


def _dependency(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        kind, *runs = part.split(":")
        if kind not in _WAITS or not runs or not all(map(_RUN.fullmatch, runs)):
            raise ValueError(f"{shown(text)}: only afterok:RUN and afterany:RUN are supported")
        found.setdefault(_WAITS[kind], []).extend(runs)
    return found


def _requeues(options: list[Option]) -> bool:
    said = [option.name for option in options if option.name in ("requeue", "no-requeue")]
    return said[-1:] == ["requeue"]


def _unused(options: list[Option], gres: Gpus) -> tuple[str, ...]:
    told = (*UNUSED, "partition", "output", "error")
    names = [option.name for option in options if option.name in told]
    return tuple(dict.fromkeys([*names, *(f"gres {name}" for name in gres.others)]))


def _notes(job: BatchJob) -> tuple[str, ...]:
    lines = []
    used = {
        "partition": not job.partition,
        "output": bool(job.log_file),
        "error": bool(job.error_file),
    }
    unused = [name for name in job.unused if not used.get(name)]
    if unused:
        lines.append(f"not used: {', '.join(unused)}")
    if "exclusive" in job.unused and not job.gpus:
        lines.append("--exclusive gives no GPU here: write --gres=gpu:N, or use --gpus N")
    if job.constraint:
        lines.append(
            f"--constraint={job.constraint} is not used: [slurm.features] of config.toml does not "
            "have it; --host and --model choose among hosts"
        )
    return tuple(lines)
