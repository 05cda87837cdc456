"""What happened: runs, attempts, their phases, events, and how long they took: the one definition
that every table, page and answer uses.

A run's duration goes from the start of its first attempt to its end, or to now while it is open:
what it waits before is no part of it, pauses between its stages are. It has none before anything
started. An attempt's duration is what its host measured; while it runs, the time since it started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypedDict

from hostler.model.pipelines import Cause, Scalar, Stage


class Phase(StrEnum):
    """Where an attempt is."""

    STARTING = "starting"
    """The intent is durable; the start may or may not have happened yet."""
    RUNNING = "running"
    COLLECTING = "collecting"
    """Its work has ended and its verdict is known; its files are being copied. It holds no GPUs."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """Nothing more will happen to the attempt."""
        return self not in (Phase.STARTING, Phase.RUNNING, Phase.COLLECTING)

    @property
    def is_at_work(self) -> bool:
        """Its command may run: its GPUs, CPUs and RAM are taken."""
        return self in (Phase.STARTING, Phase.RUNNING)


class StageStatus(StrEnum):
    """Where a stage of a run is; computed from its attempts, never stored."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    COLLECTING = "collecting"
    """Its command has ended, and its files are being copied."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """Its `when` was false, or a stage it needs did not succeed."""

    @property
    def is_final(self) -> bool:
        """Nothing more will happen to the stage."""
        return self not in _UNFINISHED


_UNFINISHED = frozenset(
    {StageStatus.WAITING, StageStatus.STARTING, StageStatus.RUNNING, StageStatus.COLLECTING}
)


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One try of a stage, as it crosses the socket: a newer daemon may have other phases and
    causes. `host`, `gpus`, `placed_at` have no defaults: decisions read them."""

    attempt_id: str
    """`RUN-STAGE-NUMBER`: also names the container, so that a repeated create is a 409."""
    run_id: str
    stage: str
    number: int
    """From 1."""
    phase: str
    host: str
    gpus: tuple[str, ...]
    """UUIDs."""
    placed_at: float
    runtime: str
    launched_at: float | None = None
    """When create and start had returned. A look not newer proves nothing about the attempt."""
    ref: str | None = None
    boot_id: str | None = None
    """Of the host when it was placed: another one later means the host rebooted."""
    started_at: float | None = None
    finished_at: float | None = None
    duration: float | None = None
    """Seconds, from one clock, the host's."""
    exit_code: int | None = None
    signal: int | None = None
    cause: str | None = None
    detail: str = ""
    """For people: what exactly went wrong, who stopped it, which GPU process was in the way."""
    stop_reason: str | None = None
    """A stop was asked for and why; set before the stop is carried out."""
    stop_detail: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """The last value of each metric the stage wrote; None: not a finite number."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output name -> artifact digest, once collected; only of a stage that ended well."""
    image_digest: str | None = None
    usage: Mapping[str, float | None] = field(default_factory=dict)
    """gpu_seconds_allocated, gpu_seconds_busy, gpu_memory_peak, gpu_utilization_mean, energy_wh,
    each where it could be measured."""
    verdict: str | None = None
    """The final phase that it gets when its files are copied; cause, detail and times of its end
    are written with it."""


@dataclass(frozen=True, slots=True)
class Attempt(AttemptView):
    """The same, as the daemon of this version knows it."""

    phase: Phase
    cause: Cause | None = None
    stop_reason: Cause | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[str, float] = field(default_factory=dict)
    verdict: Phase | None = None


class AttemptChange(TypedDict, total=False):
    """Fields of an attempt that change after its intent, each named as there. A change leaves all
    other fields unchanged: other code may have changed them meanwhile."""

    phase: Phase
    launched_at: float | None
    ref: str | None
    boot_id: str | None
    started_at: float | None
    finished_at: float | None
    duration: float | None
    exit_code: int | None
    signal: int | None
    cause: Cause | None
    detail: str
    stop_reason: Cause | None
    stop_detail: str
    metrics: Mapping[str, float]
    outputs: Mapping[str, str]
    image_digest: str | None
    usage: Mapping[str, float]
    verdict: Phase | None


def what_changed(before: Attempt, after: Attempt) -> AttemptChange:
    """The fields that may change in which two values of an attempt differ."""
    found: Any = {
        name: getattr(after, name)
        for name in AttemptChange.__annotations__
        if getattr(before, name) != getattr(after, name)
    }
    changes: AttemptChange = found
    return changes


def in_order(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """As they are, in order of placing. After a restore an earlier attempt of a stage may have
    become known behind a later one: then by number."""
    newest: dict[str, int] = {}
    for attempt in attempts:
        if attempt.number < newest.get(attempt.stage, 0):
            return tuple(sorted(attempts, key=lambda a: a.number))
        newest[attempt.stage] = attempt.number
    return tuple(attempts)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the code of a run came from."""

    digest: str | None = None
    """Of the packed snapshot; None: none was packed."""
    path: str | None = None
    """The folder it was packed from, on the submitter's machine."""
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool = False
    git_diff: str | None = None
    """Of the dirty tree against the commit; cut at 1 MiB."""
    include: tuple[str, ...] = ()
    """Paths and patterns that were sent although git or `.hostlerignore` leaves them out."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The code and parameters with which an earlier run made the stages that a retry keeps."""

    source: Source = field(default_factory=Source)
    params: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """One submission of a pipeline. What each stage's state is, is computed from the attempts."""

    run_id: str
    pipeline: str
    stages: tuple[Stage, ...]
    owner: str
    uid: int
    submitted_at: float
    params: Mapping[str, Scalar] = field(default_factory=dict)
    source: Source = field(default_factory=Source)
    priority: int = 0
    """Zero or lower."""
    attempts: tuple[Attempt, ...] = ()
    """In order of placing; of each stage by number."""
    cancelled_by: str | None = None
    """A wish: stages that wait never start, running ones are stopped."""
    outcome: Outcome | None = None
    finished_at: float | None = None
    kept: Mapping[str, Attempt] = field(default_factory=dict)
    """Of a `retry`: stage -> the succeeded attempt of the earlier run, not repeated."""
    retry_of: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """What the submitter's shell gives to process stages (PATH, CONDA_PREFIX, VIRTUAL_ENV)."""
    title: str = ""
    file: str = ""
    """Name of the pipeline file, without its folder; "" of one command."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Run -> the code and parameters of the stages kept of it, if they differ from this run's."""
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    """Stage -> the run in which its checkpoint begins, where that is not the first one."""
    awaited: Mapping[str, str] = field(default_factory=dict)
    """Of the other runs that its stages wait for, those that have ended, with their outcome. Not
    stored: the daemon looks again when it starts."""

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs of the submitter's environment that its stages run."""
        return tuple(dict.fromkeys(stage.program for stage in self.stages if stage.program))

    def origin_of(self, stage: str) -> Origin:
        """The code and parameters with which a stage of this run was, or will be, run."""
        kept = self.kept.get(stage)
        own = Origin(self.source, self.params)
        return own if kept is None else self.origins.get(kept.run_id, own)


class RunChange(TypedDict, total=False):
    """Fields of a run that change after its submission, each named as there."""

    priority: int
    cancelled_by: str | None
    outcome: Outcome | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for the log of events. `seq` only grows."""

    seq: int
    at: float
    kind: str
    """One of `EventKind`, or what an earlier or later version had beside them."""
    message: str
    severity: str = "info"
    """"info", "warning" or "error"."""
    run_id: str | None = None
    stage: str | None = None
    attempt_id: str | None = None
    host: str | None = None
    actor: str | None = None
    """Unix user, where a person asked for it."""
    gpu: str | None = None
    """UUID."""


class Timed(Protocol):
    """A run, or a row of the list of runs."""

    @property
    def started_at(self) -> float | None:
        """When its first attempt did."""

    @property
    def finished_at(self) -> float | None:
        """None: it has not ended."""


def run_duration(started_at: float | None, finished_at: float | None, now: float) -> float | None:
    """Seconds from the start of the first attempt to the end of the run; None: nothing started."""
    if started_at is None:
        return None
    return max(0.0, (now if finished_at is None else finished_at) - started_at)


def attempt_duration(
    duration: float | None, started_at: float | None, finished_at: float | None, now: float
) -> float | None:
    """Seconds that an attempt ran; None: it did not."""
    if duration is not None:
        return max(0.0, float(duration))
    return run_duration(started_at, finished_at, now)


def first_start(starts: Iterable[float | None]) -> float | None:
    """When the first attempt of a run started."""
    return min((start for start in starts if start is not None), default=None)


def duration_of_run(run: Timed, now: float) -> float | None:
    """The duration of a run or of a summary as the API gives it."""
    started_at = run.started_at
    if started_at is None:  # nothing has started, or the daemon is one of before
        tries = [a for stage in getattr(run, "stages", ()) for a in stage.attempts]
        started_at = first_start(attempt.started_at for attempt in tries)
    return run_duration(started_at, run.finished_at, now)
