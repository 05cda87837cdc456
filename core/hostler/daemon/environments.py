"""The programs, conda environments and modules that stages need, which wrappers (`nice`, `env` ...)
are skipped, and when a submission is refused for them.

A process gets the submitting shell's PATH. On a host that does not see the environment, the same
name would mean another program, without a word.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from hostler.base.errors import InputError
from hostler.base.text import clean_line, first_of
from hostler.daemon.context import Context
from hostler.daemon.host_monitor import HostMonitor
from hostler.decide.requests import host_named, labels_suit, request_of
from hostler.model.environments import Environment
from hostler.model.pipelines import Stage
from hostler.model.runs import Run
from hostler.model.runtimes import traits_of

_WRAPPERS = frozenset(
    {"bash", "dash", "env", "exec", "ionice", "nice", "nohup", "numactl", "sh", "stdbuf", "taskset",
     "time", "timeout", "xargs", "zsh"}
)  # fmt: skip
"""Programs that start another program, named in their arguments."""
_BETWEEN_WORDS = re.compile(r"[^\w./+-]+")
_MOST_NAMED = 5
_MOST_TOLD = 3
_MOST_CHECKED = 20
"""Most environments of a run that are checked; those of further stages are checked at placement."""
ENVIRONMENTS = ("VIRTUAL_ENV", "CONDA_PREFIX")
"""Variables of a shell that name its active environment."""


def with_programs(stages: Iterable[Stage], programs: Mapping[str, str]) -> tuple[Stage, ...]:
    """The stages, each with the program of the submitter's environment that it uses. `programs`:
    words of commands, and their paths in the submitter's environment."""
    found = ((stage, needed_program(stage, programs)) for stage in stages)
    return tuple(stage if path is None else replace(stage, program=path) for stage, path in found)


def needed_program(stage: Stage, programs: Mapping[str, str]) -> str | None:
    """The program of the submitter's environment that a stage runs; None: none."""
    if not _may_use_shells(stage) or "PATH" in stage.env or stage.modules:
        return None  # a module may well bring the program
    first = stage.command[0]
    words = [] if stage.shell else [first]
    if stage.shell or first.rpartition("/")[2] in _WRAPPERS:
        words += [word for text in stage.command for word in _BETWEEN_WORDS.split(text)]
    return next((programs[word] for word in words if word in programs), None)


def _may_use_shells(stage: Stage) -> bool:
    """Whether a stage may use the environment of the submitter's shell."""
    own = (stage.venv, stage.conda, stage.setup)
    has_own = any(one is not None for one in own)
    return traits_of(stage.runtime).in_submitters_environment and not has_own


async def check_programs(context: Context, run: Run, *, is_command: bool) -> None:
    """Raise InputError for a stage if none of its possible hosts has its program. A host that does
    not answer now may have it."""
    checked: dict[tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]], None] = {}
    for stage in run.stages:
        request = request_of(run, stage)
        key = (stage.program or "", request.hosts, request.labels)
        if stage.program is None or key in checked:
            continue
        checked[key] = None
        answers = await _asked(
            _chosen(context, run, stage), stage.program, context.timings.program_answer
        )
        if answers and set(answers.values()) == {False}:
            raise _refusal(stage, stage.program, list(answers), is_command=is_command)


async def check_environments(context: Context, run: Run, *, is_command: bool) -> None:
    """Raise InputError for a stage if none of its possible hosts has its modules or conda
    environment. A host that does not answer in time may have them."""
    stages: dict[tuple[Environment, tuple[str, ...], tuple[tuple[str, str], ...]], Stage] = {}
    for stage in run.stages:
        if stage.environment is not None and len(stages) < _MOST_CHECKED:
            request = request_of(run, stage)
            stages.setdefault((stage.environment, request.hosts, request.labels), stage)
    patience = context.timings.environment_check
    lacking = await asyncio.gather(
        *(_lacking(_chosen(context, run, s), key[0], patience) for key, s in stages.items())
    )
    for (key, stage), problems in zip(stages.items(), lacking, strict=True):
        if problems:
            raise _lacks_refusal(stage, key[0], problems, is_command=is_command)


async def _lacking(
    monitors: list[HostMonitor], environment: Environment, patience: float
) -> dict[str, str]:
    """Host -> what is missing there; {} if a host has all, or may have all."""
    asking = [asyncio.create_task(_problem(m, environment, patience)) for m in monitors]
    found: dict[str, str] = {}
    try:
        for answer in asyncio.as_completed(asking):
            host, problem = await answer
            if problem == "":
                return {}
            if problem is not None:
                found[host] = problem
    finally:
        for task in asking:
            task.cancel()
    return found if len(found) == len(monitors) else {}


async def _problem(
    monitor: HostMonitor, environment: Environment, patience: float
) -> tuple[str, str | None]:
    if not monitor.is_connected:
        return monitor.host.name, None
    return monitor.host.name, await monitor.environments.problem(environment, patience)


def _lacks_refusal(
    stage: Stage, environment: Environment, problems: Mapping[str, str], *, is_command: bool
) -> InputError:
    which = "the command" if is_command else f"stage {stage.name}"
    said = [f"{host} {problem}" for host, problem in problems.items()][:_MOST_TOLD]
    more = [f"{len(problems) - _MOST_TOLD} more hosts lack it"] if len(said) < len(problems) else []
    modules = "name modules that are there: `module avail` on the host lists them"
    conda = (
        "build the environment on a host (conda env create), name one that is there, or give a "
        "file: environment.yml"
    )
    wanted = (modules if environment.modules else "", conda if environment.conda else "")
    remedy = "; or ".join(filter(None, wanted))
    remedy = remedy[:1].upper() + remedy[1:]
    return InputError(f"{which} needs {environment}: {'; '.join(said + more)}", remedy=remedy)


async def dropped_environment(context: Context, run: Run) -> str | None:
    """A warning that hosts do not have the environment of the submitter's shell, if stages may run
    there without it; None: no warning."""
    prefix = next(filter(None, map(run.env.get, ENVIRONMENTS)), None)
    if prefix is None or not prefix.startswith("/"):
        return None
    missing: dict[str, None] = {}
    seen: set[tuple[object, ...]] = set()
    for stage in run.stages:
        if not _may_use_shells(stage) or stage.program is not None:
            continue
        request = request_of(run, stage)
        if (request.hosts, request.labels) in seen:
            continue
        seen.add((request.hosts, request.labels))
        answers = await _asked(
            _chosen(context, run, stage), prefix, context.timings.environment_answer
        )
        missing |= dict.fromkeys(name for name, there in answers.items() if there is False)
    if not missing:
        return None
    return (
        f"your environment {clean_line(prefix, 200)} is not on "
        f"{first_of(list(missing), _MOST_NAMED)}: commands use the host's own programs there"
    )


def _chosen(context: Context, run: Run, stage: Stage) -> list[HostMonitor]:
    request = request_of(run, stage)
    return [
        monitor
        for monitor in context.monitors.values()
        if host_named(monitor.host, request) and labels_suit(monitor.host, request)
    ]


async def _asked(monitors: list[HostMonitor], path: str, patience: float) -> dict[str, bool | None]:
    """Host -> whether the path exists there; None: not known. A host that had it is not asked
    again; a host that did not may have it by now."""
    answers = await asyncio.gather(*(_ask(k, path, patience) for k in monitors))
    return {monitor.host.name: there for monitor, there in zip(monitors, answers, strict=True)}


def _known(monitor: HostMonitor, path: str) -> bool | None:
    host = monitor.host
    return True if host.transport == "local" else host.programs.get(path)


async def _ask(monitor: HostMonitor, path: str, patience: float) -> bool | None:
    if _known(monitor, path):
        return True
    return await monitor.paths.has_program(path, patience) if monitor.is_connected else None


def _refusal(stage: Stage, path: str, hosts: list[str], *, is_command: bool) -> InputError:
    which = "the command" if is_command else f"stage {stage.name}"
    remedy = (
        "Have an environment built there: --venv requirements.txt; name one of theirs: --conda "
        "NAME; use a container: --image IMAGE; or use the hosts' own programs: --no-env"
        if is_command
        else 'Add venv = "requirements.txt", the name of their conda environment (`conda`) or an '
        "image to the stage, or use the hosts' own programs: hostler run --no-env"
    )
    return InputError(
        f"{which} runs {clean_line(path, 200)}, of your shell's environment, which is not on "
        f"{first_of(hosts, _MOST_NAMED)}",
        remedy=remedy,
    )
