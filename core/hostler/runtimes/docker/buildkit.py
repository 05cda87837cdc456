"""Builds by BuildKit in dockerd: one request with the context, and a session for secrets.

Where Docker keeps images in containerd's store it takes no context with a request: there the
classic builder builds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hostler.base.errors import InputError, Unreachable
from hostler.model.builds import BuildJob, Built
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import HostLink, LogSink, Progress
from hostler.runtimes.docker.build_request import TAR, body_of, query_of, read_context
from hostler.runtimes.docker.build_words import buildkit_trouble, foreign_syntax, said_by_buildkit
from hostler.runtimes.docker.classic import ClassicBuilder
from hostler.runtimes.docker.http import Response, request, upload
from hostler.runtimes.docker.session import session
from hostler.runtimes.docker.trace import Trace
from hostler_agent.json_values import Message, table

_ID = re.compile("sha256:[0-9a-f]{64}")
_EXIT = re.compile(r"did not complete successfully: exit code: (\d+)")
_CONTAINERD = "io.containerd.snapshotter"


class DockerBuilder:
    """Builds by BuildKit where a host's Docker has it, else by the classic builder."""

    def __init__(
        self, blob_path: Callable[[str], Path], timings: RuntimeTimings = DEFAULT.runtimes
    ) -> None:
        """`blob_path`: where the content store keeps the file with a digest."""
        self._blob_path = blob_path
        self._timings = timings
        self._classic = ClassicBuilder(blob_path, timings)

    async def build(
        self, link: HostLink, job: BuildJob, sink: LogSink, progress: Progress
    ) -> Built:
        """See `Builder`."""
        if await self._has_buildkit(link):
            return await self._by_buildkit(link, job, sink, progress)
        if job.secrets:
            raise InputError(
                f"Docker on {link.host} has only the classic builder, which gives a build no "
                f"secrets ({', '.join(secret.name for secret in job.secrets)})",
                remedy="name another host in `resources`, or update Docker there",
            )
        return await self._classic.build(link, job, sink, progress)

    async def _has_buildkit(self, link: HostLink) -> bool:
        async with request(link, "GET", "/_ping", timings=self._timings) as response:
            if response.headers.get("builder-version") != "2":
                return False
        async with request(link, "GET", "/info", timings=self._timings) as response:
            async for info in response.json_lines():
                return _CONTAINERD not in str(info.get("DriverStatus"))
        return False

    async def _by_buildkit(
        self, link: HostLink, job: BuildJob, sink: LogSink, progress: Progress
    ) -> Built:
        context = await read_context(job, self._blob_path)
        foreign = foreign_syntax(context.text)
        if foreign is not None:
            raise InputError(
                f"the Dockerfile is to be read by {foreign} (`# syntax=`): only Docker's own, "
                "docker/dockerfile, is allowed",
                remedy="remove that line",
            )
        secrets = {each.name: each.value.reveal().encode() for each in job.secrets}
        progress("sending the files of the build", 0, context.size)
        async with session(link, secrets) as name:
            # What members keep in `--mount=type=cache` is not for one another.
            query = query_of(job, context, BUILDKIT_CACHE_MOUNT_NS=job.owner)
            query |= {"version": "2", "session": name, "buildid": name}
            body = body_of(context, progress)
            async with upload(link, "/build", query, TAR, body, self._timings) as response:
                return await _ended(link.host, response, sink, progress)


async def _ended(host: str, response: Response, sink: LogSink, progress: Progress) -> Built:
    trace, image = Trace(), None
    async for line in response.json_lines():
        if "error" in line:
            return _failed(host, trace, str(line["error"]), sink)
        is_trace = line.get("id") == "moby.buildkit.trace"
        if is_trace and (text := trace.lines(line.get("aux"))):
            sink.append(text, {})
            progress(trace.step, 0, None)
        image = _image(line) or image
    if image is None:
        raise Unreachable(host, "Docker ended the build without a result")
    return Built(image=image)


def _image(line: Message) -> str | None:
    found = table(line.get("aux")).get("ID") if isinstance(line.get("aux"), dict) else None
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


def _failed(host: str, trace: Trace, text: str, sink: LogSink) -> Built:
    sink.append(f"{text}\n".encode("utf-8", "replace"), {})
    trouble = buildkit_trouble(host, text)
    if trouble is not None:
        raise trouble
    found = _EXIT.search(text)
    code = int(found[1]) if found is not None else None
    return Built(exit_code=code, error=said_by_buildkit(trace.failed, text, code))
