"""A pipeline after it was read; keys and defaults of `resources` (GPUs, CPUs, disk, hosts) and of
`retries` (number, causes, first pause).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from hostler.base.gpu_models import alternatives, split_count
from hostler.base.json_types import Json
from hostler.base.json_types import Scalar as Scalar
from hostler.base.keys import Flag, Kind, Shape, read_table, reference, toml_key
from hostler.base.readers import kind_of, read_words
from hostler.base.several import of_all, of_list, read_all
from hostler.base.units import format_value
from hostler.base.value_kinds import CPUS, DURATION, LABELS, SIZE, WORDS, whole
from hostler.model.causes import CAUSES
from hostler.model.causes import RETRYABLE as RETRYABLE
from hostler.model.causes import UNCOUNTED as UNCOUNTED
from hostler.model.causes import Cause as Cause
from hostler.model.environments import Environment, conda_file, environment_to_ask
from hostler.model.services import Service
from hostler.model.time_limits import OnTimeout, Warn


class StageKind(StrEnum):
    """The purpose of a stage. `hostler.decide.lifecycle` has the daemon's actions for each kind."""

    TASK = "task"
    GATE = "gate"
    """A task whose numbers decide whether later stages may run."""
    BUILD = "build"
    """Makes an image of a Dockerfile."""
    SERVICE = "service"
    """Answers requests until it is stopped."""


KINDS = {kind.value for kind in StageKind}
"""The names of all kinds of stage."""


class GroupHosts(StrEnum):
    """Where the stages of a group go, which are placed together."""

    DISTINCT = "distinct"
    """Each on a host of its own."""
    SAME = "same"
    """All on one host."""


class OnLost(StrEnum):
    """What to do when the host of a running stage goes silent."""

    WAIT = "wait"
    """Until it answers again, however long. The default: the work may still run."""
    RESTART = "restart"
    """Record the attempt as lost after `lost_after` and start another one elsewhere."""


def _read_models(value: Json) -> object:
    items = value if isinstance(value, list) else [value]
    words = read_words(value)
    read_all(words, split_count, of_list if items is value else of_all)
    return words


_MODELS = replace(WORDS, read=_read_models)


@dataclass(frozen=True, slots=True)
class Resources:
    """What one attempt needs, all on one host."""

    gpus: int = field(
        default=0,
        metadata=toml_key(
            whole(0, 1024, fillable=True),
            "Whole GPUs, for this stage alone. 0: none, and the stage sees none.",
            flag=Flag("--gpus", "N", "number of GPUs, all on one host"),
        ),
    )
    gpu_memory: int | None = field(
        default=None,
        metadata=toml_key(
            SIZE,
            'Least memory of each GPU, as it is sold ("24GiB").',
            flag=Flag(
                "--gpu-memory", "SIZE", "only GPUs with at least this much memory, like 24GiB"
            ),
            needs="gpus",
        ),
    )
    """With a tolerance of 7 %: cards report a little less."""
    gpu_models: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(
            _MODELS,
            'Words of the card\'s name ("A100-80G"), or a pattern with `*`; of a list, any may '
            'match. With a number of GPUs for this model: ["L4:8", "A100:4"].',
            name="gpu_model",
            flag=Flag(
                "--model",
                "TEXT",
                "GPU model: words of the name (A100, A100-80G), or a glob with a *; with a number "
                "of GPUs, L4:8; may be repeated",
            ),
            needs="gpus",
        ),
    )
    """Of the NVML name or the short name; see `alternatives`."""
    cpus: float = field(
        default=1.0,
        metadata=toml_key(CPUS, "CPU cores.", flag=Flag("--cpus", "N", "number of CPUs")),
    )
    ram: int | None = field(
        default=None,
        metadata=toml_key(
            SIZE,
            "Memory of the host. Default: a share of the host by its GPUs.",
            flag=Flag("--ram", "SIZE", "main memory (RAM)"),
        ),
    )
    disk: int | None = field(
        default=None,
        metadata=toml_key(
            SIZE,
            "Free space on the disk that the stage writes to, at placement. Not reserved.",
            flag=Flag("--disk", "SIZE", "free space on the disk that it writes to"),
        ),
    )
    shm: int | None = field(
        default=None,
        metadata=toml_key(
            SIZE,
            "Shared memory (/dev/shm) of the container, for data loaders.",
            flag=Flag("--shm", "SIZE", "shared memory (/dev/shm) of the container"),
        ),
    )
    labels: Mapping[str, str] = field(
        default_factory=dict,
        metadata=toml_key(
            LABELS,
            "Labels the host must have, each with this value (config.toml gives hosts labels).",
            of_command=True,
        ),
    )
    hosts: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(
            WORDS,
            "Name of the host, or a pattern with `*`; of a list, any may match.",
            name="host",
            flag=Flag("--host", "NAME", "only on this host; a glob; may be repeated"),
        ),
    )
    """Empty: any."""

    @property
    def alternatives(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """Alternatives of GPU numbers and models; an earlier one is better."""
        return alternatives(self.gpu_models, self.gpus) if self.gpu_models else ((self.gpus, ()),)


@dataclass(frozen=True, slots=True)
class Retries:
    """When a failed attempt is tried again."""

    max: int = field(
        default=0, metadata=toml_key(whole(0, 100, fillable=True), "Tries after the first.")
    )
    on: tuple[Cause, ...] = field(
        default=RETRYABLE,
        metadata=toml_key(
            CAUSES,
            "Causes after which to try again. Default: all causes that a retry can help against.",
        ),
    )
    backoff: float = field(
        default=5.0,
        metadata=toml_key(
            DURATION, "Pause before the first retry; it doubles each time, up to ten minutes."
        ),
    )


def _read_retries(value: Json) -> object:
    """`retries = 2` for `retries = { max = 2 }`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return read_table(Retries, {"max": value})
    if isinstance(value, dict):
        return read_table(Retries, value)
    raise ValueError(f"should be a number of tries or a table, is {kind_of(value)}")


RETRIES = Kind(
    _read_retries,
    {"anyOf": [{"type": "integer"}, reference(Retries)]},
    Shape.COUNT,
    tables=(Retries,),
    fillable=True,
)


@dataclass(frozen=True, slots=True)
class After:
    """Another run that has to end before a stage starts."""

    run_id: str
    only_end: bool = False
    """It only has to end, with any result; else it has to succeed."""


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
    """With `shell`: only the last program of a pipe decides its exit code, as is the default of
    `sh`."""
    slurm_commands: bool = False
    """`srun`, `scontrol` and `module` come first in its PATH."""
    slurm_output: str | None = None
    """A further file for its log, as in `--output` of sbatch."""
    slurm_error: str | None = None
    """A further file for its standard error, if different."""
    nested: bool = False
    """It may submit other runs, and see and cancel those."""
    cell: Mapping[str, Scalar] = field(default_factory=dict)
    runtime: str = "process"
    """"docker" or "process", resolved: docker where an image is named."""
    image: str | None = None
    built_by: str | None = None
    """The stage (cell) of the run that builds the image; then `image` is the name of that stage."""
    context: str = "."
    """Of a build: the folder of the working folder that it gets."""
    dockerfile: str | None = None
    """Of a build: relative to `context`; None: the usual one."""
    target: str | None = None
    """Of a build: stage of the Dockerfile; None: the last."""
    args: Mapping[str, str] = field(default_factory=dict)
    """Of a build: values of the Dockerfile's arguments."""
    tag: str | None = None
    """Of a build: the name by which later runs of the same person can use the image."""
    service: Service | None = None
    """Of a service: its port and health."""
    venv: str | None = None
    """Requirements file relative to the source, from which a virtual environment is built."""
    conda: str | None = None
    """Name or path of a conda environment on the host, which a process is started in, or a file
    relative to the source, from which one is built."""
    modules: tuple[str, ...] = ()
    """Modules of the host (Lmod, Environment Modules) that are loaded before it."""
    setup: str | None = None
    """Lines for a shell that run once, in the environment of the command."""
    setup_files: tuple[str, ...] | None = None
    """Files on which that environment depends; None: the usual ones."""
    setup_timeout: float = 1800.0
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of secrets, each a variable and a file."""
    secret_files: tuple[str, ...] = ()
    """Names of secrets, each only a file."""
    from_submitter: tuple[str, ...] = ()
    """Those of `secrets` that only the submission itself can give."""
    workdir: str | None = None
    """Relative to the working folder, or absolute inside the container."""
    mounts: tuple[str, ...] = ()
    """Names from `[mounts]` of the config, each at its own path."""
    mount_targets: Mapping[str, str] = field(default_factory=dict)
    """Path inside the container -> such a name."""
    program: str | None = None
    """Path of the command's program in the submitter's conda or virtual environment: a process runs
    only on hosts that have it."""
    code: str = "snapshot"
    """"snapshot", "here" (the submitter's folder itself) or "none"."""
    needs: tuple[str, ...] = ()
    """Stage names (cells), expanded."""
    needs_ended: frozenset[str] = frozenset()
    """Those of `needs` that only have to end, with any result; the others have to succeed."""
    after: tuple[After, ...] = ()
    """Other runs that it waits for. Stages that need others of their run have none."""
    when: str | None = None
    """Expression over params, matrix and metrics of the stages needed; false: skipped."""
    conditions: tuple[str, ...] = ()
    """`pass` of a gate: expressions over its metrics, all must be true."""
    resources: Resources = field(default_factory=Resources)
    timeout: float | None = None
    warn: Warn | None = None
    """A signal before the time limit; nothing without one."""
    on_timeout: OnTimeout = OnTimeout.FAIL
    retries: Retries = field(default_factory=Retries)
    on_lost: OnLost = OnLost.WAIT
    lost_after: float = 600.0
    """Seconds of silence after which `on_lost = "restart"` records an attempt as lost."""
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Folder name under `inputs/` -> "stage.output" references, expanded to cells."""
    spread: frozenset[str] = frozenset()
    """Inputs that contain a folder for each cell, named like the cell, and not the output
    itself."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output name -> folder or file, relative to the working folder."""
    keep: tuple[str, ...] | None = None
    """Globs of files that are kept beside the outputs, relative to the working folder; empty: none.
    None: new and changed files if no output is declared, else none."""
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
            raise ValueError(f"{self.kind!r} is not a kind of stage that this version knows")

    @property
    def named_secrets(self) -> tuple[str, ...]:
        """All secrets that it takes."""
        return (*self.secrets, *self.secret_files)

    @property
    def environment(self) -> Environment | None:
        """The environment that hosts are asked about before one is chosen."""
        if self.conda is None and not self.modules:
            return None
        return environment_to_ask(self.conda, self.modules, self.env)

    @property
    def is_set_up(self) -> bool:
        """Whether an environment is built for it before its GPUs are claimed."""
        has_file = self.conda is not None and conda_file(self.conda) is not None
        return self.setup is not None or has_file

    @property
    def is_tied(self) -> bool:
        """Whether it may need things that are on one host only."""
        return self.checkpoint is not None or self.built_by is not None

    @property
    def named_mounts(self) -> tuple[str, ...]:
        """All mounts that it names, at any path."""
        if not self.mount_targets:
            return self.mounts
        return tuple(dict.fromkeys((*self.mounts, *self.mount_targets.values())))

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
