"""A host as the daemon sees it: GPUs, processes, workloads, leases, disks, one look at all of them,
and the letter of each GPU state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypedDict


class GpuState(StrEnum):
    """The availability of a GPU, in one word. `letter` is the same in one character."""

    FREE = "free"
    LEASED = "leased"
    IDLE = "idle"
    """Leased, memory held, and hardly any utilization for a quarter of an hour."""
    FOREIGN = "foreign"
    """Used by a process or container without a lease."""
    CONTESTED = "contested"
    """Leased, and also used by another user."""
    DRAINED = "drained"
    UNHEALTHY = "unhealthy"
    """Lost, failing, MIG on, or its memory did not come back (quarantined)."""
    UNKNOWN = "unknown"
    """Never reported, or not reported for too long. Not free, and not 0 %."""

    @property
    def letter(self) -> str:
        """The one character of tables."""
        return _LETTERS[self.value]


_LETTERS = {
    "free": ".",
    "leased": "L",
    "idle": "i",
    "foreign": "F",
    "contested": "C",
    "drained": "D",
    "unhealthy": "E",
    "unknown": "?",
}


@dataclass(frozen=True, slots=True)
class StrayUse:
    """A host's report of a process on a GPU that its job was not given."""

    in_tree: bool
    """It was started below the job's shim, and has a GPU open; else it may be another's."""
    load: int | None = None
    """Percent of the GPU's time that it used since the last look."""
    visible: str | None = None
    """Its CUDA_VISIBLE_DEVICES when it was started; raw."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that NVML lists on a GPU."""

    pid: int
    kind: str
    """"compute" or "graphics"; only compute processes make a GPU foreign."""
    user: str | None = None
    command: str | None = None
    """Raw, as /proc shows it; pass it through `text.clean` before showing it."""
    memory: int | None = None
    container_id: str | None = None
    """Full id of the container the process runs in, from its cgroup; None outside containers."""
    attempt_id: str | None = None
    """Of a process that Hostler's shim supervises (it or its parents); None else."""
    started_at: float | None = None
    """On the host's clock."""
    exists: bool = True
    """False: NVML lists a PID that is not in /proc (dead, still holding memory)."""
    stray: StrayUse | None = None
    """Of a process on a GPU that its job was not given."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, keyed by `uuid`. Any NVML field may be None: not supported, or not read in time."""

    uuid: str
    index: int
    name: str | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    """Without what the driver reserves, where NVML reports that separately."""
    utilization: float | None = None
    """Percent, 0 to 100."""
    temperature: float | None = None
    power: float | None = None
    power_limit: float | None = None
    clock_sm: float | None = None
    """MHz."""
    clock_memory: float | None = None
    """MHz."""
    ecc_errors: int | None = None
    """Uncorrected, volatile."""
    throttle: tuple[str, ...] = ()
    """Why the clocks are held down: "power cap", "thermal", ... Idle does not count."""
    mig: bool | None = None
    energy: float | None = None
    """Joules since the driver was loaded."""
    problem: str | None = None
    """Why this GPU cannot be trusted with work: "lost", "does not answer", ... None: healthy."""
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """An attempt as its host shows it: a container, or a process under the shim.

    Every Hostler's workloads are listed; "ours" means `daemon_id` is this daemon's.
    """

    attempt_id: str
    daemon_id: str
    runtime: str
    """"docker" or "process"."""
    ref: str
    """Container id, or the shim's attempt id."""
    running: bool
    created_only: bool = False
    """A container that was created and never started."""
    exit_code: int | None = None
    """Raw; None while it runs, or if it is lost."""
    signal: int | None = None
    oom_killed: bool = False
    engine_restarted: bool = False
    """A restart of Docker ended it, as far as the host knows."""
    gpu_cut_off: bool = False
    """The container can no longer open the GPUs it was given; the GPUs themselves are healthy."""
    error: str | None = None
    """The error of the runtime, raw."""
    started_at: float | None = None
    """On the host's clock, as `finished_at`: only their difference means anything here."""
    finished_at: float | None = None
    started_up: float | None = None
    """On the host's clock since its boot, in seconds; None if unknown."""
    gpus: tuple[str, ...] = ()
    """UUIDs it was given."""
    owner: str | None = None
    port: int | None = None
    """Of a service: where it is reached."""
    address: str | None = None
    """The address of the host for that port; None: its loopback."""


@dataclass(frozen=True, slots=True)
class Health:
    """A host's report about a replica: its last answer."""

    attempt_id: str
    ok: bool
    """It answered its health check, and its warm-up before that."""
    since: float
    """Since when, in seconds since the host's boot."""
    said: str = ""
    """The problem, for people; raw."""


@dataclass(frozen=True, slots=True)
class ForeignContainer:
    """A running container without our labels that was given GPUs."""

    container_id: str
    name: str
    image: str
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """A record on the host that a GPU is reserved for a user. One lease holds one GPU."""

    lease_id: str
    gpu: str
    """UUID."""
    daemon_id: str
    owner: str
    """The owner in its text, which the writer may have set to any name."""
    attempt_id: str | None
    """None: a reservation for work by hand."""
    claimed_at: float
    """On the host's clock."""
    until: float | None = None
    boot_id: str | None = None
    workload: str | None = None
    """Container id or "pid:start-time" it is bound to, once known."""
    stale: bool = False
    """The lease is of an earlier boot, or not touched for long, and nothing of it runs."""
    uid: int | None = None
    """The uid of the file's owner, which the kernel guarantees; None: the agent is older and does
    not report it."""
    user: str | None = None
    """The name of that uid there."""

    @property
    def is_of_process(self) -> bool:
        """Whether it is bound to a process, not to a container."""
        return ":" in (self.workload or "")

    @property
    def holder(self) -> str:
        """Its holder, for people: the file's owner, and the owner in its text."""
        if self.user is None or self.user == self.owner:
            return self.owner
        return f"{self.user} for {self.owner}"


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system that matters to Hostler."""

    path: str
    total: int
    free: int
    holds: tuple[str, ...] = ()
    """Runtimes whose workloads write to it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Load and memory of a host at the time of a look."""

    load1: float | None = None
    memory_total: int | None = None
    memory_available: int | None = None
    disks: tuple[Disk, ...] = ()


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts that rarely change; read once per connection, stored with each attempt."""

    hostname: str | None = None
    kernel: str | None = None
    os: str | None = None
    python: str | None = None
    driver: str | None = None
    cuda: str | None = None
    """The driver's CUDA version, like "12.4"."""
    cpus: int | None = None
    memory_total: int | None = None
    docker: str | None = None
    """Engine version; None where this login cannot use Docker."""
    docker_gpu: str | None = None
    """How containers get GPUs here: "nvidia", "cdi" or None."""
    docker_limits: bool = True
    """Containers may get larger limits than the engine's own; True if unknown."""
    runtimes: tuple[str, ...] = ()
    """Those usable by this login: "docker", "process"."""
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    home: str | None = None
    user: str | None = None
    machine: str | None = None
    """The type of its processor, like "x86_64"; None if its agent does not report it."""


@dataclass(frozen=True, slots=True)
class KeptTotal:
    """The total of files from this daemon's ended attempts on a host."""

    count: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """One observation of a host. All its data is of one time, the moment of the request."""

    asked_at: float
    boot_id: str
    gpus: tuple[Gpu, ...] = ()
    workloads: tuple[Workload, ...] = ()
    foreign_containers: tuple[ForeignContainer, ...] = ()
    leases: tuple[Lease, ...] = ()
    machine: Machine = field(default_factory=Machine)
    wall: float | None = None
    """The host's wall clock. Only differences to other times of the host mean anything."""
    up: float | None = None
    """The host's clock since its boot, in seconds."""
    gpu_problem: str | None = None
    """Why no GPUs are known (no driver, ...). None and no GPUs: a host without GPUs."""
    docker_problem: str | None = None
    """Why containers cannot be seen. Then absence from `workloads` proves nothing."""
    lease_problem: str | None = None
    """Why no GPU can be leased there. Claims are refused then."""
    left_out: str | None = None
    """Which lists were too long for a look."""
    kept: KeptTotal = KeptTotal()
    health: Mapping[str, Health] = field(default_factory=dict)
    """Attempt -> the last answer of a replica of a service."""

    @property
    def has_unready(self) -> bool:
        """Whether a replica of a service that should answer does not."""
        return any(not found.ok for found in self.health.values())


class HostCondition(StrEnum):
    """Whether the host itself is usable."""

    UP = "up"
    CONNECTING = "connecting"
    """No answer yet since the daemon started."""
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    """Login or host key refused: a person has to act."""


@dataclass(frozen=True, slots=True)
class HostMount:
    """A folder under [mounts] of the config, as one host sees it."""

    name: str
    path: str
    default: bool = False
    """Every stage gets it without asking."""
    problem: str | None = None
    """Its problem there, "" if it is usable; None: the host was not asked yet."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host as the planner sees it."""

    name: str
    transport: str
    """"ssh", "local" or "sim"."""
    condition: HostCondition
    since: float
    """When the condition began. Looks requested before an `up` began are no longer used."""
    problem: str | None = None
    look: Look | None = None
    """The last one, however old."""
    facts: HostFacts = field(default_factory=HostFacts)
    labels: Mapping[str, str] = field(default_factory=dict)
    drained: str | None = None
    """The reason a person gave; None: not drained. An empty reason is "by NAME"."""
    unmerged: bool = False
    """The database is from a backup, and does not have the later notes of this host yet: the daemon
    starts, ends and removes nothing there."""
    runtimes: tuple[str, ...] = ()
    """Those allowed here: the facts', less what config forbids."""
    cpus: int | None = None
    """The CPUs for planning: by the config, else by the facts."""
    memory: int | None = None
    mounts: tuple[HostMount, ...] = ()
    """All of the config."""
    programs: Mapping[str, bool] = field(default_factory=dict)
    """Path of a program that a stage needs -> whether the host has it; only requested ones."""
    environments: Mapping[str, str | None] = field(default_factory=dict)
    """Modules and conda environments that stages need, in words -> what is missing there: "" for
    nothing, None if the host did not answer in time. Only requested ones."""
    shared_paths: tuple[str, ...] = ()
    processes_of: frozenset[int] | None = None
    """Uids of users whose processes may run there; None: all users."""


class HostChange(TypedDict, total=False):
    """Fields of a host that change while it is watched, each named as there."""

    condition: HostCondition
    since: float
    problem: str | None
    look: Look | None
    facts: HostFacts
    drained: str | None
    unmerged: bool
    runtimes: tuple[str, ...]
    cpus: int | None
    memory: int | None
    mounts: tuple[HostMount, ...]
    programs: Mapping[str, bool]
    environments: Mapping[str, str | None]
