"""Pulls an image, reports progress, and reports images of builds that no host has; `explain` has
Docker's errors, `model/timings` the time limit without progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from hostler.base.errors import EngineError, HostFault, NoImage
from hostler.model.images import is_id
from hostler.model.jobs import Job
from hostler.model.timings import RuntimeTimings
from hostler.ports import HostLink, Progress
from hostler.runtimes.docker.explain import pull_error
from hostler.runtimes.docker.http import request
from hostler_agent.json_values import Message

if TYPE_CHECKING:
    from hostler.runtimes.docker.engine import Engine

_COMPLETE = ("Download complete", "Pull complete", "Pushed")


class PullProgress:
    """Adds up Docker's progress over the layers of a pull or a push. It has no side effects."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def update(self, line: Message) -> None:
        """Add one line of Docker's progress."""
        layer, detail = line.get("id"), line.get("progressDetail")
        if not isinstance(layer, str) or not isinstance(detail, dict):
            return
        current, total = detail.get("current"), detail.get("total")
        status = line.get("status")
        moves = status in ("Downloading", "Pushing")
        if moves and isinstance(current, int) and isinstance(total, int):
            self._layers[layer] = (current, total)
        elif status in _COMPLETE and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1], self._layers[layer][1])

    @property
    def done(self) -> int:
        """Bytes downloaded."""
        return sum(current for current, _ in self._layers.values())

    @property
    def total(self) -> int | None:
        """Bytes of the layers known so far; None before the first one."""
        return sum(total for _, total in self._layers.values()) if self._layers else None


async def pull_for(link: HostLink, engine: Engine, job: Job, progress: Progress) -> str:
    """Pull the job's image; returns the reference to use from now on.

    No registry has images that were built or loaded by hand (docker load), but some engines give
    them digests. If the digest cannot be pulled, a local image of that name is used.
    """
    named = job.image or ""
    if job.is_image_built:
        raise NoImage(
            link.host,
            f"no reachable host, {link.host} included, has the image that this run built "
            f"(stage {named})",
            remedy="It was removed: build it again with hostler rerun RUN",
        )
    if job.image_digest is None and is_id(named):
        raise NoImage(
            link.host,
            f"no reachable host, {link.host} included, has the image {named[:19]}",
            remedy="No registry knows image ids: build the image again, or use its name",
        )
    try:
        await pull(link, engine, job.image_digest or named, progress)
    except EngineError:
        if job.image_digest is None or await engine.digests(named) is None:
            raise
        return named
    return job.image_digest or named


async def pull(link: HostLink, engine: Engine, image: str, progress: Progress) -> None:
    """Pull `image` onto the host. Raises EngineError with cause and remedy, Unreachable when cut;
    Docker keeps complete layers for the next pull."""
    query, headers = await engine.pull_request(image)
    what = f"pulling {image}"
    progress(what, 0, None)
    try:
        async with request(link, "POST", "/images/create", query, headers) as response:
            await _watch(link.host, image, response.json_lines(), progress, engine.timings)
    except EngineError as error:
        if error.status and not isinstance(error, HostFault):
            raise pull_error(link.host, image, error.status, error.message) from error
        raise


async def _watch(
    host: str, image: str, lines: AsyncIterator[Message], progress: Progress,
    timings: RuntimeTimings,
) -> None:  # fmt: skip
    what = f"pulling {image}"
    state, loop = PullProgress(), asyncio.get_running_loop()
    told = loop.time()
    while True:
        try:
            async with asyncio.timeout(timings.pull_idle):
                line = await anext(lines, None)
        except TimeoutError as error:
            raise EngineError(host, f"{what}: no progress for {timings.pull_idle:.0f} s") from error
        if line is None:
            break
        if "error" in line:
            raise pull_error(host, image, 0, str(line["error"]))
        state.update(line)
        if loop.time() - told >= timings.pull_told_every:
            told = loop.time()
            progress(what, state.done, state.total)
    progress(what, state.done, state.total)
