"""Builds the image of a stage with `setup` beside `image`, or finds it: one layer on that image,
with the key, the Dockerfile and the script.

The image's name on the host contains the key, so all runs with the same setup find it there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from weakref import WeakValueDictionary

from hostler.base.errors import EngineError, HostError
from hostler.base.failpoints import failpoint
from hostler.base.text import clean_line
from hostler.decide.image_source import check_name
from hostler.model.builds import BuildJob, Built
from hostler.model.images import choose_digest
from hostler.model.jobs import Job, Placement, SetupEnd
from hostler.ports import HostLink, LogSink, Progress
from hostler.runtimes.command import relative
from hostler.runtimes.docker.builder import DockerBuilder
from hostler.runtimes.docker.context import pieces_of
from hostler.runtimes.docker.images.ask import inspect_image, tag, untag
from hostler.runtimes.docker.pull import pull_for
from hostler.runtimes.docker.setup_files import (
    FILES,
    SCRIPT,
    TEXT,
    Asked,
    Packing,
    chosen,
    settings_of,
)
from hostler.runtimes.docker.setup_names import name_of_base, names_of_setup
from hostler_agent.json_values import Message, string, strings

if TYPE_CHECKING:
    from hostler.runtimes.docker.engine import Engine

_PLACE = "/hostler-setup"
_FORMAT = "1"
_SLACK = 10
"""Seconds that the script adds to the setup's time limit; Hostler itself enforces the limit
before."""
_UNTAG_WITHIN = 10.0
_TURNS: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
"""Host and name -> lock of the task that builds it; other tasks wait and use the result."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An image to build if it is missing."""

    names: tuple[str, str]
    """Its names of this month and of the previous month."""
    base: str
    """Id of its base image."""
    base_name: str
    """Temporary name of the base image, because a build needs a name."""
    size: int
    """Bytes of the build's context."""


async def set_up(
    link: HostLink,
    engine: Engine,
    job: Job,
    blob_path: Callable[[str], Path],
    sink: LogSink,
    progress: Progress,
) -> SetupEnd:
    """See `Runtime.prepare`."""
    base, timings = await _base(link, engine, job, progress), engine.timings
    base_id = string(base.get("Id")) or ""
    digest = _digest_of(base, job)
    builder = DockerBuilder(blob_path, timings)
    has_mounts = await builder.has_buildkit(link)
    with tempfile.NamedTemporaryFile(prefix="hostler-setup-") as file:
        wanted = await asyncio.to_thread(_wanted, job, base_id, blob_path, file, has_mounts)
        async with _TURNS.setdefault((link.host, wanted.names[0]), asyncio.Lock()):
            known = await _known(link, wanted)
            if known is not None:
                return SetupEnd(exit_code=0, image=known, base=digest)
            progress("building its image (setup)", 0, None)
            builder = DockerBuilder(lambda _digest: Path(file.name), timings)
            try:
                async with asyncio.timeout(job.setup_timeout):
                    built = await _build(link, job, wanted, builder, sink, progress)
            except TimeoutError:
                return SetupEnd(late=True)
    return _end(built, digest)


async def base_digest(link: HostLink, engine: Engine, job: Job, progress: Progress) -> str | None:
    """See `Runtime.base_digest`."""
    return _digest_of(await _base(link, engine, job, progress), job)


def _digest_of(base: Message, job: Job) -> str:
    named = choose_digest(job.image or "", strings(base.get("RepoDigests")))
    return named or string(base.get("Id")) or ""


async def _base(link: HostLink, engine: Engine, job: Job, progress: Progress) -> Message:
    check_name(name := job.image_digest or job.image or "")
    found = await inspect_image(link, name)
    if found is None:
        found = await inspect_image(link, await pull_for(link, engine, job, progress))
    if found is None or not string(found.get("Id")):
        raise EngineError(link.host, f"image {job.image} was removed while its setup began")
    return found


async def _known(link: HostLink, wanted: _Wanted) -> str | None:
    """The image's id, if it exists; the call marks the image as used."""
    for name in wanted.names:
        found = await inspect_image(link, name)
        if found is not None:
            await tag(link, name, wanted.names[0])
            return string(found.get("Id"))
    return None


async def _build(
    link: HostLink,
    job: Job,
    wanted: _Wanted,
    builder: DockerBuilder,
    sink: LogSink,
    progress: Progress,
) -> Built:
    await tag(link, wanted.base, wanted.base_name)
    failpoint("before_build")
    try:
        built = await builder.build(link, _build_job(job, wanted), sink, progress)
    finally:
        with contextlib.suppress(HostError, TimeoutError):  # gc removes it if this fails
            async with asyncio.timeout(_UNTAG_WITHIN):
                await untag(link, wanted.base_name)
    failpoint("after_build")
    return built


def _build_job(job: Job, wanted: _Wanted) -> BuildJob:
    settings, proxies = settings_of(job.env)
    return BuildJob(
        attempt_id=job.attempt_id,
        owner=job.owner,
        host=job.host,
        name=wanted.names[0],
        placements=(Placement(wanted.base_name, wanted.size, ""),),
        args={**settings, **proxies},
        cpus=job.cpus,
        ram=job.ram,
        network=job.network,
    )


def _end(built: Built, digest: str) -> SetupEnd:
    if built.image is not None:
        return SetupEnd(exit_code=0, image=built.image, base=digest)
    if built.exit_code is not None:
        return SetupEnd(exit_code=built.exit_code or 1)
    return SetupEnd(error=f"setup: {clean_line(built.error, 300)}")


def _wanted(
    job: Job, base: str, blob_path: Callable[[str], Path], file: IO[bytes], has_mounts: bool
) -> _Wanted:
    """Read the files and write the context; called in a thread. Raises InputError."""
    workdir = relative(job.workdir) if job.workdir and not job.workdir.startswith("/") else ""
    asked = Asked(job.setup or "", job.setup_files, workdir)
    settings, _ = settings_of(job.env)
    pieces = pieces_of([(p.target, blob_path(p.digest)) for p in job.placements])
    packing = Packing(file)
    digest = packing.add(asked, _script(workdir), chosen(asked, pieces))
    told = json.dumps([_FORMAT, base, settings, has_mounts, digest])
    key, now = hashlib.sha256(told.encode()).hexdigest(), time.time()
    base_name = name_of_base(job.daemon_id, key, now)
    limit = math.ceil(job.setup_timeout) + _SLACK
    packing.close(_dockerfile(base_name, settings, has_mounts, limit))
    return _Wanted(names_of_setup(job.daemon_id, key, now), base, base_name, file.tell())


def _dockerfile(base: str, settings: Mapping[str, str], has_mounts: bool, limit: int) -> str:
    """The Dockerfile. `limit`: seconds after which the script ends itself. The limit is not part of
    the key: the same setup with another limit gives the same image."""
    lines = [f"FROM {base}", "USER 0:0", *(f"ARG {name}" for name in settings)]
    if has_mounts:
        said = json.dumps(["/bin/sh", f"{_PLACE}/{SCRIPT}", str(limit)])
        return "\n".join((*lines, f"RUN --mount=type=bind,target={_PLACE},rw {said}"))
    command = f"/bin/sh {_PLACE}/{SCRIPT} {limit}; code=$?; rm -rf {_PLACE}; exit $code"
    return "\n".join((*lines, f"COPY . {_PLACE}", f"RUN {json.dumps(['/bin/sh', '-c', command])}"))


def _script(workdir: str) -> str:
    """Runs the text like the setup of a process: the first line that fails ends it.

    Its first line of output shows that the container runs, so that a stop need not wait. After the
    time limit it ends itself, even if the daemon was killed and BuildKit did not end the container.
    It is the container's first process, so all others end with it.
    """
    place = shlex.quote(f"{_PLACE}/{FILES}/{workdir}")
    text = f"{_PLACE}/{TEXT}"
    return "\n".join(
        (
            "export DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 HOME=/root",
            f"cd {place} || exit 1",
            "echo 'hostler: setup begins'",
            "limit=$1",
            "set -- -e",
            "if (set -o pipefail) 2>/dev/null; then set -- -e -o pipefail; fi",
            f'/bin/sh "$@" {text} &',
            "setup=$!",
            '(sleep "$limit" && kill -9 $setup) >/dev/null 2>&1 &',
            "watch=$!",
            "wait $setup",
            "code=$?",
            "kill $watch",
            "exit $code",
        )
    )
