"""The plan of a submission or a retry, and the reasons of stages, in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.base.json_types import Scalar
from hostler.model.reasons import PreviewLine, Reason

PlannedStage = PreviewLine


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """Where each stage of a submission would be placed now."""

    pipeline: str = ""
    stages: tuple[PlannedStage, ...] = ()
    gpu_models: str | None = None
    """A sentence about GPU model names that match no GPU here, or several models."""
    own_gpus: str | None = None
    """A sentence about stages that choose the host's GPUs themselves, by CUDA_VISIBLE_DEVICES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """The result of checking a submission, and the limits for its source."""

    pipeline: str = ""
    stages: int = 0
    snapshot: bool = True
    """Whether any stage needs the source to be packed."""
    source_size: int = 0
    source_file: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyStage:
    """One line about a stage; while it is pending, with the full reason."""

    name: str
    base: str = ""
    label: str = ""
    status: str = ""
    sentence: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyView:
    """For each stage of a run: why it is pending, was placed where it is, or ended."""

    run_id: str = ""
    stages: tuple[WhyStage, ...] = ()
    gpu_models: str | None = None
    """A sentence about GPU model names in pending stages that match no GPU here, or several
    models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedParam:
    """A parameter that a retry changes; None: the parameter does not exist there."""

    before: Scalar | None = None
    now: Scalar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriedStage:
    """What a retry does with one stage."""

    name: str
    label: str = ""
    base: str = ""
    kept: bool = False
    why: str = ""
    """Why it runs again; "": it is kept."""
    kept_from: str | None = None
    """The run in which it ran, if it is kept."""
    anew: bool = False
    """Whether it runs again without its checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryView:
    """The `hostler.retry/1` object: what a retry would do."""

    schema: str = "hostler.retry/1"
    run_id: str = ""
    pipeline: str = ""
    params: Mapping[str, ChangedParam] = field(default_factory=dict)
    stages: tuple[RetriedStage, ...] = ()
    snapshot: bool = True
    """Whether a stage that runs again needs the source to be packed."""
    source_size: int = 0
    source_file: int = 0
