"""The tables of pipeline.toml, as pydantic models. Their docstrings are the editor's help texts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from hostler.decide.lifecycle import LIFECYCLES
from hostler.spec import later
from hostler.spec.kept import Globs, Output
from hostler.spec.problems import shown
from hostler.spec.values import (
    Causes,
    Command,
    Cpus,
    Duration,
    Env,
    Flag,
    Identifier,
    Image,
    Line,
    Name,
    Relative,
    ScalarValue,
    Shell,
    Size,
    Some,
    Word,
    Words,
    Workdir,
    count_or_table,
    kind_of,
    plain,
    whole,
)


class Table(BaseModel):
    """A TOML table: no key but its own, no value of another kind."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )
    later: ClassVar[dict[str, str]] = {}
    """Keys of later versions, with what is said about each."""


def _read_kind(value: object) -> str:
    if isinstance(value, str) and value in LIFECYCLES:
        return value
    if isinstance(value, str) and value in later.KINDS:
        raise ValueError(later.KINDS[value])
    raise ValueError(f"{shown(value)} should be {' or '.join(LIFECYCLES)}")


def choice(*words: str) -> Any:
    """Annotations for a field that takes one of a few words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{shown(value)} should be one of: {', '.join(words)}")
        return value

    return plain(read, {"enum": list(words)})


def _label_table(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError(f"should be a table of labels, is {kind_of(value)}")
    return value


Labels = Annotated[dict[Word, Line], BeforeValidator(_label_table)]


class ResourcesTable(Table):
    """What one attempt needs, all on one host."""

    later: ClassVar[dict[str, str]] = later.RESOURCES

    gpus: Annotated[int, *whole(0, 1024, fillable=True)] = 0
    """Whole GPUs, for this stage alone. 0: none, and the stage sees none."""
    gpu_memory: Size | None = None
    """Size of each card, at least, as it is sold ("24GiB")."""
    gpu_model: Words = Field(default_factory=list)
    """Words of the card's name ("A100-80G"), or a pattern with `*`; of a list, any may match."""
    cpus: Cpus = 1.0
    """CPU cores."""
    ram: Size | None = None
    """Memory of the host. Left out: a share of the host by its GPUs."""
    shm: Size | None = None
    """Shared memory (/dev/shm) of the container, for data loaders."""
    labels: Labels = Field(default_factory=dict)
    """Labels the host must have, each with this value (config.toml gives hosts labels)."""
    host: Words = Field(default_factory=list)
    """Name of the host, or a pattern with `*`; of a list, any may match."""


class RetriesTable(Table):
    """When a failed attempt is tried again."""

    max: Annotated[int, *whole(0, 100, fillable=True)] = 0
    """Tries after the first."""
    on: Causes | None = None
    """Causes after which to try again. Left out: all that a retry may help against."""
    backoff: Duration = 5.0
    """Pause before the first retry; it doubles each time, up to ten minutes."""


class SharedKeys(Table):
    """What a stage may say itself, or take from [defaults]."""

    image: Image | None = None
    """Container image to run in. Left out: a process of the host."""
    shell: Shell = False
    """The command is one line for `sh -c`, with pipes and variables; a pipe fails with any of its
    programs, unless this is "plain"."""
    env: Env = Field(default_factory=dict)
    """Environment variables."""
    workdir: Workdir | None = None
    """Folder to start in, below the working folder, or absolute in a container."""
    mounts: list[Word] = Field(default_factory=list)
    """Folders of the host by their names under [mounts] in config.toml."""
    code: Annotated[str, *choice("snapshot", "here", "none")] = "snapshot"
    """Where the code comes from: a copy made at submit, the folder itself, or no code."""
    venv: Relative | None = None
    """Requirements file from which a virtual environment is built once, for processes."""
    runtime: Annotated[str, *choice("auto", "docker", "process")] = "auto"
    """What runs the stage; auto is docker where there is an image, else process."""
    resources: ResourcesTable = Field(default_factory=ResourcesTable)
    """What one attempt needs."""
    timeout: Duration | None = None
    """An attempt that runs longer is stopped. Left out: no limit."""
    retries: Annotated[
        RetriesTable, BeforeValidator(count_or_table, json_schema_input_type=int | RetriesTable)
    ] = Field(default_factory=RetriesTable)
    """How often to try again, as a number or a table."""
    on_lost: Annotated[str, *choice("wait", "restart")] = "wait"
    """When the stage's host falls silent: wait until it is heard, or restart elsewhere."""
    lost_after: Duration = 600.0
    """Silence after which `on_lost = "restart"` restarts."""
    priority: Annotated[int, *whole(-1000, 0, fillable=True)] = 0
    """0 or lower: lower ones wait for higher ones."""
    grace: Duration = 30.0
    """Time between the request to end (TERM) and the end by force (KILL)."""
    max_parallel: Annotated[int, *whole(1, 10_000, fillable=True)] | None = None
    """Cells of the matrix that may run at once. Left out: as many as fit."""
    fail_fast: Flag = True
    """A failed cell cancels the other cells of its stage."""


class GlobTable(Table):
    """Values of a matrix key taken from file names."""

    glob: Line
    """Pattern of files in the source, like `data/*.csv`."""


def _as_it_is(value: object) -> object:
    return value


Matrix = Annotated[
    Any,  # read by `matrix.read_matrix`, before this table is
    PlainValidator(
        _as_it_is,
        json_schema_input_type=dict[Identifier, list[ScalarValue] | GlobTable]
        | list[dict[Identifier, ScalarValue]],
    ),
]


class StageTable(SharedKeys):
    """One stage of the pipeline."""

    later: ClassVar[dict[str, str]] = later.STAGE

    kind: Annotated[str, *plain(_read_kind, {"enum": [*LIFECYCLES]})] = "task"
    """A task does work; a gate's metrics decide whether what follows may run."""
    command: Command
    """Arguments as a list, or text that is split like a shell would. Placeholders: `{params.x}`."""
    needs: Some = Field(default_factory=list)
    """Stages that must succeed before: `train` (all its cells), `train.0`, or `train.@` (the cell
    with the same matrix values)."""
    matrix: Matrix | None = None
    """Run the stage once for each combination (a table of lists) or each table (a list)."""
    when: Line | None = None
    """Expression over params, matrix and metrics of needed stages; false skips the stage."""
    inputs: dict[Word, Words] = Field(default_factory=dict)
    """Folder under `inputs/` -> output of another stage, like `prepare.shard`."""
    outputs: dict[Word, Output] = Field(default_factory=dict)
    """Name -> folder or file in the working folder that other stages may take; a folder that ends
    in "/" is made before the start."""
    keep: Globs | None = None
    """Globs of files to keep beside the outputs; `[]` keeps none. Without it: new and changed files
    of a stage that declares no outputs."""
    checkpoint: Relative | None = None
    """Folder in the working folder that the next attempt finds as this one left it."""
    pass_: Words | None = Field(default=None, alias="pass")
    """Of a gate: expressions over its metrics; all must hold."""


class HeadTable(Table):
    """The top of a pipeline file, without its stages."""

    later: ClassVar[dict[str, str]] = later.PIPELINE

    name: Name
    """What runs of this file are called."""
    title: Line | None = None
    """One line for people."""
    params: dict[Identifier, ScalarValue] = Field(default_factory=dict)
    """Parameters with their defaults; `hostler run -p lr=0.05` sets them."""


class PipelineTable(HeadTable):
    """A pipeline: stages, run in the order of what they need."""

    defaults: SharedKeys = Field(default_factory=SharedKeys)
    """What every stage has unless it says otherwise."""
    stages: dict[str, StageTable]
    """The stages, by name."""
