"""Runs the setup of a process stage through the agent, and polls it until its time limit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hostler.model.jobs import Job, SetupEnd
from hostler.model.timings import RuntimeTimings
from hostler.ports import HostLink, LogSink, Progress
from hostler.runtimes.command import secret_values
from hostler.runtimes.process.jobs import created, process_env, working_folder
from hostler.runtimes.process.logs import copy_present
from hostler_agent.json_values import Message, Outgoing, integer, string

_LONGEST_S = 900_000.0
"""The longest time that the agent accepts."""


async def prepare(
    link: HostLink, job: Job, sink: LogSink, progress: Progress, timings: RuntimeTimings
) -> SetupEnd:
    """See `Runtime.prepare`. Raises AgentError, EngineError, InputError, Unreachable."""
    answer = await link.call("job.prepare", _asked(job), timings.job_start)
    pause, loop = timings.setup_first, asyncio.get_running_loop()
    until = loop.time() + job.setup_timeout + job.grace + timings.job_stop_slack
    while True:
        end = _end(answer)  # seen first: what is copied after it is all of its output
        await copy_present(link, job.attempt_id, sink)
        if end is not None:
            return end
        if loop.time() > until:  # whoever should have ended it there was killed
            return SetupEnd(late=True)
        progress("preparing its environment (setup)", 0, None)
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, timings.setup_last)
        known: Outgoing = {"attempt_id": job.attempt_id}
        answer = await link.call("job.prepare", known, timings.job_create)


def _asked(job: Job) -> Outgoing:
    without = replace(job, gpus=(), gpu_indices=())
    return {
        "attempt_id": job.attempt_id,
        "create": created(job),
        "env": process_env(without),
        "cwd": working_folder(job),
        "conda": job.conda,
        "modules": list(job.modules),
        "secrets": secret_values(job),
        "secret_variables": [given.name for given in job.secrets if given.as_variable],
        "setup": {
            "text": job.setup or "",
            "conda": job.conda_file,
            "files": None if job.setup_files is None else list(job.setup_files),
            "timeout": min(job.setup_timeout, _LONGEST_S),
        },
    }


def _end(answer: Message) -> SetupEnd | None:
    state = answer.get("state")
    if state == "running":
        return None
    if state == "ready":
        return SetupEnd(exit_code=0)
    return SetupEnd(
        integer(answer.get("exit_code")) or None,  # one that failed has no 0, whatever is said
        integer(answer.get("signal")),
        answer.get("late") is True,
        string(answer.get("error")) or "",
    )
