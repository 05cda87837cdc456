"""The wheels of a job's `venv`: asks the host for its requirements and Python, and sends the wheels
that it lacks; `wheels/` fetches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import AgentError, EngineError
from hostler.base.units import format_size
from hostler.model.jobs import Job
from hostler.model.timings import RuntimeTimings
from hostler.ports import HostLink, Progress
from hostler.runtimes.process.jobs import created, working_folder
from hostler.wheels.requirements import Requirement, read_requirements
from hostler.wheels.shelf import Wheel
from hostler.wheels.target import Target, read_target
from hostler_agent.json_values import Outgoing, string, table

_MOST_TEXT = 256 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """The packages of a job, and for which Python."""

    requirements: tuple[Requirement, ...]
    target: Target


async def wanted(link: HostLink, job: Job, timings: RuntimeTimings) -> Wanted | None:
    """The packages that a job needs; None if it has started already. Raises InputError if its
    requirements are not plain, AgentError, EngineError, Unreachable."""
    asked = {
        "attempt_id": job.attempt_id,
        "create": created(job),
        "cwd": working_folder(job),
        "venv": job.venv,
    }
    answer = await link.call("job.packages", asked, timings.job_create)
    if answer.get("started") is True:
        return None
    text = string(answer.get("text"))
    if text is None or len(text) > _MOST_TEXT:
        raise AgentError(link.host, "the agent did not send the requirements file")
    requirements = read_requirements(text, job.venv or "")
    try:
        return Wanted(requirements, read_target(table(answer.get("python"))))
    except ValueError as error:
        remedy = "name another Python for this host (`python` in config.toml)"
        raise EngineError(link.host, str(error), remedy=remedy) from error


async def send(
    link: HostLink,
    job: Job,
    wheels: Sequence[Wheel],
    path_of: Callable[[str], Path],
    progress: Progress,
    timings: RuntimeTimings,
) -> None:
    """Put the wheels that the host lacks into its cache, and all of them into the job's folder.
    Raises AgentError, EngineError, InputError, Unreachable."""
    named = [{"name": wheel.name, "digest": wheel.digest} for wheel in wheels]
    asked: Outgoing = {"attempt_id": job.attempt_id, "wheels": named}
    known = await link.call("job.wheels", {**asked, "only_if_ready": True}, timings.job_create)
    if known.get("ready") is True:  # its environment is complete
        return
    total, done = sum(wheel.size for wheel in wheels), 0
    what = f"sending packages ({format_size(total)})"
    for wheel in wheels:
        cached = await link.call("blob.has", {"digest": wheel.digest})
        if cached.get("size") != wheel.size or cached.get("complete") is not True:
            progress(what, done, total)
            await link.put_blob(wheel.digest, path_of(wheel.digest))
        done += wheel.size
    await link.call("job.wheels", asked, timings.job_place)
