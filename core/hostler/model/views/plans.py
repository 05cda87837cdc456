"""The plan of a submission or a retry, and the reasons of stages, as the API gives them."""

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
    """Which names of GPU models mean none of those here, or several."""
    own_gpus: str | None = None
    """Which stages choose GPUs of the host themselves, by CUDA_VISIBLE_DEVICES."""


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
    """One line about a stage and, while it is pending, the full reason."""

    name: str
    base: str = ""
    label: str = ""
    status: str = ""
    sentence: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyView:
    """Why the stages of a run are pending, were placed where they are, or ended."""

    run_id: str = ""
    stages: tuple[WhyStage, ...] = ()
    gpu_models: str | None = None
    """Which names of GPU models mean none of those here, or several, in stages that wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedParam:
    """A parameter that a retry changes; None: it does not exist there."""

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
    """Why it runs again."""
    kept_from: str | None = None
    """The run in which it ran, where it is kept."""
    anew: bool = False
    """It runs again without the checkpoint that it had."""


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
