"""Runs, attempts and their phases, as stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict

from hostler.model.attempts import AttemptView as AttemptView
from hostler.model.attempts import Origin as Origin
from hostler.model.attempts import Source as Source
from hostler.model.environments import Environment
from hostler.model.events import Event as Event
from hostler.model.pipelines import Cause, Scalar, Stage
from hostler.model.service_wishes import Wishes


class Phase(StrEnum):
    """The phase of an attempt."""

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
        return self not in _OPEN

    @property
    def is_at_work(self) -> bool:
        """Its command may run: its GPUs, CPUs and RAM are taken."""
        return self in _AT_WORK


_AT_WORK = frozenset({Phase.STARTING, Phase.RUNNING})
_OPEN = _AT_WORK | {Phase.COLLECTING}


class StageStatus(StrEnum):
    """The status of a stage of a run; computed from its attempts, never stored."""

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
class Attempt(AttemptView):
    """One try of a stage, as this version of the daemon knows it."""

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
    warned_at: float | None
    warning: str
    ready_at: float | None
    port: int | None
    address: str | None


def what_changed(before: Attempt, after: Attempt) -> AttemptChange:
    """The changeable fields in which two values of an attempt differ."""
    found: Any = {
        name: getattr(after, name)
        for name in AttemptChange.__annotations__
        if getattr(before, name) != getattr(after, name)
    }
    changes: AttemptChange = found
    return changes


def in_order(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """The attempts in order of placing. After a restore an earlier attempt of a stage may be listed
    after a later one: then by number."""
    newest: dict[str, int] = {}
    for attempt in attempts:
        if attempt.number < newest.get(attempt.stage, 0):
            return tuple(sorted(attempts, key=lambda a: a.number))
        newest[attempt.stage] = attempt.number
    return tuple(attempts)


@dataclass(frozen=True, slots=True)
class Run:
    """One submission of a pipeline. Each stage's state is computed from the attempts."""

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
    """The user who cancelled it: waiting stages never start, running ones are stopped."""
    outcome: Outcome | None = None
    finished_at: float | None = None
    kept: Mapping[str, Attempt] = field(default_factory=dict)
    """Of a `retry`: stage -> the succeeded attempt of the earlier run, not repeated."""
    retry_of: str | None = None
    parent: str | None = None
    """The run whose stage submitted it."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of the submitter's shell for process stages (PATH, CONDA_PREFIX, VIRTUAL_ENV)."""
    title: str = ""
    file: str = ""
    """Name of the pipeline file, without its folder; "" of one command."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """Run -> the code and parameters of the stages kept of it, if they differ from this run's."""
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    """Stage -> the run in which its checkpoint begins, if that is not the first one."""
    services: Wishes = field(default_factory=dict)
    """User requests for its services that differ from its file."""
    awaited: Mapping[str, str] = field(default_factory=dict)
    """The ended ones of the other runs that its stages wait for, with their outcome. Not stored:
    the daemon reads it again when it starts."""

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs of the submitter's environment that its stages run."""
        return tuple(dict.fromkeys(stage.program for stage in self.stages if stage.program))

    @property
    def environments(self) -> tuple[Environment, ...]:
        """The modules and conda environments that hosts have to have for its stages."""
        return tuple(dict.fromkeys(filter(None, (stage.environment for stage in self.stages))))

    @property
    def started_at(self) -> float | None:
        """When its first attempt started."""
        starts = (attempt.started_at for attempt in self.attempts)
        return min((at for at in starts if at is not None), default=None)

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
    services: Wishes
