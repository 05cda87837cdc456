"""The runtime "process": plain processes under the agent's shim; refuses to start where a mount or
the folder of `code = "here"` does not exist on the host."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from hostler.base.errors import AgentError, EngineError, Unkillable
from hostler.link.agent_link import stat_paths
from hostler.model.codec import from_json
from hostler.model.files import Kept
from hostler.model.hosts import Workload
from hostler.model.jobs import Job, Placement, SetupEnd
from hostler.model.time_limits import CheckpointSeen, Warn, Warned
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import ArchiveSource, HostLink, LogSink, Progress
from hostler.runtimes.command import argv, relative, secret_values
from hostler.runtimes.layout import Layouts
from hostler.runtimes.process import setup
from hostler.runtimes.process.jobs import created, process_env, working_folder
from hostler.runtimes.process.logs import follow_shortly, offset_of, take
from hostler.runtimes.time_limits import checkpoint_by, warn_by


class ProcessRuntime:
    """The runtime "process". The agent does the work; this keeps no essential state."""

    def __init__(
        self, blob_path: Callable[[str], Path], timings: RuntimeTimings = DEFAULT.runtimes
    ) -> None:
        """`blob_path`: where the content store keeps the file with a digest."""
        self._timings = timings
        self._blob_path = blob_path
        self._layouts = Layouts(blob_path)

    @property
    def name(self) -> str:
        """ "process"."""
        return "process"

    async def create(self, link: HostLink, job: Job, progress: Progress) -> str:
        """The attempt's folder with all archives in it; the start makes an empty one. Raises
        AgentError, EngineError, InputError, Unreachable."""
        if job.code_path is not None:
            await _check_code(link, job.code_path)
        await _check_mounts(link, job)
        if job.placements:
            await self._layouts.of(job)
            await link.call("job.create", created(job), self._timings.job_create)
        for placement in job.placements:
            await self._place(link, job, placement, progress)
        return job.attempt_id

    async def prepare(
        self, link: HostLink, job: Job, sink: LogSink, progress: Progress
    ) -> SetupEnd:
        """Run the setup under a separate shim."""
        return await setup.prepare(link, job, sink, progress, self._timings)

    async def base_digest(self, link: HostLink, job: Job, progress: Progress) -> str | None:
        """A process has no image."""
        return None

    async def start(self, link: HostLink, job: Job, ref: str) -> Workload:
        """Start it under the shim; the agent makes sure that it starts once."""
        payload = {
            "attempt_id": job.attempt_id,
            "create": created(job),
            "argv": argv(job),
            "env": process_env(job),
            "cwd": working_folder(job),
            "venv": job.venv,
            "wheels": job.wheels,
            "slurm_commands": job.slurm_commands,
            "output": job.slurm_output,
            "errors": job.slurm_error,
            "conda": job.conda,
            "modules": list(job.modules),
            "setup": job.setup is not None or job.conda_file is not None,
            "nested": job.nested,
            "gpu_indices": list(job.gpu_indices),
            "secrets": secret_values(job),
            "secret_variables": [given.name for given in job.secrets if given.as_variable],
        }
        return _workload(link.host, await link.call("job.start", payload, self._timings.job_start))

    async def stop(self, link: HostLink, workload: Workload, grace: float) -> None:
        """TERM to its group, `grace` seconds, KILL. Raises Unkillable when it does not end."""
        payload = {"attempt_id": workload.attempt_id, "grace": grace}
        answer = await link.call("job.stop", payload, grace + self._timings.job_stop_slack)
        if answer and _workload(link.host, answer).running:
            raise Unkillable(
                link.host, f"the process of {workload.attempt_id} does not end after SIGKILL"
            )

    async def warn(self, link: HostLink, workload: Workload, warn: Warn) -> Warned:
        """Send a signal to its command, if that catches it; what was done."""
        return await warn_by(link, "job.warn", workload, warn)

    async def checkpoint(
        self, link: HostLink, workload: Workload, path: str, beside: str | None
    ) -> CheckpointSeen:
        """When an ended workload last wrote its checkpoint."""
        return await checkpoint_by(link, "job.checkpoint", workload, path, beside)

    async def remove(self, link: HostLink, workload: Workload) -> None:
        """Its folder and log; checkpoints stay."""
        await link.call("job.remove", {"attempt_id": workload.attempt_id}, self._timings.job_create)

    async def sweep(
        self, link: HostLink, daemon_id: str, keep: Collection[str], dry_run: bool = False
    ) -> int:
        """Remove this daemon's checkpoint folders but those in `keep`; how many."""
        payload = {"prefix": f"{daemon_id[:8]}-", "keep": list(keep), "dry_run": dry_run}
        answer = await link.call("gc.checkpoints", payload, self._timings.job_place)
        return int(answer["removed"])

    async def keep(self, link: HostLink, workload: Workload, until: float) -> Kept:
        """Keep an ended workload, out of looks and without its log."""
        source = ArchiveSource(workload.attempt_id, self.name, workload.ref, "")
        return await link.keep_files(source, until)

    async def inspect(self, link: HostLink, ref: str) -> Workload | None:
        """Its current state; None: the host does not know it."""
        answer = await link.call("job.inspect", {"attempt_id": ref})
        found = answer.get("workload")
        return None if found is None else _workload(link.host, found)

    async def follow(self, link: HostLink, workload: Workload, sink: LogSink) -> None:
        """Copy its output to the end, from the byte where the sink stopped."""
        if await follow_shortly(link, workload.attempt_id, sink):
            return
        offset = offset_of(sink.position)
        async for at, data in link.read_log(workload.attempt_id, offset, follow=True):
            take(sink, at, data)

    async def image_digest(self, link: HostLink, ref: str) -> str | None:
        """None: there is no image."""
        return None

    async def close(self) -> None:
        """Nothing is open."""

    async def _place(
        self, link: HostLink, job: Job, placement: Placement, progress: Progress
    ) -> None:
        payload = {
            "attempt_id": job.attempt_id,
            "digest": placement.digest,
            "target": relative(placement.target),
        }
        what = f"placing {placement.target or 'the source'}"
        # A transfer needs a session of its own, and stages of one run share their source.
        cached = await link.call("blob.has", {"digest": placement.digest})
        if cached.get("size") != placement.size:
            progress(what, 0, placement.size)
            await link.put_blob(placement.digest, self._blob_path(placement.digest))
            progress(what, placement.size, placement.size)
        await link.call("job.place", payload, self._timings.job_place)


async def _check_mounts(link: HostLink, job: Job) -> None:
    """A process sees the folders of its host directly: the named folders must exist."""
    paths = [mount.path for mount in job.mounts]
    found = await stat_paths(link, paths) if paths else {}
    for path in paths:
        if not found.get(path, {}).get("exists"):
            raise EngineError(
                link.host,
                f"{path} does not exist on {link.host}, or this login cannot see it",
                remedy="create it there, or remove the mount",
            )


async def _check_code(link: HostLink, path: str) -> None:
    answer = (await stat_paths(link, [path])).get(path, {})
    if not (answer.get("exists") and answer.get("is_dir")):
        raise EngineError(
            link.host,
            f"{path} is not a folder on {link.host}",
            remedy='use code = "snapshot", or run where the folder is shared',
        )


def _workload(host: str, data: object) -> Workload:
    try:
        return from_json(Workload, data)
    except ValueError as error:
        raise AgentError(host, f"the agent sent an invalid process: {error}") from error
