"""The job of a runtime: everything needed to start one attempt, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.base.secret import Secret
from hostler.model.services import Service


@dataclass(frozen=True, slots=True)
class Placement:
    """An archive to put into the attempt's working folder before it starts."""

    digest: str
    """SHA-256 (hex) of the tar file, which lies in the daemon's content store."""
    size: int
    target: str
    """Folder relative to the working folder; "" is the working folder itself."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host that people named in `[mounts]`."""

    path: str
    read_only: bool = True
    target: str | None = None
    """Where a container sees it; None: at the same path."""


@dataclass(frozen=True, slots=True)
class GivenSecret:
    """A secret for one attempt: a file of this name and, if requested, a variable."""

    name: str
    value: Secret
    as_variable: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt, ready to be started by a runtime. Built by a pure function."""

    attempt_id: str
    daemon_id: str
    run_id: str
    stage: str
    owner: str
    host: str
    name: str
    """`hostler-<first 8 of daemon id>-<attempt id>`."""
    command: tuple[str, ...]
    shell: bool
    env: Mapping[str, str]
    gpus: tuple[str, ...]
    """UUIDs."""
    gpu_indices: tuple[int, ...] = ()
    """The same GPUs by NVML index at the time of the last look (process stages)."""
    plain_shell: bool = False
    """With `shell`: without pipefail."""
    slurm_commands: bool = False
    slurm_output: str | None = None
    slurm_error: str | None = None
    nested: bool = False
    """Requests of its own come through a folder of the attempt."""
    image: str | None = None
    """As the stage names it."""
    image_digest: str | None = None
    """`name@sha256:...` to use instead: the image that the run's first attempt with it got. Or the
    id of an image that the run built."""
    workdir: str | None = None
    placements: tuple[Placement, ...] = ()
    mounts: tuple[Mount, ...] = ()
    cpus: float = 1.0
    ram: int | None = None
    shm: int | None = None
    uid: int | None = None
    """The submitting user's on that host; None: the login's own."""
    gid: int | None = None
    groups: tuple[int, ...] = ()
    user: str | None = None
    home: str | None = None
    checkpoint: str | None = None
    """Folder relative to the working folder."""
    make: tuple[str, ...] = ()
    """Folders to create before the command starts, relative to the working folder."""
    checkpoint_key: str | None = None
    """Names the volume or folder that survives retries: `<daemon id, 8>-<run>-<stage>`."""
    code_path: str | None = None
    """`code = "here"`: the folder itself, which the host sees at the same path."""
    venv: str | None = None
    """Requirements file, relative to the working folder."""
    wheels: bool = False
    """Its packages are wheels that the daemon has put into the attempt's folder."""
    conda: str | None = None
    """Name or path of a conda environment on the host."""
    modules: tuple[str, ...] = ()
    """Modules of the host that are loaded first."""
    conda_file: str | None = None
    """File from which a conda environment is built before, relative to the working folder."""
    setup: str | None = None
    """Lines for a shell that run before the command, in a separate environment."""
    setup_files: tuple[str, ...] | None = None
    setup_timeout: float = 1800.0
    grace: float = 30.0
    log_cap: int = 1024**3
    """Bytes of log kept; older ones are dropped with a note."""
    gpu_access: str | None = None
    """How containers get GPUs on that host: "nvidia" or "cdi"."""
    raise_limits: bool = True
    """The engine may give larger limits than its own."""
    host_memory: int | None = None
    """Of the host, for the default memory limit."""
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str | None = None
    """Docker network mode; None: the engine's default."""
    secrets: tuple[GivenSecret, ...] = ()
    service: Service | None = None
    address: str | None = None
    """Where a container of a service is published on its host; None: on its loopback."""

    @property
    def is_image_built(self) -> bool:
        """Whether no registry has its image, because the run built it."""
        return (self.image_digest or "").startswith("sha256:")


@dataclass(frozen=True, slots=True)
class SetupEnd:
    """How the setup of an attempt ended."""

    exit_code: int | None = None
    """0: its environment is ready."""
    signal: int | None = None
    late: bool = False
    """It was stopped at its time limit."""
    error: str = ""
    image: str | None = None
    """Id of the image that it made, in which the command starts."""
    base: str | None = None
    """The base of that image: `name@sha256:...`, or an id."""

    @property
    def is_ready(self) -> bool:
        """Whether the command can start."""
        return self.exit_code == 0 and not self.late and not self.error


@dataclass(frozen=True, slots=True)
class Claim:
    """A request for GPUs, checked on the host under its lease lock at that moment."""

    gpus: tuple[str, ...]
    attempt_id: str | None
    daemon_id: str
    owner: str
    memory_floor: int
    ignore: tuple[str, ...]
    until: float | None = None
    instead_of: tuple[str, ...] = ()
    """Ended attempts whose leases it takes over: the earlier ones of its slot."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim: all GPUs, or none and why."""

    lease_ids: tuple[str, ...] = ()
    refused: str | None = None
    """A sentence naming the GPU and who uses it; None: claimed."""
