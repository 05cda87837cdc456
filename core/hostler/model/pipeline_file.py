"""The keys of pipeline.toml and their defaults (`priority`, `lost_after`, `grace`, `keep` ...),
help, options of `hostler run`; at most 10,000 stages. A stage of a run is a
`model.pipelines.Stage`.

Each key is defined here (those of `resources` and `retries` with `model.pipelines`) and nowhere
else: its kind, default, the help text of an editor, and where a single command may have it, its
option. The reader, the JSON Schema, the API's body of a command and `hostler run -- CMD` derive
from it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import Flag, Key, Kind, keys_of, mapping_of, table_of, tables_of, toml_key
from hostler.base.readers import PLAIN, FromSubmitter
from hostler.base.text import shown
from hostler.base.value_kinds import (
    COMMAND,
    DURATION,
    FLAG,
    GLOBS,
    IDENTIFIER,
    IMAGE,
    LINE,
    MOUNTS,
    NAME,
    OUTPUT,
    RELATIVE,
    SCALAR,
    SECRET_NAMES,
    SHELL,
    SOME,
    STAGE_ENV,
    WORD,
    WORDS,
    WORKDIR,
    choice,
    whole,
)
from hostler.model import service_keys as of_service
from hostler.model.build_keys import ARGS, CONTEXT, DOCKERFILE, TAG, TARGET
from hostler.model.environment_keys import EnvironmentKeys
from hostler.model.matrix_tables import MATRIX
from hostler.model.pipelines import KINDS, RETRIES, OnLost, Resources, Retries, Scalar, StageKind
from hostler.model.runtimes import NAMES
from hostler.model.services import HealthCheck, Request
from hostler.model.time_limits import ON_TIMEOUT, WARN, OnTimeout, Warn

MAX_STAGES = 10_000
"""Stages of a pipeline after expansion."""


def _read_kind(value: Json) -> object:
    if isinstance(value, str) and value in KINDS:
        return value
    raise ValueError(f"{shown(value)} should be {' or '.join(StageKind)}")


_ON_LOST = choice("wait", "restart")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedKeys(EnvironmentKeys):
    """Keys that a stage may set itself, or inherit from [defaults]."""

    image: str | None = field(
        default=None,
        metadata=toml_key(
            IMAGE,
            "Container image to run in, or the stage of kind `build` that makes it. Default: a "
            "process of the host.",
            flag=Flag("--image", "IMAGE", "container image; none: a plain process"),
        ),
    )
    shell: bool | str = field(
        default=False,
        metadata=toml_key(
            SHELL,
            "The command is one line for `sh -c`, with pipes and variables; a pipe fails with any "
            'of its programs, unless this is "plain".',
            of_command=True,
        ),
    )
    env: Mapping[str, str | FromSubmitter] = field(
        default_factory=dict,
        metadata=toml_key(
            STAGE_ENV,
            'Environment variables. `NAME = { from = "submitter" }` is a secret that `hostler run '
            "--secret NAME` gives.",
            flag=Flag(
                "--env",
                "NAME[=VALUE]",
                "set a variable, or pass on your shell's value; may be repeated",
            ),
        ),
    )
    secrets: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(
            SECRET_NAMES,
            "Secrets (`hostler secret set NAME`), each a variable of the command and a file in the "
            "folder HOSTLER_SECRETS.",
            flag=Flag(
                "--secret",
                "NAME",
                "give this variable of your shell as a secret, kept until the run ends; may be "
                "repeated",
            ),
        ),
    )
    secret_files: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(
            SECRET_NAMES,
            "Secrets that are only files in the folder HOSTLER_SECRETS, and no variables.",
            of_command=True,
        ),
    )
    workdir: str | None = field(
        default=None,
        metadata=toml_key(
            WORKDIR,
            "Folder to start in, below the working folder, or absolute in a container.",
            of_command=True,
        ),
    )
    mounts: tuple[str, ...] | Mapping[str, str] = field(
        default=(),
        metadata=toml_key(
            MOUNTS,
            "Folders of the host by their names under [mounts] in config.toml, or in a container "
            'at other paths: { "/output" = "data" }.',
            flag=Flag(
                "--mount",
                "NAME",
                "a folder named under [mounts] of the configuration; may be repeated",
            ),
        ),
    )
    code: str = field(
        default="snapshot",
        metadata=toml_key(
            choice("snapshot", "here", "none"),
            "Where the code comes from: a copy made at submit, the folder itself, or no code.",
            flag=Flag(
                "--code", "", "run in a copy of this folder, in the folder itself, or without code"
            ),
        ),
    )
    runtime: str = field(
        default="auto",
        metadata=toml_key(
            choice("auto", *NAMES),
            "What runs the stage; auto is docker where there is an image, else process.",
            of_command=True,
        ),
    )
    resources: Resources = field(
        default_factory=Resources,
        metadata=toml_key(table_of(Resources), "What one attempt needs."),
    )
    timeout: float | None = field(
        default=None,
        metadata=toml_key(
            DURATION,
            "An attempt that runs longer is stopped. Default: no limit.",
            flag=Flag("--time-limit", "TIME", "stop the command after this time"),
        ),
    )
    warn: Warn | None = field(default=None, metadata=WARN)
    on_timeout: OnTimeout = field(default=OnTimeout.FAIL, metadata=ON_TIMEOUT)
    retries: Retries = field(
        default_factory=Retries,
        metadata=toml_key(
            RETRIES, "How often to try again, as a number or a table.", of_command=True
        ),
    )
    on_lost: OnLost = field(
        default=OnLost.WAIT,
        metadata=toml_key(
            replace(_ON_LOST, read=lambda value: OnLost(str(_ON_LOST.read(value)))),
            "When the stage's host does not answer: wait for it, or restart elsewhere.",
        ),
    )
    lost_after: float = field(
        default=600.0,
        metadata=toml_key(
            DURATION, 'Time without an answer after which `on_lost = "restart"` restarts.'
        ),
    )
    priority: int = field(
        default=0,
        metadata=toml_key(
            whole(-1000, 0, fillable=True),
            "0 or lower; stages with a higher priority are placed first.",
        ),
    )
    grace: float = field(
        default=30.0,
        metadata=toml_key(DURATION, "Time between TERM and KILL when the stage is stopped."),
    )
    max_parallel: int | None = field(
        default=None,
        metadata=toml_key(
            whole(1, MAX_STAGES, fillable=True),
            "Cells of the matrix that may run at once. Default: as many as fit.",
        ),
    )
    fail_fast: bool = field(
        default=True,
        metadata=toml_key(FLAG, "A failed cell cancels the other cells of its stage."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTable(SharedKeys):
    """One stage of the pipeline."""

    kind: str = field(
        default="task",
        metadata=toml_key(
            Kind(_read_kind, {"enum": [kind.value for kind in StageKind]}),
            "A task does work; a gate's metrics decide whether what follows may run; a build makes "
            "an image of a Dockerfile; a service answers requests until it is stopped.",
        ),
    )
    command: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(
            COMMAND,
            "Arguments as a list, or text that is split like a shell would. Placeholders: "
            "`{params.x}`. A build has none.",
        ),
    )
    context: str | None = field(default=None, metadata=CONTEXT)
    dockerfile: str | None = field(default=None, metadata=DOCKERFILE)
    target: str | None = field(default=None, metadata=TARGET)
    args: Mapping[str, str] | None = field(default=None, metadata=ARGS)
    tag: str | None = field(default=None, metadata=TAG)
    health: HealthCheck | None = field(default=None, metadata=of_service.HEALTH_KEY)
    replicas: int | None = field(default=None, metadata=of_service.REPLICAS)
    port: int | None = field(default=None, metadata=of_service.PORT)
    startup: float | None = field(default=None, metadata=of_service.STARTUP)
    warmup: Request | None = field(default=None, metadata=of_service.WARMUP_KEY)
    drain: float | None = field(default=None, metadata=of_service.DRAIN)
    maxconn: int | None = field(default=None, metadata=of_service.MAXCONN)
    address: str | None = field(default=None, metadata=of_service.ADDRESS_KEY)
    sticky: bool | None = field(default=None, metadata=of_service.STICKY)
    until: float | None = field(default=None, metadata=of_service.UNTIL)
    slurm_commands: bool = field(
        default=False,
        metadata=toml_key(
            FLAG, "Put `srun`, `scontrol` and `module` before PATH, for the batch script of Slurm."
        ),
    )
    slurm_output: str | None = field(
        default=None,
        metadata=toml_key(
            RELATIVE,
            "A file below the working folder to which the log of a process is also written; `%j`, "
            "`%x` and so on as for `--output` of sbatch.",
        ),
    )
    slurm_error: str | None = field(
        default=None,
        metadata=toml_key(
            RELATIVE,
            "A file to which standard error is also written, in place of `slurm_output`.",
        ),
    )
    nested: bool = field(
        default=False,
        metadata=toml_key(
            FLAG,
            "Let the stage submit other runs (`sbatch`), at most 100, with no more than it has.",
            flag=Flag("--nested", "", "let it submit other runs with sbatch, at most 100"),
        ),
    )
    needs: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(
            SOME,
            "Stages that must succeed before: `train` (all its cells), `train.0`, or `train.@` "
            "(the cell with the same matrix values). With `?` behind it, `train?`, it only has to "
            "end.",
        ),
    )
    matrix: Json = field(
        default=None,
        metadata=toml_key(
            MATRIX,
            "Run the stage once for each combination (a table of lists) or each table (a list).",
        ),
    )
    when: str | None = field(
        default=None,
        metadata=toml_key(
            LINE,
            "Expression over params, matrix and metrics of needed stages; false skips the stage.",
        ),
    )
    inputs: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict,
        metadata=toml_key(
            mapping_of(WORDS, WORD),
            "Folder under `inputs/` -> output of another stage, like `prepare.shard`.",
        ),
    )
    outputs: Mapping[str, str] = field(
        default_factory=dict,
        metadata=toml_key(
            mapping_of(OUTPUT, WORD),
            "Name -> folder or file in the working folder that other stages may take; a folder "
            'that ends in "/" is made before the start.',
            of_command=True,
        ),
    )
    keep: tuple[str, ...] | None = field(
        default=None,
        metadata=toml_key(
            GLOBS,
            "Globs of files to keep beside the outputs; `[]` keeps none. Without it: new and "
            "changed files of a stage that declares no outputs.",
            flag=Flag(
                "--output",
                "PATH",
                "save only this file, folder or glob; may be repeated (default: new and changed "
                "files)",
            ),
        ),
    )
    checkpoint: str | None = field(
        default=None,
        metadata=toml_key(
            RELATIVE,
            "Folder in the working folder that is kept for the next attempt.",
            flag=Flag("--checkpoint", "DIR", "a folder that is kept for the next attempt"),
        ),
    )
    conditions: tuple[str, ...] | None = field(
        default=None,
        metadata=toml_key(
            WORDS, "Of a gate: expressions over its metrics; all must hold.", name="pass"
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadTable:
    """The top of a pipeline file, without its stages."""

    name: str = field(metadata=toml_key(NAME, "Name of the pipeline."))
    title: str | None = field(default=None, metadata=toml_key(LINE, "One line for people."))
    params: Mapping[str, Scalar] = field(
        default_factory=dict,
        metadata=toml_key(
            mapping_of(SCALAR, IDENTIFIER),
            "Parameters with their defaults; `hostler run -p lr=0.05` sets them.",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineTable(HeadTable):
    """A pipeline: stages, run in the order of what they need."""

    defaults: SharedKeys = field(
        default_factory=SharedKeys,
        metadata=toml_key(table_of(SharedKeys), "Defaults of all stages."),
    )
    stages: Mapping[str, StageTable] = field(
        metadata=toml_key(tables_of(StageTable), "The stages, by name.")
    )
    """Read one by one, by `spec.stages`."""


def is_line(table: JsonTable) -> bool:
    """Whether the command of a stage's table is a line for a shell."""
    return table.get("shell") in (True, PLAIN)


@functools.cache
def command_keys() -> Mapping[str, Key]:
    """The keys of a command, by their names. In a command, keys of `resources` are on the same
    level as the others."""
    tables: tuple[type, ...] = (Resources, StageTable)
    found = (key for table in tables for key in keys_of(table).values() if key.of_command)
    return MappingProxyType({key.name: key for key in found})
