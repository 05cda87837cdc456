"""Limits of runs that a stage submits (at most 100 runs and 10,000 stages in a tree): resources,
hosts and rights, never more than the stage itself has.

The host that runs the stage may send any request in its name. So the new stages are copies of that
stage. Only the command, the amount of resources and the time come from the request.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from hostler.base.errors import ConflictError, InputError
from hostler.model.pipelines import Resources, Stage

MOST_RUNS = 100
"""Most runs that the stages of a run may submit, including the runs that those submit."""
MOST_STAGES = 10_000
"""Most stages of all these runs together."""
MOST_TEXT = 4 * 1024 * 1024
"""Most bytes of a script with its options and arguments, times the tasks of its array: each task
stores them."""


def check_room(runs: int, stages: int, new: int) -> None:
    """Raises ConflictError if a tree of runs is full. `runs`: the runs in it that stages submitted;
    `stages`: the stages of all its runs; `new`: the stages of one more run."""
    if runs >= MOST_RUNS:
        raise ConflictError(
            f"this run, with the runs that it submitted, has submitted {runs} runs, which is the "
            "maximum",
            remedy="Submit the others from outside, or use an array",
        )
    if stages + new > MOST_STAGES:
        raise ConflictError(
            f"this run and the runs that it submitted would have {stages + new:,} stages; at most "
            f"{MOST_STAGES:,} are allowed",
            remedy="Use smaller arrays",
        )


def check_size(text: str, words: Collection[str], tasks: int) -> None:
    """Raises InputError for a long script in a large array. `words`: its options and arguments,
    which may be as long as the script; each task stores its variables, too."""
    size = sum(len(each.encode()) for each in (text, *words))
    if size * tasks > MOST_TEXT:
        raise InputError(
            f"a script of {size:,} bytes with its options and arguments, in an array of {tasks:,} "
            "tasks, is too large",
            remedy="Put the work into a file of the code, and let the script call it",
        )


def nested_stages(
    parent: Stage, asked: Sequence[Stage], hosts: Collection[str], workdir: str | None
) -> tuple[Stage, ...]:
    """The stages of the new run. `hosts`: the hosts that the parent stage may use. Raises
    InputError if a stage asks for others."""
    return tuple(_nested(parent, stage, hosts, workdir) for stage in asked)


def _nested(parent: Stage, asked: Stage, hosts: Collection[str], workdir: str | None) -> Stage:
    """One new stage. All fields come from the parent except those named here, so that a field added
    later grants no right."""
    return replace(
        parent,
        name=asked.name,
        base=asked.base,
        kind=asked.kind,
        command=asked.command,
        shell=False,
        plain_shell=False,
        slurm_commands=True,
        slurm_output=asked.slurm_output if parent.image is None else None,
        slurm_error=asked.slurm_error if parent.image is None else None,
        cell=asked.cell,
        env={**_own(parent), **asked.env},
        workdir=workdir,
        program=None,
        needs=(),
        needs_ended=frozenset(),
        after=(),
        when=None,
        conditions=(),
        resources=_resources(parent.resources, asked.resources, hosts),
        timeout=asked.timeout,
        warn=asked.warn,
        on_timeout=asked.on_timeout,
        retries=asked.retries,
        inputs={},
        spread=frozenset(),
        outputs={},
        keep=parent.keep,
        checkpoint=None,
        max_parallel=asked.max_parallel,
        fail_fast=asked.fail_fast,
    )


def _own(parent: Stage) -> dict[str, str]:
    """The parent's variables, except those of its Slurm job (SLURM_*)."""
    return {name: value for name, value in parent.env.items() if not name.startswith("SLURM_")}


def _resources(parent: Resources, asked: Resources, hosts: Collection[str]) -> Resources:
    for name, value in asked.labels.items():
        if parent.labels.get(name, value) != value:
            raise InputError(
                f"the script asks for hosts with {name}={value}, but this run may only use hosts "
                f"with {name}={parent.labels[name]}",
                remedy="Remove --partition or --constraint",
            )
    if not hosts:
        raise ConflictError(
            "no host that this run may use answers now",
            remedy="Try again when one is reachable: hostler hosts",
        )
    return replace(asked, hosts=tuple(sorted(hosts)), labels={**asked.labels, **parent.labels})
