"""The runtime "docker": creates, starts, stops (TERM, grace, KILL) and removes containers, and
refuses names in use. `model/timings` has the times."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hostler.base.errors import EngineError, Unkillable, Unreachable
from hostler.decide.start_failures import refuses_limits
from hostler.model.files import Kept
from hostler.model.hosts import Workload
from hostler.model.jobs import Job, Placement, SetupEnd
from hostler.model.time_limits import CheckpointSeen, Warn, Warned
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import ArchiveSource, HostLink, LogSink, Progress
from hostler.runtimes.command import relative, reserved
from hostler.runtimes.docker.binds import look_at_binds
from hostler.runtimes.docker.body import ContainerBody
from hostler.runtimes.docker.flavour import suited
from hostler.runtimes.docker.http import docker_url
from hostler.runtimes.docker.logs import copy_log, is_complete
from hostler.runtimes.docker.nested import nested_placed
from hostler.runtimes.docker.options import (
    WORK,
    bind_paths,
    container_options,
    mount_targets,
    with_user_programs,
    writes_to_binds,
)
from hostler.runtimes.docker.packing import pack, pack_root
from hostler.runtimes.docker.publish import as_service
from hostler.runtimes.docker.pull import pull_for
from hostler.runtimes.docker.secrets import check_shell, secrets_placed
from hostler.runtimes.docker.waiting import Told, ends_within
from hostler.runtimes.docker.workload import workload_from_inspect
from hostler.runtimes.layout import (
    Layouts,
    check_mounts,
    folders_to_make,
    workdir_is_there,
)
from hostler.runtimes.time_limits import checkpoint_by, warn_by
from hostler.store.archive_scan import Outline
from hostler_agent.json_values import Message, strings, table

if TYPE_CHECKING:
    from hostler.runtimes.docker.engine import Engine

_SMALL = 1024 * 1024
"""Most bytes of an archive sent in one call with the folders; larger ones use the host's cache."""

_log = logging.getLogger("hostler.daemon")

_CREATE_TRIES = 5
_IN_THE_WAY = "cannot overwrite"
_NO_IMAGE = "no such image"
"""Lower-case, because the messages of Docker and Podman differ in the first letter."""


class DockerRuntime:
    """The runtime "docker". Its only state: connections, and values that save round trips."""

    def __init__(
        self, blob_path: Callable[[str], Path], timings: RuntimeTimings = DEFAULT.runtimes
    ) -> None:
        """`blob_path`: returns the path of a file in the content store by its digest."""
        self._timings = timings
        self._blob_path = blob_path
        self._layouts = Layouts(blob_path)
        self._engines: dict[str, Engine] = {}
        self._limited: set[str] = set()
        """Hosts whose Docker refused larger limits."""
        self._fresh: set[str] = set()
        """Containers that this process created and never started: they need no check before."""
        self._told = Told()
        self._images: dict[str, tuple[str, str]] = {}
        """Ref -> id of the image, and its name in the request."""

    @property
    def name(self) -> str:
        """ "docker"."""
        return "docker"

    async def create(self, link: HostLink, job: Job, progress: Progress) -> str:
        """Image, container, folders and archives. Raises EngineError, InputError, Unreachable."""
        body = container_options(job)  # checked before any request to the host
        outlines = await self._layouts.of(job)
        check_mounts(job, outlines, WORK, mount_targets(job), writes_to_binds(job))
        if seen := await look_at_binds(link, job):
            body = container_options(job, seen)
        engine = await self._engine(link)
        flavour = replace(await engine.flavour(), limits=link.host not in self._limited)
        body = suited(body, flavour, job.log_cap)
        if job.service is not None:
            body = as_service(body, job.service, job.address)
        config = await engine.image_config(body["Image"])
        # A pull may take hours; after one, the host removes files of attempts without a container.
        if config is None and (job.secrets or job.nested):
            body = {**body, "Image": await pull_for(link, engine, job, progress)}
            config = await engine.image_config(body["Image"])
        if job.secrets:
            body = await secrets_placed(link, job, body, config)
        if job.nested:
            body = await nested_placed(link, job, body)
        ref, started = await self._created(link, engine, job, body, config, progress)
        if not started:
            await check_shell(engine, job, ref)
            await self._fill(link, engine, job, ref, outlines, progress)
        return ref

    async def prepare(
        self, link: HostLink, job: Job, sink: LogSink, progress: Progress
    ) -> SetupEnd:
        """Build the image with the result of `setup`, or find it."""
        from hostler.runtimes.docker.setup_image import set_up  # most stages have no setup

        return await set_up(link, await self._engine(link), job, self._blob_path, sink, progress)

    async def base_digest(self, link: HostLink, job: Job, progress: Progress) -> str | None:
        """See `Runtime.base_digest`."""
        from hostler.runtimes.docker.setup_image import base_digest  # most stages have no setup

        return await base_digest(link, await self._engine(link), job, progress)

    async def start(self, link: HostLink, job: Job, ref: str) -> Workload:
        """Start it once: a container that has already run is never started again."""
        engine = await self._engine(link)
        if ref in self._fresh:
            self._fresh.discard(ref)
        else:
            existing = await self._present(link, ref)
            if not existing.created_only:
                return existing
        try:
            await engine.start(ref)
        except EngineError as error:
            said = error.message.removeprefix(f"starting {ref[:12]}: ")
            if not refuses_limits(said) or link.host in self._limited:
                raise
            await self._go_without_limits(link.host, engine, ref, error)
        return await self._present(link, ref)

    async def _go_without_limits(
        self, host: str, engine: Engine, ref: str, error: EngineError
    ) -> NoReturn:
        """The host's Docker may not raise limits, for example inside a container. This container,
        which never ran, and later ones are made without. Raises Unreachable, for a retry."""
        self._limited.add(host)
        _log.warning(
            "containers on %s get no unlimited locked memory and no large stack: %s",
            host, error.message,
        )  # fmt: skip
        await engine.remove(ref)
        raise Unreachable(
            host, f"Docker refuses larger limits ({error.message}): it starts without them"
        ) from error

    async def stop(self, link: HostLink, workload: Workload, grace: float) -> None:
        """Send TERM, wait `grace` seconds, send KILL. Hostler does this itself, so that a restarted
        daemon can repeat it from the start.

        Raises Unkillable if it does not end even after KILL (a GPU or disk that hangs).
        """
        engine, ref = await self._engine(link), workload.ref
        left = self._told.left(ref, grace)
        if left is None:
            if not await self._kill(engine, ref, "SIGTERM"):
                return
            self._told.sent(ref)
        if await ends_within(link, ref, grace if left is None else left):
            return
        if not await self._kill(engine, ref, "SIGKILL"):
            return
        if not await ends_within(link, ref, self._timings.killed_within):
            said = f"container {ref[:12]} of {workload.attempt_id} does not end after SIGKILL"
            raise Unkillable(link.host, said)

    async def _kill(self, engine: Engine, ref: str, signal: str) -> bool:
        """Send a signal; returns False if the container no longer runs."""
        try:
            async with asyncio.timeout(self._timings.killed_within):
                return await engine.kill(ref, signal)
        except TimeoutError:
            return True  # Podman answers a SIGKILL after the container's end, so possibly never

    async def warn(self, link: HostLink, workload: Workload, warn: Warn) -> Warned:
        """See `Runtime.warn`."""
        return await warn_by(link, "container.warn", workload, warn)

    async def checkpoint(
        self, link: HostLink, workload: Workload, path: str, beside: str | None
    ) -> CheckpointSeen:
        """See `Runtime.checkpoint`."""
        return await checkpoint_by(link, "container.checkpoint", workload, path, beside)

    async def remove(self, link: HostLink, workload: Workload) -> None:
        """Remove the ended container; checkpoint volumes stay."""
        engine = await self._engine(link)
        # An ended container without an exit code is one that Docker still reports as running.
        live = workload.running or workload.created_only
        await engine.remove(workload.ref, force=workload.exit_code is None and not live)
        await link.call("kept.forget", {"attempt_id": workload.attempt_id})
        self._fresh.discard(workload.ref)
        self._told.forget(workload.ref)
        self._images.pop(workload.ref, None)

    async def keep(self, link: HostLink, workload: Workload, until: float) -> Kept:
        """See `Runtime.keep`."""
        source = ArchiveSource(workload.attempt_id, self.name, workload.ref, "")
        return await link.keep_files(source, until)

    async def inspect(self, link: HostLink, ref: str) -> Workload | None:
        """Its current state; None: it does not exist, or is not Hostler's."""
        engine = await self._engine(link)
        data = await engine.inspect(ref)
        if data is None:
            return None
        workload = workload_from_inspect(data)
        if workload is not None:
            name = table(data.get("Config")).get("Image", "")
            self._images[workload.ref] = (str(data.get("Image", "")), str(name))
        return workload

    async def follow(self, link: HostLink, workload: Workload, sink: LogSink) -> None:
        """Copy its output to the end. A stream may also end because Docker restarts: copying is
        complete only if the container has ended and the sink has its last part."""
        ref, live = workload.ref, workload.running or workload.created_only
        while True:
            before = dict(sink.position)
            await copy_log(link, ref, sink, follow=live)
            stuck = not live and dict(sink.position) == before
            if live:
                current = await self._present(link, ref)
                live = current.running or current.created_only
            if live:
                await asyncio.sleep(self._timings.docker_again)
            elif await is_complete(link, ref, sink):
                return
            elif stuck:
                raise EngineError(link.host, f"Docker did not send the whole log of {ref[:12]}")

    async def image_digest(self, link: HostLink, ref: str) -> str | None:
        """`name@sha256:...`; if no registry has the image, its id."""
        if ref not in self._images:
            await self.inspect(link, ref)
        image, name = self._images.get(ref, ("", ""))
        return await (await self._engine(link)).image_digest(image, name) if image else None

    async def sweep(
        self, link: HostLink, daemon_id: str, keep: Collection[str], dry_run: bool = False
    ) -> int:
        """Remove this daemon's checkpoint volumes except those in `keep`; returns how many. A
        volume that a container uses stays."""
        engine = await self._engine(link)
        found = await engine.checkpoints(daemon_id)
        doomed = [volume for volume, key in found.items() if key not in keep]
        if dry_run:
            return len(doomed)
        return sum([await engine.remove_volume(volume) for volume in doomed])

    async def close(self) -> None:
        """Close all connections to Docker."""
        engines, self._engines = self._engines, {}
        for engine in engines.values():
            await engine.close()

    async def _engine(self, link: HostLink) -> Engine:
        url = await docker_url(link)
        engine = self._engines.get(link.host)
        if engine is None or engine.url != url:
            # Also imports the SDK, which is not needed if no host runs containers.
            from hostler.runtimes.docker.engine import Engine

            self._engines[link.host] = Engine(link.host, url, self._timings)
            if engine is not None:
                await engine.close()
        return self._engines[link.host]

    async def _present(self, link: HostLink, ref: str) -> Workload:
        workload = await self.inspect(link, ref)
        if workload is None:
            raise EngineError(link.host, f"container {ref[:12]} is gone", status=404)
        return workload

    async def _created(
        self,
        link: HostLink,
        engine: Engine,
        job: Job,
        body: ContainerBody,
        config: Message | None,
        progress: Progress,
    ) -> tuple[str, bool]:
        """The container's id, and whether it was already started. `config`: the image's settings;
        None: the host did not have the image."""
        pulled = False
        for _ in range(_CREATE_TRIES):
            try:
                ref = await engine.create(job.name, _with_programs(body, config))
            except EngineError as error:
                if error.status == 409:
                    found = await engine.inspect(job.name)
                    if found is not None:
                        return _ours(link.host, job, found)
                    # A create whose reply was lost, or a container being removed, has the name.
                    await asyncio.sleep(self._timings.docker_again)
                elif error.status == 404 and _NO_IMAGE in error.message.lower() and not pulled:
                    body = {**body, "Image": await pull_for(link, engine, job, progress)}
                    config, pulled = await engine.image_config(body["Image"]), True
                else:
                    raise
            else:
                self._fresh.add(ref)
                return ref, False
        raise EngineError(
            link.host, f"the name {job.name} is in use, and its container cannot be inspected"
        )

    async def _fill(
        self,
        link: HostLink,
        engine: Engine,
        job: Job,
        ref: str,
        outlines: Mapping[str, Outline],
        progress: Progress,
    ) -> None:
        if bind_paths(job):
            asked = {"ref": ref, "attempt_id": job.attempt_id}
            await link.call("container.check", asked, self._timings.container_check)
        placements = list(job.placements)
        workdir = not workdir_is_there(job, outlines)
        if placements and not placements[0].target and placements[0].size > _SMALL:
            folders = {*outlines[""].implied, *reserved(job)}
            await engine.put_archive(ref, "/", pack_root(job, folders))
            await self._place(link, job, ref, placements.pop(0), progress)
        small = list(takewhile(lambda placement: placement.size <= _SMALL, placements))
        at = self._blob_path
        archives = [(p.target, await asyncio.to_thread(at(p.digest).read_bytes)) for p in small]
        make = folders_to_make(job, outlines, WORK, mount_targets(job))
        packed = await asyncio.to_thread(pack, job, archives, workdir=workdir, make=make)
        await _unpack(engine, job, ref, packed)
        for placement in placements[len(small) :]:
            implied = outlines[relative(placement.target)].implied
            if implied:
                below = [f"{relative(placement.target)}/{folder}" for folder in implied]
                await engine.put_archive(ref, "/", pack_root(job, below))
            await self._place(link, job, ref, placement, progress)

    async def _place(
        self, link: HostLink, job: Job, ref: str, placement: Placement, progress: Progress
    ) -> None:
        what = f"placing {placement.target or 'the source'}"
        progress(what, 0, placement.size)
        target = ArchiveSource(job.attempt_id, self.name, ref, relative(placement.target))
        async with self._layouts.plain(placement) as (digest, path):
            await link.put_blob(digest, path)
            await link.place_blob(digest, target)
        progress(what, placement.size, placement.size)


async def _unpack(engine: Engine, job: Job, ref: str, packed: bytes) -> None:
    """Docker follows the image's links to mount volumes. If a link has the place of one of our
    folders, the files for the volume would be unpacked elsewhere, so the link is replaced first."""
    try:
        await engine.put_archive(ref, "/", packed, replace=False)
    except EngineError as error:
        if _IN_THE_WAY not in error.message:
            raise
        await engine.put_archive(ref, "/", pack_root(job, reserved(job)))
        await engine.put_archive(ref, "/", packed)


def _with_programs(body: ContainerBody, config: Message | None) -> ContainerBody:
    """The options with the image's PATH; without its settings they stay: create then fails."""
    return body if config is None else with_user_programs(body, strings(config.get("Env") or []))


def _ours(host: str, job: Job, found: Message) -> tuple[str, bool]:
    workload = workload_from_inspect(found)
    if (
        workload is None
        or workload.daemon_id != job.daemon_id
        or workload.attempt_id != job.attempt_id
    ):
        raise EngineError(
            host,
            f"a container named {job.name} exists and does not belong to this attempt",
            remedy="Hostler did not touch it: find its owner, then rename or remove it",
            status=409,
        )
    return workload.ref, not workload.created_only
