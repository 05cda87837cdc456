"""Runs, their stages and attempts, in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.base.json_types import Scalar
from hostler.model.attempts import AttemptView as AttemptView
from hostler.model.attempts import Origin, Source
from hostler.model.reasons import Reason

ReasonView = Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """The origin of a run's code, without its uncommitted changes."""

    digest: str | None = None
    path: str | None = None
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool = False
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginView:
    """The code and parameters of an earlier run, for the stages that a retry keeps."""

    source: SourceView = field(default_factory=SourceView)
    params: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressView:
    """The progress of a start or a copy."""

    what: str = ""
    done: int = 0
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """A stage of a run and its state."""

    name: str
    base: str = ""
    """Name of the stage in the file: the same for all cells of a matrix."""
    label: str = ""
    kind: str = "task"
    status: str = "waiting"
    """"waiting", "starting", "running", "collecting", "succeeded", "failed", "cancelled" or
    "skipped"."""
    needs: tuple[str, ...] = ()
    needs_ended: tuple[str, ...] = ()
    """Those of `needs` that only need to end, with any result."""
    command: tuple[str, ...] = ()
    image: str | None = None
    runtime: str | None = None
    gpus: int = 0
    """Number of requested GPUs."""
    attempt: AttemptView | None = None
    """The last attempt; if a retry kept the stage, the attempt in the earlier run."""
    attempts: tuple[AttemptView, ...] = ()
    reason: ReasonView | None = None
    """Why it is pending."""
    progress: ProgressView | None = None
    trouble: str | None = None
    """A problem that affects it while it runs."""
    kept: bool = False
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """The `hostler.run/1` object."""

    schema: str = "hostler.run/1"
    run_id: str
    pipeline: str = ""
    title: str = ""
    owner: str = ""
    uid: int = -1
    state: str = "waiting"
    """"waiting", "running", or the outcome."""
    outcome: str | None = None
    """"succeeded", "failed", "cancelled"; None: it has not ended."""
    submitted_at: float = 0.0
    started_at: float | None = None
    """When its first attempt started."""
    finished_at: float | None = None
    cancelled_by: str | None = None
    priority: int = 0
    params: Mapping[str, Scalar] = field(default_factory=dict)
    retry_of: str | None = None
    parent: str | None = None
    """The run whose stage submitted this run."""
    source: SourceView = field(default_factory=SourceView)
    after: tuple[str, ...] = ()
    """Other runs that must succeed before it starts."""
    after_any: tuple[str, ...] = ()
    """Other runs that must end before it starts."""
    file: str | None = None
    """Name of its pipeline file; None: it is a single command."""
    origins: Mapping[str, OriginView] = field(default_factory=dict)
    """Run -> code and parameters of the stages kept from it, if they differ from this run's."""
    stages: tuple[StageView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepView:
    """Who keeps a run, since when, and until when; None: until a user ends it."""

    by: str = ""
    at: float = 0.0
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StayingView:
    """Files of an attempt that stay on its host."""

    stage: str
    attempt_id: str
    host: str = ""
    path: str = ""
    files: int = 0
    size: int = 0
    goes_at: float | None = None
    """When they are removed; None: a user keeps them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail(RunView):
    """One run with its kept files."""

    keep: KeepView | None = None
    staying: tuple[StayingView, ...] = ()
    nested: Mapping[str, bool] = field(default_factory=dict)
    """Runs that its stages submitted -> whether each has ended."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Service -> its address at the gateway, for services that have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun(RunDetail):
    """A new run, with warnings for its submitter."""

    no_host: str | None = None
    """A sentence about stages that no host can ever run."""
    dropped_environment: str | None = None
    """A sentence about hosts that lack the environment of the submitter's shell."""
    gpu_models: str | None = None
    """A sentence about GPU model names that match no GPU here, or several models."""
    own_gpus: str | None = None
    """A sentence about stages that choose the host's GPUs themselves, by CUDA_VISIBLE_DEVICES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A row of the list of runs, without its stages."""

    run_id: str
    pipeline: str = ""
    owner: str = ""
    uid: int = -1
    submitted_at: float = 0.0
    title: str = ""
    params: Mapping[str, Scalar] = field(default_factory=dict)
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool = False
    priority: int = 0
    retry_of: str | None = None
    cancelled_by: str | None = None
    outcome: str | None = None
    finished_at: float | None = None
    stage_count: int = 0
    phases: Mapping[str, int] = field(default_factory=dict)
    """Phase of the newest attempt -> number of stages; stages without an attempt are not
    counted."""
    hosts: tuple[str, ...] = ()
    """Hosts on which it had an attempt."""
    gpu_seconds: float = 0.0
    """Sum of `gpu_seconds_allocated` over its ended attempts."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Last metrics of all stages; if two stages have a metric of one name, that of the later
    stage."""
    cause: str | None = None
    """Cause of the failed attempt that ended last, with its stage: "train: OOM (GPU)"."""
    failed_stage: str | None = None
    """The stage of that attempt."""
    started_at: float | None = None
    """When the first attempt started."""
    energy_wh: float | None = None
    """Sum over its ended attempts with a measurement."""
    state: str = "waiting"
    """"waiting", "running", or the outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """Rows, newest first."""

    runs: tuple[RunRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedRun:
    """The complete id of a removed run."""

    removed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOrigin(Origin):
    """The code and parameters of stages that a retry kept."""

    stages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSource(Source):
    """The code of a run with its uncommitted changes, and the code of its kept stages."""

    origins: Mapping[str, KeptOrigin] = field(default_factory=dict)
