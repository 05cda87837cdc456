"""What a pipeline file says, after it was read: stages, resources, policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hostler.base.units import format_value

Scalar = str | int | float | bool


class StageKind(StrEnum):
    """What a stage is for. What the daemon does with each kind: `hostler.decide.lifecycle`."""

    TASK = "task"
    GATE = "gate"
    """A task whose numbers decide whether what follows may run."""


KINDS = {kind.value for kind in StageKind}
"""The names of all kinds of stage."""


class OnLost(StrEnum):
    """What to do when the host of a running stage goes silent."""

    WAIT = "wait"
    """Until it is heard again, however long. The default: silence is not death."""
    RESTART = "restart"
    """Give the attempt up after `lost_after` and start another elsewhere."""


class Cause(StrEnum):
    """Why an attempt ended otherwise than well. A closed set; words for people."""

    USER_ERROR = "user error"
    """The command ended with a non-zero exit code of its own."""
    OOM_HOST = "OOM (host)"
    OOM_GPU = "OOM (GPU)"
    GPU_LOST = "GPU lost"
    HOST_REBOOTED = "host rebooted"
    HOST_LOST = "host lost"
    PREEMPTED = "preempted"
    TIME_LIMIT = "time limit"
    STOPPED = "stopped"
    """By a person; the detail names them."""
    DEPENDENCY = "dependency"
    GATE = "gate"
    START_FAILED = "start failed"
    """Image, mount, or the runtime itself."""
    NOT_STARTED = "not started"
    """The GPU was taken between plan and claim. Does not count as a try."""
    HOST_FAULT = "host fault"
    """Nothing can be started on the host. Does not count as a try."""
    OUTPUT = "output"
    """The command succeeded but a declared output is missing or over its cap."""
    ENGINE_RESTARTED = "ended by docker restart"
    VANISHED = "vanished"
    """The workload is gone and nobody knows how it ended (removed by hand, ...)."""


UNCOUNTED = frozenset({Cause.NOT_STARTED, Cause.HOST_FAULT})
"""Causes by which nothing of the stage ran: such attempts do not count as tries."""

RETRYABLE: tuple[Cause, ...] = (
    Cause.USER_ERROR, Cause.OOM_HOST, Cause.OOM_GPU, Cause.GPU_LOST, Cause.HOST_REBOOTED,
    Cause.HOST_LOST, Cause.TIME_LIMIT, Cause.GATE, Cause.START_FAILED, Cause.OUTPUT,
    Cause.ENGINE_RESTARTED, Cause.VANISHED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Resources:
    """What one attempt needs, on one host."""

    gpus: int = 0
    gpu_memory: int | None = None
    """Nominal size of each card, at least (7 % tolerance: cards report a little less)."""
    gpu_models: tuple[str, ...] = ()
    """Words of the NVML name or the short name, globs where they hold a `*`; any may match."""
    cpus: float = 1.0
    ram: int | None = None
    """None: no limit asked; the runtime sets a share of the host."""
    shm: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """Each must be equal on the host."""
    hosts: tuple[str, ...] = ()
    """Names or globs the host must be one of; empty: any."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and after which causes a stage is tried again."""

    max: int = 0
    on: tuple[Cause, ...] = RETRYABLE
    backoff: float = 5.0
    """Seconds before the first retry; doubled each time, 10 minutes at most."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run, ready to be placed: matrix expanded, parameters filled in.

    A stage without a matrix is its own only cell, and `name` equals `base`. With one, the cells are
    `base.0`, `base.1`, ... in the order of the matrix.
    """

    name: str
    base: str
    kind: str
    """One of `KINDS`."""
    command: tuple[str, ...]
    """Argument list. With `shell` the one element is a line for `sh -c`."""
    shell: bool = False
    plain_shell: bool = False
    """With `shell`: a pipe counts by its last program alone, as `sh` has it by itself."""
    cell: Mapping[str, Scalar] = field(default_factory=dict)
    runtime: str = "process"
    """"docker" or "process", resolved: docker where an image is named."""
    image: str | None = None
    venv: str | None = None
    """Requirements file relative to the source, from which a virtual environment is built."""
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    """Relative to the working folder, or absolute inside the container."""
    mounts: tuple[str, ...] = ()
    """Names from `[mounts]` of the config."""
    program: str | None = None
    """Path of the command's program in the submitter's conda or virtual environment: a process
    runs only where it is there."""
    code: str = "snapshot"
    """"snapshot", "here" (the submitter's folder itself) or "none"."""
    needs: tuple[str, ...] = ()
    """Stage names (cells), expanded."""
    when: str | None = None
    """Expression over params, matrix and metrics of the stages needed; false: skipped."""
    conditions: tuple[str, ...] = ()
    """`pass` of a gate: expressions over its metrics, all must be true."""
    resources: Resources = field(default_factory=Resources)
    timeout: float | None = None
    retries: Retries = field(default_factory=Retries)
    on_lost: OnLost = OnLost.WAIT
    lost_after: float = 600.0
    """Seconds of silence after which `on_lost = "restart"` gives an attempt up."""
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Folder name under `inputs/` -> "stage.output" references, expanded to cells."""
    spread: frozenset[str] = frozenset()
    """Inputs that hold a folder for each cell, named like the cell, and not the output itself."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output name -> folder or file, relative to the working folder."""
    keep: tuple[str, ...] | None = None
    """Globs of files that are kept beside the outputs, relative to the working folder; empty:
    none. None: new and changed files where no output is declared, else none."""
    checkpoint: str | None = None
    """Folder relative to the working folder that survives retries."""
    max_parallel: int | None = None
    """Cells of the same base that may run at once."""
    fail_fast: bool = True
    """A failed cell cancels the cells of the same base that still run."""
    priority: int = 0
    """Zero or lower; people may only lower it."""
    grace: float = 30.0
    """Seconds between TERM and KILL."""

    def __post_init__(self) -> None:
        """Raises ValueError for a kind that this version does not know how to start or end."""
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of stage that this version knows")

    @property
    def label(self) -> str:
        """The name with its cell, for people: `train.0 (lr=0.1)`."""
        if not self.cell:
            return self.name
        values = (f"{key}={format_value(value)}" for key, value in self.cell.items())
        return f"{self.name} ({', '.join(values)})"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline, read and expanded for given parameters."""

    name: str
    stages: tuple[Stage, ...]
    """In file order; acyclic; every name in `needs` exists."""
    params: Mapping[str, Scalar] = field(default_factory=dict)
    title: str = ""
