"""The request bodies of the API: allowed fields, longest texts and lists (pipeline file, title,
drain reason, environment variables), and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    create_model,
    model_validator,
)

from hostler.base.keys import Key, Shape
from hostler.base.secret import Secret
from hostler.base.secret_rules import MAX_NAMES
from hostler.daemon.clean import CleanRequest
from hostler.daemon.retry import Change
from hostler.daemon.submit import Submission
from hostler.model.pipeline_file import MAX_STAGES, command_keys
from hostler.model.runs import Source

_MIB = 1024 * 1024
_MOST_NAMED = 10_000
_MOST_MEMBERS = 100
Short = Annotated[str, Field(max_length=4096)]
LongText = Annotated[str, Field(max_length=128 * 1024)]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=4096)]


def _texts(value: object) -> object:
    """Report only once that a list contains items that are not strings: a report for each item
    takes seconds."""
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise ValueError("should be a list of texts")
    return value


def _few(value: object) -> object:
    """Check the length before the items, for the same reason."""
    if isinstance(value, dict) and len(value) > _MOST_NAMED:
        raise ValueError(f"has more than {_MOST_NAMED:,} members")
    return value


Texts = BeforeValidator(_texts)
Number = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Few = BeforeValidator(_few)
Variables = Annotated[dict[Short, LongText], Few]
Names = Annotated[list[Short], Field(max_length=100_000), Texts]
Lines = Annotated[
    dict[Short, Annotated[list[LongText], Field(max_length=MAX_STAGES), Texts]],
    Field(max_length=100),
    Few,
]
"""The lines of files that a matrix takes its values from."""
Secrets = Annotated[dict[Short, SecretStr], Field(max_length=MAX_NAMES), Few]
"""Name -> value. No answer and no log contains these values."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _few_members(cls, value: object) -> object:
        """Limit the members: each unknown one is reported, which takes seconds for very many."""
        if isinstance(value, dict) and len(value) > _MOST_MEMBERS:
            raise ValueError(f"has more than {_MOST_MEMBERS} members")
        return value


def own_secrets(given: Mapping[str, SecretStr]) -> dict[str, Secret]:
    """The secrets of a submission, as model values."""
    return {name: Secret(value.get_secret_value()) for name, value in given.items()}


class SourceBody(_Body):
    """Where the code comes from; `digest` names an uploaded snapshot."""

    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    path: Short | None = None
    git_commit: Short | None = None
    git_branch: Short | None = None
    git_dirty: bool = False
    git_diff: Annotated[str, Field(max_length=2 * _MIB)] | None = None
    include: Annotated[list[Short], Field(max_length=1000), Texts] = Field(default_factory=list)

    def to_model(self) -> Source:
        """The same as a model value."""
        return Source(**{**self.model_dump(), "include": tuple(self.include)})


class _OwnOfCommand(_Body):
    """One command instead of a pipeline file."""

    command: Annotated[list[LongText], Field(min_length=1), Texts]
    name: Short | None = None
    each: Annotated[list[Short], Field(min_length=1, max_length=MAX_STAGES), Texts] | None = None
    array: Annotated[list[Number], Field(min_length=1, max_length=MAX_STAGES)] | None = None
    max_parallel: Annotated[int, Field(ge=1)] | None = None


def _field(key: Key) -> tuple[object, object]:
    """The type and default of a stage's key in a command's JSON. The pipeline's reader checks the
    content of strings."""
    kind = key.kind
    match kind.shape:
        case Shape.WHOLE if kind.bounds is not None:
            low, high = kind.bounds
            return Annotated[int, Field(ge=low, le=high)], key.default
        case Shape.SHELL:
            return bool | Literal["plain"], key.default
        case Shape.COUNT:
            return Annotated[int, Field(ge=0)] | None, None
        case Shape.NUMBER:
            return Annotated[float, Field(gt=0)] | None, None
        case Shape.TEXTS:
            return Annotated[list[Short], Field(max_length=kind.most), Texts] | None, None
        case Shape.TEXT_TABLE:
            return Annotated[dict[Short, Short], Few] | None, None
        case Shape.VARIABLES:
            return Variables | None, None
        case _:
            return Short | None, None


if TYPE_CHECKING:
    CommandBody = _OwnOfCommand
else:
    CommandBody = create_model(
        "CommandBody",
        __base__=_OwnOfCommand,
        __doc__=_OwnOfCommand.__doc__,
        **{name: _field(key) for name, key in command_keys().items()},
    )


class SubmitBody(_Body):
    """A pipeline (the file's text) or a command, and its options."""

    pipeline: Annotated[str, Field(max_length=2 * _MIB)] | None = None
    file: Short = "pipeline.toml"
    command: CommandBody | None = None
    params: Annotated[dict[Short, Short], Few] = Field(default_factory=dict)
    args: Annotated[list[LongText], Field(max_length=1000), Texts] = Field(default_factory=list)
    after: Annotated[list[Short], Field(max_length=_MOST_MEMBERS), Texts] = Field(
        default_factory=list
    )
    after_any: Annotated[list[Short], Field(max_length=_MOST_MEMBERS), Texts] = Field(
        default_factory=list
    )
    source: SourceBody = Field(default_factory=SourceBody)
    env: Variables = Field(default_factory=dict)
    programs: Annotated[dict[Short, AbsolutePath], Field(max_length=200), Few] = Field(
        default_factory=dict
    )
    priority: Annotated[int, Field(ge=-1_000_000)] = 0
    title: Annotated[str, Field(max_length=200)] = ""
    files: Names = Field(default_factory=list)
    links: Names = Field(default_factory=list)
    lines: Lines = Field(default_factory=dict)
    secrets: Secrets = Field(default_factory=dict)

    def to_model(self) -> Submission:
        """The same as a model value."""
        command = None
        if self.command is not None:
            command = self.command.model_dump(exclude_none=True)
        return Submission(
            pipeline=self.pipeline,
            file=self.file,
            command=command,
            params=self.params,
            args=tuple(self.args),
            after={**dict.fromkeys(self.after_any, True), **dict.fromkeys(self.after, False)},
            source=self.source.to_model(),
            env=self.env,
            programs=self.programs,
            priority=self.priority,
            title=self.title,
            files=tuple(self.files),
            links=tuple(self.links),
            lines={name: tuple(lines) for name, lines in self.lines.items()},
            secrets=own_secrets(self.secrets),
        )


class DeployBody(SubmitBody):
    """A pipeline with a service, and how it is to be deployed."""

    set_env: Annotated[
        dict[Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]{0,255}$")], LongText],
        Field(max_length=100),
        Few,
    ] = Field(default_factory=dict)
    strategy: Literal["surge", "recreate"] | None = None
    rebuild: bool = False


class RollbackBody(_Body):
    """The release to bring back; default: the last one that was live before."""

    release: Annotated[int, Field(ge=1, lt=2**31)] | None = None


class RetryBody(_Body):
    """The changes of a retry; without changes, all stages that did not succeed run again as they
    were."""

    source: SourceBody | None = None
    pipeline: Annotated[str, Field(max_length=2 * _MIB)] | None = None
    file: Short | None = None
    params: Annotated[dict[Short, Short], Few] = Field(default_factory=dict)
    starts: Annotated[list[Short], Field(alias="from", max_length=1000), Texts] = Field(
        default_factory=list
    )
    files: Names = Field(default_factory=list)
    links: Names = Field(default_factory=list)
    lines: Lines = Field(default_factory=dict)
    secrets: Secrets = Field(default_factory=dict)

    def to_model(self) -> Change:
        """The same as a model value."""
        return Change(
            source=None if self.source is None else self.source.to_model(),
            pipeline=self.pipeline,
            file=PurePath(self.file or "").name,
            params=self.params,
            starts=tuple(self.starts),
            files=tuple(self.files),
            links=tuple(self.links),
            lines={name: tuple(lines) for name, lines in self.lines.items()},
            secrets=own_secrets(self.secrets),
        )


class RerunBody(_Body):
    """New code for a rerun; None: the code of the first run."""

    source: SourceBody | None = None
    secrets: Secrets = Field(default_factory=dict)


class FetchedBody(_Body):
    """An artifact that a user has fetched completely; without `artifact`, the files on the host."""

    attempt_id: Short
    artifact: Short | None = None


class DrainBody(_Body):
    """Why a host is drained."""

    reason: Annotated[str, Field(max_length=500)] = ""


class ImageBody(_Body):
    """An image by its name or digest."""

    image: Annotated[str, Field(min_length=1, max_length=500)]


class SendImageBody(_Body):
    """An image by its name or id, and the hosts to send it to."""

    image: Annotated[str, Field(min_length=1, max_length=500)]
    hosts: Annotated[list[Short], Field(min_length=1, max_length=200), Texts]


class TokenBody(_Body):
    """The services of a token (none named: every service), and how long it is valid."""

    services: Annotated[list[Short], Field(max_length=100), Texts] = []
    seconds: Annotated[float, Field(gt=0)]


class SshAgentBody(_Body):
    """The path in the caller's `SSH_AUTH_SOCK`."""

    socket: Annotated[str, Field(pattern="^/", max_length=107)]


class CleanBody(_Body):
    """What to remove from a host besides unneeded files; `dry_run` only lists it. `shown_at` is the
    `at` of the answer that the user saw."""

    dry_run: bool = False
    checkpoints: bool = False
    kept: bool = False
    shown_at: float | None = None

    def to_model(self) -> CleanRequest:
        """The same as a model value."""
        return CleanRequest(**self.model_dump())


class GcBody(_Body):
    """What to free; `dry_run` only lists it."""

    dry_run: bool = False


class KeepBody(_Body):
    """The time until which a run is kept, in seconds since the epoch; null: forever."""

    until: Annotated[float, Field(gt=0, lt=1e11, allow_inf_nan=False)] | None = None


class PriorityBody(_Body):
    """A run's new priority; users may only lower it."""

    priority: Annotated[int, Field(le=0, ge=-1_000_000)]


class ScaleBody(_Body):
    """The number of replicas of a service."""

    replicas: Annotated[int, Field(ge=-1_000_000, le=1_000_000)]


class ExtendBody(_Body):
    """The number of seconds by which a service's time is extended."""

    seconds: Annotated[float, Field(gt=0, le=1e12)]
