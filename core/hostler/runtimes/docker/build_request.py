"""The query parameters, files and logins of a build request, for both of Docker's builders. The
classic builder gets the files as a tar."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from hostler.base.dockerfile import images_of
from hostler.model.builds import BuildJob
from hostler.ports import Progress
from hostler.runtimes.docker.context import BuildContext, context_of, tar_of
from hostler.runtimes.docker.logins import Login, logins_for
from hostler.runtimes.docker.options import cpu_shares

TAR = {"Content-Type": "application/x-tar"}
_BATCH = 1024 * 1024


async def read_context(job: BuildJob, blob_path: Callable[[str], Path]) -> BuildContext:
    """The files of the build. Raises InputError if there is no Dockerfile."""
    archives = [(each.target, blob_path(each.digest)) for each in job.placements]
    return await asyncio.to_thread(context_of, archives, job.context, job.dockerfile)


async def read_logins(job: BuildJob, context: BuildContext) -> dict[str, Login]:
    """The logins for the registries that the Dockerfile names. Raises InputError."""
    return await asyncio.to_thread(lambda: logins_for(images_of(context.text, job.args)))


def query_of(job: BuildJob, context: BuildContext, **args: str) -> dict[str, str]:
    """The query of the build; `args`: build arguments in addition to those of the job."""
    found = {
        "t": job.name,
        "dockerfile": context.dockerfile,
        "rm": "1",
        "forcerm": "1",
        "cpushares": str(cpu_shares(job.cpus)),
        "buildargs": json.dumps({**job.args, **args}),
    }
    if job.target is not None:
        found["target"] = job.target
    if job.network is not None:
        found["networkmode"] = job.network
    if job.ram is not None:
        found |= {"memory": str(job.ram), "memswap": str(job.ram)}
    return found


async def body_of(context: BuildContext, progress: Progress) -> AsyncIterator[bytes]:
    """The files as bytes in large pieces, which threads read."""
    tar, done, size = tar_of(context.pieces), 0, context.size
    while data := await asyncio.to_thread(_batch, tar):
        yield data
        done += len(data)
        progress("sending the files of the build", min(done, size), size)


def _batch(tar: Iterator[bytes]) -> bytes:
    taken = bytearray()
    for data in tar:
        taken += data
        if len(taken) >= _BATCH:
            break
    return bytes(taken)
