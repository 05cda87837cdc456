"""Process jobs of this login: created, started, removed, found again, and why each of these is
refused; `jobstop` stops them."""

from __future__ import annotations

import os
import stat
import threading
import time
from typing import Callable, Collection, Dict, List, Mapping, Optional, Tuple

from hostler_agent import journal, mounts, nested, secretfiles, setups
from hostler_agent.fields import optional_text, texts
from hostler_agent.folders import (
    Folders,
    Refusal,
    check_attempt,
    check_relative,
    is_identifier,
    remove_tree,
)
from hostler_agent.jobenv import METRICS, WHEELS, environment, loaded_command, prepared_command
from hostler_agent.jobstop import Stopper
from hostler_agent.jobtable import JobTable
from hostler_agent.journal import Job
from hostler_agent.json_values import Message, Outgoing, items, strings
from hostler_agent.look_sections import Left, Workload
from hostler_agent.metricpiece import READ, Piece, Wanted, nothing, piece
from hostler_agent.processes import Proc
from hostler_agent.setups import LOG_CAP
from hostler_agent.shim import Spec
from hostler_agent.spawner import Spawner

SETUP_GRACE = 5.0
"""Seconds between TERM and KILL for a setup whose attempt has ended."""
_MOST_MADE = 1000
_ENGINE = "EngineError"
_FIELDS = (
    "attempt_id", "daemon_id", "run_id", "stage", "owner", "gpus", "checkpoint", "checkpoint_key",
    "log_cap", "grace", "make", "here", "service",
)  # fmt: skip


class Jobs:
    """All jobs of this login. Methods raise Refusal, and may be called from any thread."""

    def __init__(
        self,
        folders: Folders,
        boot_id: str,
        spawner: Optional[Spawner],
        indices: Callable[[], Mapping[str, int]],
    ) -> None:
        self._folders = folders
        self._boot_id = boot_id
        self._spawner = spawner
        self._indices = indices
        self._proc = Proc()
        self._stopper = Stopper(self._proc, boot_id)
        self._starting = threading.Lock()
        self.table = JobTable(folders.jobs, boot_id, self._proc)
        """The jobs that looks show; only the main loop uses it."""

    def _load(self, attempt: str) -> Job:
        job = journal.load(self._folders.job(attempt))
        if job is None:
            raise Refusal("there is no job %s here" % attempt, "NotFoundError")
        return job

    def inspect(self, attempt: str) -> Optional[Workload]:
        """The job's workload now; None if there is no such job."""
        job = journal.load(self._folders.job(attempt))
        return None if job is None else self._now(job)

    def work_folder(self, attempt: str) -> str:
        """The job's working folder."""
        return os.path.join(self._folders.job(attempt), "work")

    def metrics(self, attempt: str, ask: Wanted) -> Piece:
        """Read new lines of the job's metrics file; see `metricpiece.piece`. The job can put
        anything in its place, so only a plain file is read."""
        path = os.path.join(self.work_folder(attempt), METRICS)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return nothing(ask)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return nothing(ask)

            def read(offset: int) -> bytes:
                file.seek(offset)
                return file.read(READ)

            return piece(ask, status.st_size, status.st_mtime, read)

    def left(self, attempt: str) -> Optional[Left]:
        """The output and metrics that are sent with a job's exit; see `tail.left`."""
        from hostler_agent import tail

        work = self.work_folder(attempt)
        folder = os.path.dirname(work)
        told = tail.left(folder, os.path.join(work, METRICS))
        if told is not None:
            from hostler_agent import placed

            job = journal.load(folder)
            told["changed"] = None if job is None else placed.unchanged(job)
        return told

    def create(self, payload: Message) -> Dict[str, str]:
        """Create the job's folder. No error if it exists."""
        attempt = check_attempt(payload.get("attempt_id"))
        _check_created(payload)
        folder = self._folders.job(attempt)
        with self._starting:
            there = journal.load(folder)
            if there is not None and there.created.daemon_id != payload["daemon_id"]:
                raise Refusal("job %s belongs to another daemon" % attempt, "ConflictError")
            work = os.path.join(folder, "work")
            os.makedirs(work, 0o700, exist_ok=True)
            os.makedirs(os.path.join(work, os.path.dirname(METRICS)), exist_ok=True)
            if there is None:
                asked = {name: payload.get(name) for name in _FIELDS}
                made = {"event": "created", "boot_id": self._boot_id, "at": time.time()}
                journal.append(folder, {**asked, **made})
        self.table.touch(attempt)
        return {"ref": attempt, "folder": self.work_folder(attempt)}

    def place(self, attempt: str, digest: str, target: str) -> None:
        """Unpack a cached blob under the working folder."""
        job = self._load(attempt)
        if job.started is not None:
            raise Refusal("job %s has started already" % attempt, "ConflictError")
        if setups.load(job) is not None or os.path.isdir(os.path.join(job.folder, WHEELS)):
            return  # all is placed already, and a setup may use it
        path = os.path.join(self.work_folder(attempt), check_relative(target))
        os.makedirs(path, exist_ok=True)
        blob = self._folders.blob(digest)
        if not os.path.exists(blob):
            raise Refusal("blob %s is not cached here" % digest, "NotFoundError")
        os.utime(blob)
        from hostler_agent.archive import extract  # tarfile needs megabytes; few jobs use it

        inside = check_relative(target)
        if inside.split("/")[0] == "inputs":
            extract(blob, path)  # changed inputs are never requested
            return
        from hostler_agent import placed

        writer = placed.Writer(job.folder, inside)
        try:
            extract(blob, path, record=writer.add)
        finally:
            writer.close()

    def start(self, payload: Message, login: Mapping[str, str]) -> Tuple[Workload, Optional[str]]:
        """Start the process, unless it was started before. Returns the workload, and the process to
        which its leases are bound. If the request has "create", the job is created first."""
        attempt = self.made(payload)
        with self._starting:
            job = self._load(attempt)
            if job.started is None and job.ended is None:
                if job.created.boot_id != self._boot_id:
                    raise Refusal("the host was rebooted since job %s was made" % attempt)
                answer = self._spawn(job, payload, login)
                if answer.get("error") == "running already":
                    job = self._load(attempt)
                elif "error" in answer:
                    if payload.get("secrets"):
                        secretfiles.drop(attempt)
                    raise Refusal(str(answer["error"]), "EngineError")
                else:
                    job = self._load(attempt) if job.created.service is not None else job
                    job.started = journal.started(answer)
                    self.table.touch(attempt)
                    return job.workload(True, self._boot_id), job.bound
        return self._now(job), job.bound

    def made(self, payload: Message) -> str:
        """Return the attempt id of a request. If the request has "create", the attempt is created
        first."""
        attempt = check_attempt(payload.get("attempt_id"))
        created = payload.get("create")
        if isinstance(created, dict):
            self.create({**created, "attempt_id": attempt})
        return attempt

    def prepare(self, payload: Message, login: Mapping[str, str]) -> Outgoing:
        """Start the setup of an attempt, and return its state. If the request has "create", the
        attempt is created first; without "setup" only the state is returned."""
        attempt = self.made(payload)
        with self._starting:
            job = self._load(attempt)
            if job.started is not None or job.ended is not None:
                return {"state": "ready"}
            found = setups.state(job, self._proc, self._boot_id)
            if found is None:
                self._set_up(job, payload, login)
            return found or {"state": "running"}

    def _set_up(self, job: Job, payload: Message, login: Mapping[str, str]) -> None:
        if job.created.boot_id != self._boot_id:
            raise Refusal("the host was rebooted since job %s was made" % job.attempt_id)
        asked = payload.get("setup")
        if not isinstance(asked, dict):
            raise Refusal("setup should be an object", "InputError")
        job.created = job.created._replace(gpus=())  # a setup claims no GPUs
        names = strings(payload.get("secret_variables"))
        asked = {**asked, "over": bool(payload.get("modules") or payload.get("conda"))}
        spec = setups.spec(job, asked, self._folders, self._boot_id, names)
        argv = loaded_command(spec.argv, payload, names)
        env, cwd = self._surroundings(job, payload, login, [])
        secrets = bool(payload.get("secrets"))
        answer = self._handed(spec._replace(argv=argv, env=env, cwd=cwd, secrets=secrets))
        if "error" in answer and answer["error"] != "running already":
            secretfiles.drop(job.attempt_id)
            raise Refusal(str(answer["error"]), "EngineError")

    def _now(self, job: Job) -> Workload:
        running = job.running(self._proc, self._boot_id)
        if not running and job.ended is None:
            # The end may have been written after the journal was read and before the process was
            # checked.
            job = journal.load(job.folder) or job
        return job.workload(running and job.ended is None, self._boot_id)

    def _spawn(self, job: Job, payload: Message, login: Mapping[str, str]) -> Message:
        argv = texts(payload, "argv")
        if not argv:
            raise Refusal("argv should not be empty", "InputError")
        work = self.work_folder(job.attempt_id)
        self._link_checkpoint(job, work)
        _make_folders(job)
        indices = self._gpu_indices(job, payload)
        named = strings(payload.get("secret_variables"))
        if payload.get("setup") is True:
            argv = setups.entered(job, argv)
        argv = prepared_command(argv, payload, job.folder, self._folders.venvs, named)
        env, cwd = self._surroundings(job, payload, login, indices)
        if job.created.service is not None:
            from hostler_agent import service_ports

            env["HOSTLER_PORT"] = str(service_ports.give(self._folders, job, self._boot_id))
        if payload.get("slurm_commands") is True:
            from hostler_agent import slurm_commands

            slurm_commands.put(job.folder, env)
        if payload.get("nested") is True:
            env[nested.VARIABLE] = nested.make(self._folders, job.attempt_id)
        secrets = bool(payload.get("secrets"))
        files = (optional_text(payload, name) or "" for name in ("output", "errors"))
        spec = Spec(
            job.attempt_id, job.folder, self._boot_id, argv, env, cwd,
            job.created.log_cap or LOG_CAP, job.created.grace, secrets,
            *(("", "") if secrets else files),
        )  # fmt: skip
        again = payload.get("again") is True
        return self._handed(spec._replace(gpus=bool(job.created.gpus), again=again))

    def _handed(self, spec: Spec) -> Message:
        if self._spawner is None:
            raise Refusal("this agent starts no jobs")
        return self._spawner.start(spec)

    def _surroundings(
        self, job: Job, payload: Message, login: Mapping[str, str], indices: List[int]
    ) -> Tuple[Dict[str, str], str]:
        """Return the variables of a process of an attempt, and the folder where it starts. Also
        writes the attempt's secrets."""
        given = payload.get("env") or {}
        if not isinstance(given, dict):
            raise Refusal("env should be an object", "InputError")
        work = self.work_folder(job.attempt_id)
        variables = {str(name): str(value) for name, value in given.items()}
        env = environment(login, variables, job.created, work, indices)
        secrets = payload.get("secrets")
        if secrets:
            named = texts(payload, "secret_variables")
            env.update(secretfiles.given(job.attempt_id, secrets, named))
        return env, os.path.join(work, optional_text(payload, "cwd") or "")

    def _gpu_indices(self, job: Job, payload: Message) -> List[int]:
        """Indices of the job's GPUs, as NVML counts them now."""
        uuids = job.created.gpus
        known = self._indices() if uuids else {}
        if uuids and not known:
            return [index for index in items(payload.get("gpu_indices")) if isinstance(index, int)]
        missing = [uuid for uuid in uuids if uuid not in known]
        if missing:
            raise Refusal("GPU %s is no longer on this machine" % missing[0], "EngineError")
        return [known[uuid] for uuid in uuids]

    def _link_checkpoint(self, job: Job, work: str) -> None:
        """Link the checkpoint folder, which survives retries, to the place where the job expects
        it."""
        relative, key = check_relative(job.created.checkpoint), job.created.checkpoint_key
        if not relative or not key:
            return
        store = os.path.join(self._folders.checkpoints, check_attempt(key))
        path = os.path.join(work, relative)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path):
            os.unlink(path)
        elif os.path.isdir(path):
            import shutil

            # A checkpoint folder in the snapshot is used only if there is no later checkpoint.
            if os.path.isdir(store) and os.listdir(store):
                shutil.rmtree(path)
            else:
                if os.path.isdir(store):
                    os.rmdir(store)
                os.makedirs(self._folders.checkpoints, 0o700, exist_ok=True)
                shutil.move(path, store)
        os.makedirs(store, 0o700, exist_ok=True)
        os.symlink(store, path)

    def signal(self, attempt: str, number: int) -> None:
        """Send a signal to the job's process group; no error when it has ended."""
        job = self._load(attempt)
        if job.running(self._proc, self._boot_id):
            self._stopper.signal_group(job, number)

    def stop(self, attempt: str, grace: float) -> Workload:
        """Stop all processes of the job: TERM, `grace` seconds, KILL. Returns the workload
        afterwards."""
        job = self._load(attempt)
        self._stopper.stop(job, grace)
        self.table.touch(attempt)
        return self.inspect(attempt) or job.workload(False, self._boot_id)

    def sweep(self, alive: Collection[str]) -> None:
        """Remove leftover request folders of attempts that are not in `alive`."""
        nested.sweep(self._folders, alive)

    def remove(self, attempt: str) -> None:
        """Remove the job's folder; its checkpoint stays. No error when it is gone already."""
        folder = self._folders.job(attempt)
        job = journal.load(folder)
        setup = None if job is None else setups.load(job)
        if setup is not None:
            self._stopper.stop(setup, SETUP_GRACE)
        if job is None or not job.running(self._proc, self._boot_id):
            secretfiles.drop(attempt)
            nested.drop(self._folders, attempt)
        if job is not None and job.running(self._proc, self._boot_id):
            raise Refusal("job %s is still running" % attempt, "ConflictError")
        if mounts.any_in(folder):
            text = "a file system is mounted in %s, and its files would go, too: unmount it"
            raise Refusal(text % folder, _ENGINE)
        remove_tree(folder)
        self.table.touch(attempt)


def _make_folders(job: Job) -> None:
    """Make the folders that the command expects; a file of the source in such a place stays."""
    if job.created.make:
        from hostler_agent import beneath

        for path in job.created.make:
            beneath.make(job.folder, check_relative(path))


def _check_created(payload: Message) -> None:
    check_relative(payload.get("checkpoint") or "")
    daemon, gpus = payload.get("daemon_id"), payload.get("gpus") or []
    if not isinstance(daemon, str) or not is_identifier(daemon):
        raise Refusal("%r is not a daemon id" % (daemon,), "InputError")
    if not isinstance(gpus, list) or not all(is_identifier(uuid) for uuid in gpus):
        raise Refusal("gpus should be a list of UUIDs", "InputError")
    make = payload.get("make") or []
    if not isinstance(make, list) or len(make) > _MOST_MADE:
        raise Refusal("make should be a list of folders", "InputError")
    for path in make:
        check_relative(path)
    if not isinstance(payload.get("owner") or "", str):
        raise Refusal("owner should be a text", "InputError")
