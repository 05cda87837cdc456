"""The runtimes "docker" and "process" of the simulated lab; they behave alike."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from hostler.base.errors import EngineError, InputError, Unkillable
from hostler.model.codec import from_json
from hostler.model.files import Kept
from hostler.model.hosts import Workload
from hostler.model.jobs import Job, SetupEnd
from hostler.model.time_limits import CheckpointSeen, Warn, Warned
from hostler.ports import ArchiveSource, HostLink, LogSink, Progress
from hostler_agent.json_values import Json, Outgoing

_PULL_STEP_S = 0.02
_END_STEP_S = 0.02
_KILLED_WITHIN_S = 1.0


class SimRuntime:
    """One of the two. It keeps no important state; all state is in the lab."""

    def __init__(self, name: str, blob_path: Callable[[str], Path]) -> None:
        """`blob_path`: where the content store keeps the file with a digest."""
        self._name, self._blob_path = name, blob_path
        self._images: dict[str, str] = {}

    @property
    def name(self) -> str:
        """ "docker" or "process"."""
        return self._name

    async def create(self, link: HostLink, job: Job, progress: Progress) -> str:
        """Image, container or folder, archives. Raises EngineError, InputError, Unreachable."""
        await self._check_folders(link, job)
        if self._name == "docker":
            await self._pull(link, job, progress)
        answer = await link.call("job.create", self._asked(job))
        self._images[answer["ref"]] = job.image or ""
        for placement in job.placements:
            what = f"placing {placement.target or 'the source'}"
            progress(what, 0, placement.size)
            await link.put_blob(placement.digest, self._blob_path(placement.digest))
            target = ArchiveSource(job.attempt_id, self._name, answer["ref"], placement.target)
            await link.place_blob(placement.digest, target)
            progress(what, placement.size, placement.size)
        return str(answer["ref"])

    async def prepare(
        self, link: HostLink, job: Job, sink: LogSink, progress: Progress
    ) -> SetupEnd:
        """Takes the time, and has the result, that the job's variable sets."""
        payload = {
            "attempt_id": job.attempt_id, "env": dict(job.env),
            "setup": {"timeout": job.setup_timeout},
        }  # fmt: skip
        while True:
            answer = await link.call("job.prepare", payload)
            if answer["state"] != "running":
                return SetupEnd(answer["exit_code"], late=answer["late"])
            progress("preparing its environment (setup)", 0, None)
            await asyncio.sleep(_END_STEP_S)

    async def start(self, link: HostLink, job: Job, ref: str) -> Workload:
        """Start it once."""
        payload = {"attempt_id": job.attempt_id, "env": dict(job.env)}
        return from_json(Workload, await link.call("job.start", payload, 60.0))

    async def stop(self, link: HostLink, workload: Workload, grace: float) -> None:
        """TERM, `grace` seconds, KILL; begun again by the next caller."""
        for number, patience in ((15, grace), (9, _KILLED_WITHIN_S)):
            payload = {"attempt_id": workload.attempt_id, "signal": number}
            reached = (await link.call("job.signal", payload))["reached"]
            if not reached or await self._ended(link, workload.ref, patience):
                return
        raise Unkillable(link.host, f"{workload.attempt_id} does not end after SIGKILL")

    async def warn(self, link: HostLink, workload: Workload, warn: Warn) -> Warned:
        """Send a signal to its command, if that catches it; what was done."""
        payload = {"attempt_id": workload.attempt_id, "signal": warn.signal, "to": warn.to.value}
        return from_json(Warned, await link.call("job.warn", payload))

    async def checkpoint(
        self, link: HostLink, workload: Workload, path: str, beside: str | None
    ) -> CheckpointSeen:
        """When the checkpoint of what has ended was written to."""
        payload = {"attempt_id": workload.attempt_id}
        return from_json(CheckpointSeen, await link.call("job.checkpoint", payload))

    async def remove(self, link: HostLink, workload: Workload) -> None:
        """Remove what has ended."""
        await link.call("job.remove", {"attempt_id": workload.attempt_id})
        self._images.pop(workload.ref, None)

    async def keep(self, link: HostLink, workload: Workload, until: float) -> Kept:
        """Let what has ended stay, out of looks and without its log."""
        source = ArchiveSource(workload.attempt_id, self.name, workload.ref, "")
        return await link.keep_files(source, until)

    async def inspect(self, link: HostLink, ref: str) -> Workload | None:
        """Its present state; None: it does not exist."""
        found = (await link.call("job.inspect", {"attempt_id": ref}))["workload"]
        return None if found is None else from_json(Workload, found)

    async def follow(self, link: HostLink, workload: Workload, sink: LogSink) -> None:
        """Copy its output to the end, from the byte where the sink stopped."""
        offset = _offset(sink.position)
        async for at, data in link.read_log(workload.attempt_id, offset, follow=True):
            sink.append(data, {"offset": at + len(data)})

    async def base_digest(self, link: HostLink, job: Job, progress: Progress) -> str | None:
        """Made up from the image's name; None without one."""
        name = job.image
        return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}" if name else None

    async def image_digest(self, link: HostLink, ref: str) -> str | None:
        """Made up from the image's name; None without images."""
        if self._name != "docker":
            return None
        return f"sha256:{hashlib.sha256(self._images.get(ref, ref).encode()).hexdigest()}"

    async def sweep(
        self, link: HostLink, daemon_id: str, keep: Collection[str], dry_run: bool = False
    ) -> int:
        """Simulated stages keep no checkpoints."""
        return 0

    async def close(self) -> None:
        """Nothing to close."""

    async def _check_folders(self, link: HostLink, job: Job) -> None:
        paths = [mount.path for mount in job.mounts]
        paths += [job.code_path] if job.code_path is not None else []
        if not paths:
            return
        answer = await link.call("stat", {"paths": paths})
        missing = next((x["path"] for x in answer["paths"] if not x["exists"]), None)
        if missing is not None:
            raise EngineError(
                link.host,
                f"{missing} does not exist on {link.host}",
                remedy="create it there, or remove the mount",
            )

    async def _pull(self, link: HostLink, job: Job, progress: Progress) -> None:
        if job.image is None:
            raise InputError(f"{job.attempt_id} has no image", remedy="name one, or runtime")
        if job.is_image_built:
            return
        while True:
            answer = await link.call("sim.pull", {"image": job.image})
            if answer["done"] >= answer["total"]:
                return
            progress(f"pulling {job.image}", answer["done"], answer["total"])
            await asyncio.sleep(_PULL_STEP_S)

    def _asked(self, job: Job) -> Outgoing:
        return {
            "attempt_id": job.attempt_id, "daemon_id": job.daemon_id, "run_id": job.run_id,
            "stage": job.stage, "owner": job.owner, "gpus": list(job.gpus),
            "grace": job.grace, "runtime": self._name, "service": job.service is not None,
        }  # fmt: skip

    async def _ended(self, link: HostLink, ref: str, patience: float) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            workload = await self.inspect(link, ref)
            if workload is None or not workload.running:
                return True
            if loop.time() >= until:
                return False
            await asyncio.sleep(_END_STEP_S)


def _offset(position: Mapping[str, Json]) -> int:
    offset = position.get("offset", 0)
    return offset if isinstance(offset, int) and offset >= 0 else 0
