"""The fields of a look, section by section (GPUs, processes, disks, leases, ...), for agent and
daemon: a new measured value is a field here.

A row is sent as a list in the order of its fields, and the daemon checks their types. A new value
of a GPU needs one more field here, which `nvml` reads, and a field of the same name in the daemon's
model.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, TypedDict

from hostler_agent.json_values import Outgoing


class GpuName(NamedTuple):
    """Properties of a GPU that rarely change."""

    uuid: str
    number: int
    """Its index in NVML."""
    name: Optional[str]
    memory_total: Optional[int]
    power_limit: Optional[float]


class GpuValues(NamedTuple):
    """Values that are read at every look."""

    memory_used: Optional[float] = None
    """MiB."""
    utilization: Optional[float] = None
    temperature: Optional[float] = None
    power: Optional[float] = None
    """W."""
    clock_sm: Optional[float] = None
    clock_memory: Optional[float] = None


class GpuSlow(NamedTuple):
    """Values that change slowly, and the problem of a GPU."""

    ecc_errors: Optional[int] = None
    throttle: Tuple[str, ...] = ()
    mig: Optional[bool] = None
    energy: Optional[float] = None
    """J."""
    problem: Optional[str] = None


class StrayUse(NamedTuple):
    """The report on a process that uses a GPU which its job was not given."""

    in_tree: bool
    """Whether the process was started below the job's shim, and has a GPU open; if not, it may
    belong to another program."""
    load: Optional[int] = None
    """Percent of the GPU's time that the process used since the last look; None: unknown."""
    visible: Optional[str] = None
    """The process's CUDA_VISIBLE_DEVICES when it was started; None: unknown or not set."""


class GpuProcess(NamedTuple):
    """A process on a GPU. None in a field: unknown."""

    pid: int
    kind: str
    """"compute" or "graphics"."""
    memory: Optional[int]
    user: Optional[str] = None
    command: Optional[str] = None
    container_id: Optional[str] = None
    attempt_id: Optional[str] = None
    started_at: Optional[float] = None
    exists: bool = True
    stray: Optional[StrayUse] = None

    def to_json(self) -> Outgoing:
        """The known values, and always the memory."""
        told = {
            name: value
            for name, value in self._asdict().items()
            if name == "memory" or (value is not None and value is not True)
        }
        return told if self.stray is None else {**told, "stray": self.stray._asdict()}


class DiskSpace(NamedTuple):
    """A file system, in bytes."""

    path: str
    total: int
    free: int
    holds: List[str]
    """Runtimes whose workloads write to it."""


class MachineRow(NamedTuple):
    """The machine itself; memory in bytes."""

    load1: Optional[float]
    memory_total: Optional[int]
    memory_available: Optional[int]
    disks: List[DiskSpace]


class KeptRow(NamedTuple):
    """Kept files of ended attempts on this host."""

    attempts: int
    bytes: int


class ClockRow(NamedTuple):
    """Seconds of the wall clock and since boot."""

    wall: float
    up: Optional[float]


class HealthRow(NamedTuple):
    """The last health check of a service's replica."""

    attempt_id: str
    ok: bool
    since: float
    """When `ok` took its present value, in seconds since boot."""
    said: str
    """The problem as text; "" if the replica is healthy."""


class Trouble(TypedDict):
    """A sentence for each part of the look that cannot be read; None: no problem."""

    gpu: Optional[str]
    docker: Optional[str]
    leases: Optional[str]
    lists: Optional[str]


class _Workload(TypedDict):
    attempt_id: str
    daemon_id: str
    runtime: str
    ref: str
    running: bool
    gpus: List[str]


class Workload(_Workload, total=False):
    """A container or process of Hostler, without unknown fields."""

    owner: Optional[str]
    created_only: bool
    exit_code: Optional[int]
    signal: int
    oom_killed: bool
    engine_restarted: bool
    gpu_cut_off: bool
    error: str
    started_at: Optional[float]
    started_up: Optional[float]
    finished_at: Optional[float]
    port: int
    """The port of a service; on loopback if there is no `address`."""
    address: str


class _Left(TypedDict):
    log: str
    """All output of the job, in base64."""
    metrics: bool
    """Whether the job wrote a metrics file."""


class Left(_Left, total=False):
    """The data about a job that is sent with its end."""

    changed: Optional[int]
    """0: no file of its folder is new or changed; None: not checked yet."""


class Foreign(TypedDict):
    """A container of another program that has GPUs."""

    container_id: str
    name: str
    image: str
    gpus: List[str]


class Lease(TypedDict):
    """The content of a lease's file."""

    lease_id: str
    gpu: str
    daemon_id: str
    owner: str
    attempt_id: Optional[str]
    claimed_at: float
    until: Optional[float]
    boot_id: Optional[str]
    workload: Optional[str]


class SeenLease(Lease):
    """A lease in a look, with its state."""

    stale: bool
    uid: int
    """The uid of the lease file's owner; `user` is the name."""
    user: str


class _Services(TypedDict, total=False):
    health: List[HealthRow]
    """Absent if no service has run on the host."""


class Sections(_Services):
    """All sections of a look."""

    boot: str
    names: List[GpuName]
    g: List[GpuValues]
    slow: List[GpuSlow]
    procs: Dict[str, List[Outgoing]]
    work: List[Workload]
    foreign: List[Foreign]
    leases: Sequence[Outgoing]
    """Each is a `SeenLease`."""
    machine: MachineRow
    clock: ClockRow
    kept: KeptRow
    trouble: Trouble
