"""The history, as the API gives it: searched and compared runs, and measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.model.codec import KEY
from hostler.model.views.runs import RunRow

Column = tuple[float | None, ...]
"""Values at even steps of time; None: nothing is known."""
Sizes = tuple[int | None, ...]
"""Bytes at even steps of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow(RunRow):
    """A run of a search; of a running one, with its present metrics."""

    took_s: float | None = None
    gpu_hours: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """How many runs match, and a page of them."""

    total: int = 0
    runs: tuple[HistoryRow, ...] = ()
    left_out: int = 0
    """Runs that match as well and are releases of services, where these are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """The head of a run's column."""

    run_id: str
    pipeline: str = ""
    title: str = ""
    owner: str = ""
    state: str = ""
    submitted_at: float = 0.0
    finished_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRow:
    """One thing in which runs may differ."""

    section: str
    """"parameters", "metrics", "source", "hosts", "stages" or "cost"."""
    name: str
    values: tuple[str | float | None, ...] = ()
    """One per run; None: the run has no such value."""
    differs: bool = False
    better: int | None = None
    """Index of the better run, if known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRuns:
    """Runs side by side, and the curves of their metrics."""

    runs: tuple[ComparedRun, ...] = ()
    rows: tuple[ComparedRow, ...] = ()
    series: Mapping[str, tuple[tuple[tuple[float, float], ...], ...]] = field(default_factory=dict)
    """Metric -> for each run its points: by step if all have one, else by seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuColumns:
    """What a GPU did, step by step."""

    utilization: Column = ()
    """Percent, mean."""
    memory_used: Sizes = ()
    power: Column = ()
    temperature: Column = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostHistory:
    """The `hostler.history/1` object: recent values of the GPUs of a host."""

    schema: str = "hostler.history/1"
    host: str = ""
    begin: float = field(default=0.0, metadata={KEY: "from"})
    step_s: float = 60.0
    gpus: Mapping[str, GpuColumns] = field(default_factory=dict)
    """By UUID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHistory:
    """Mean utilization and the sum of power of all GPUs, step by step."""

    begin: float = field(default=0.0, metadata={KEY: "from"})
    step_s: float = 60.0
    utilization: Column = ()
    power: Column = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptUsage:
    """The use of GPUs by an attempt; None: not measured."""

    attempt_id: str
    gpu_seconds_allocated: float | None = None
    gpu_seconds_busy: float | None = None
    peak_memory: float | None = None
    mean_utilization: float | None = None
    energy_wh: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedColumns:
    """What a GPU of an attempt did, step by step."""

    utilization: Column = ()
    memory_used: Sizes = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageUsage:
    """The use of GPUs by each attempt of a stage, and the values of the last one's GPUs over
    time."""

    attempts: tuple[AttemptUsage, ...] = ()
    begin: float = field(default=0.0, metadata={KEY: "from"})
    step_s: float = 60.0
    gpus: Mapping[str, UsedColumns] = field(default_factory=dict)
    """By UUID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricView:
    """A number from a stage's metrics file; None: not finite."""

    attempt_id: str
    name: str
    value: float | None = None
    at: float = 0.0
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsPage:
    """Numbers, the oldest first."""

    metrics: tuple[MetricView, ...] = ()
    next: str | None = None
    """What the next page begins after; None: there is none."""
