"""Builds images on hosts: with BuildKit if a host's Docker has it, else with the classic builder,
which refuses secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from hostler.base.errors import EngineError, HostFault, InputError
from hostler.model.builds import BuildJob, Built
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import HostLink, LogSink, Progress
from hostler.runtimes.docker.http import request


class DockerBuilder:
    """See `Builder`. The builders are imported for the first build."""

    def __init__(
        self, blob_path: Callable[[str], Path], timings: RuntimeTimings = DEFAULT.runtimes
    ) -> None:
        """`blob_path`: returns the path of a file in the content store by its digest."""
        self._blob_path = blob_path
        self._timings = timings

    async def build(
        self, link: HostLink, job: BuildJob, sink: LogSink, progress: Progress
    ) -> Built:
        """See `Builder`. The Dockerfile can control Docker's output. So no message of a build
        counts as a fault of the host, since the host would then get no other runs."""
        try:
            return await self._build(link, job, sink, progress)
        except HostFault as fault:
            raise EngineError(link.host, fault.message, remedy=fault.remedy) from fault

    async def _build(
        self, link: HostLink, job: BuildJob, sink: LogSink, progress: Progress
    ) -> Built:
        from hostler.runtimes.docker.buildkit import BuildKit
        from hostler.runtimes.docker.classic import ClassicBuilder

        if await self.has_buildkit(link):
            return await BuildKit(self._blob_path, self._timings).build(link, job, sink, progress)
        if job.secrets:
            raise InputError(
                f"Docker on {link.host} has only the classic builder, which gives a build no "
                f"secrets ({', '.join(secret.name for secret in job.secrets)})",
                remedy="name another host in `resources`, or update Docker there",
            )
        classic = ClassicBuilder(self._blob_path, self._timings)
        return await classic.build(link, job, sink, progress)

    async def holds(self, link: HostLink, image: str) -> bool:
        """See `Builder`."""
        try:
            path = f"/images/{quote(image)}/json"
            async with request(link, "GET", path, timings=self._timings):
                return True
        except EngineError as error:
            if error.status == 404:
                return False
            raise

    async def has_buildkit(self, link: HostLink) -> bool:
        """Whether BuildKit is available on the host."""
        async with request(link, "GET", "/_ping", timings=self._timings) as response:
            return response.headers.get("builder-version") == "2"
