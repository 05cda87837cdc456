"""Builds by BuildKit in dockerd: one request, a session for files, logins and secrets, the end and
exit code, and a safe stop."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from hostler.base.errors import InputError, Unreachable
from hostler.model.builds import BuildJob, Built
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import HostLink, LogSink, Progress
from hostler.runtimes.docker.build_request import query_of, read_context, read_logins
from hostler.runtimes.docker.build_words import (
    buildkit_trouble,
    foreign_syntax,
    full_for,
    said_by_buildkit,
    says_full,
)
from hostler.runtimes.docker.context import BuildContext
from hostler.runtimes.docker.http import Response, request
from hostler.runtimes.docker.logins import Login
from hostler.runtimes.docker.session import Session, session
from hostler.runtimes.docker.session_calls import CONTEXT, DOCKERFILE, Offer
from hostler.runtimes.docker.trace import Trace
from hostler_agent.json_values import Message, table

_ID = re.compile("sha256:[0-9a-f]{64}")
_EXIT = re.compile(r"did not complete successfully: exit code: (\d{1,9})")


class BuildKit:
    """Builds images by BuildKit. Keeps no state: BuildKit caches the finished steps."""

    def __init__(
        self, blob_path: Callable[[str], Path], timings: RuntimeTimings = DEFAULT.runtimes
    ) -> None:
        """`blob_path`: returns the path of a file in the content store by its digest."""
        self._blob_path = blob_path
        self._timings = timings

    async def build(
        self, link: HostLink, job: BuildJob, sink: LogSink, progress: Progress
    ) -> Built:
        """See `Builder`."""
        context = await read_context(job, self._blob_path)
        foreign = foreign_syntax(context.text)
        if foreign is not None:
            raise InputError(
                f"the Dockerfile is to be read by {foreign} (`# syntax=`): only Docker's own, "
                "docker/dockerfile, is allowed",
                remedy="remove that line",
            )
        offer = _offer(job, context, await read_logins(job, context), progress)
        progress("sending the files of the build", 0, context.size)
        async with session(link, offer, _key(job)) as served:
            # Users must not share the content of `--mount=type=cache`.
            query = query_of(job, context, BUILDKIT_CACHE_MOUNT_NS=job.owner)
            query |= {"version": "2", "session": served.name, "buildid": served.name}
            query["remote"] = "client-session"
            building = _Building(link.host, sink, progress, served)

            async def build() -> Built:
                path, timings = "/build", self._timings
                async with request(link, "POST", path, query, timings=timings) as response:
                    return await building.ended(response)

            return await self._stopped_safely(asyncio.ensure_future(build()), building.trace)

    async def _stopped_safely(self, build: asyncio.Future[Built], trace: Trace) -> Built:
        """The result of a build. After a cancellation, the request ends only when the containers of
        all started commands run: BuildKit never ends a container that starts while its build is
        cancelled."""
        try:
            return await asyncio.shield(build)
        except asyncio.CancelledError:
            await self._wait_for_containers(build, trace)
            raise
        finally:
            build.cancel()
            await asyncio.gather(build, return_exceptions=True)

    async def _wait_for_containers(self, build: asyncio.Future[Built], trace: Trace) -> None:
        now, timings = asyncio.get_running_loop().time, self._timings
        began = now()
        # Commands that have started by now are reported a moment later.
        await asyncio.wait((build,), timeout=timings.build_report)
        while not build.done() and now() - began < timings.build_stop:
            if not trace.is_starting(now(), timings.command_start):
                return
            await asyncio.wait((build,), timeout=0.05)


def _offer(
    job: BuildJob, context: BuildContext, logins: Mapping[str, Login], progress: Progress
) -> Offer:
    sent, size = 0, context.size

    def told(count: int) -> None:
        nonlocal sent
        sent += count
        progress("sending the files of the build", min(sent, size), size)

    return Offer(
        secrets={each.name: each.value.reveal().encode() for each in job.secrets},
        logins=logins,
        files={CONTEXT: context.seen, DOCKERFILE: context.for_builder},
        told=told,
    )


def _key(job: BuildJob) -> str:
    """Equal only for equal files. BuildKit keeps files under this key, and requests files with
    another size again."""
    told = [(each.target, each.digest) for each in job.placements], job.context
    return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()


class _Building:
    """Reads Docker's messages about a build."""

    def __init__(self, host: str, sink: LogSink, progress: Progress, served: Session) -> None:
        self._host, self._sink, self._progress, self._served = host, sink, progress, served
        self.trace = Trace()

    async def ended(self, response: Response) -> Built:
        """Read the messages to the end; returns the result."""
        image, now = None, asyncio.get_running_loop().time
        async for line in response.json_lines():
            if "error" in line:
                self._served.check()
                return _failed(self._host, self.trace, str(line["error"]), self._sink)
            is_trace = line.get("id") == "moby.buildkit.trace"
            if is_trace and (text := self.trace.lines(line.get("aux"), now())):
                self._sink.append(text, {})
                self._progress(self.trace.step, 0, None)
            image = _image(line) or image
        if image is None:
            raise Unreachable(self._host, "Docker ended the build without a result")
        return Built(image=image)


def _image(line: Message) -> str | None:
    found = table(line.get("aux")).get("ID") if isinstance(line.get("aux"), dict) else None
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


def _failed(host: str, trace: Trace, text: str, sink: LogSink) -> Built:
    sink.append(f"{text}\n".encode("utf-8", "replace"), {})
    found = _EXIT.search(text)
    code = int(found[1]) if found is not None else None
    if code is not None and says_full(trace.tail):
        raise full_for(host, trace.failed, code)
    trouble = buildkit_trouble(host, text) if code is None else None
    if trouble is not None:
        raise trouble
    return Built(exit_code=code, error=said_by_buildkit(trace.failed, text, code))
