"""The history in the API: found and compared runs, and measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.model.codec import KEY
from hostler.model.views.runs import RunRow

Column = tuple[float | None, ...]
"""Values at even time steps; None: unknown."""
Sizes = tuple[int | None, ...]
"""Bytes at even time steps; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow(RunRow):
    """A run found by a search; if it runs, with its current metrics."""

    took_s: float | None = None
    gpu_hours: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """The number of matching runs, and a page of them."""

    total: int = 0
    runs: tuple[HistoryRow, ...] = ()
    left_out: int = 0
    """Number of matching runs that were left out because they are releases of services."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """The head of a run's column in a comparison."""

    run_id: str
    pipeline: str = ""
    title: str = ""
    owner: str = ""
    state: str = ""
    submitted_at: float = 0.0
    finished_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRow:
    """One row of a comparison."""

    section: str
    """"parameters", "metrics", "source", "hosts", "stages" or "cost"."""
    name: str
    values: tuple[str | float | None, ...] = ()
    """One value per run; None: the run has none."""
    differs: bool = False
    better: int | None = None
    """Index of the run with the better value; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRuns:
    """Compared runs, and the curves of their metrics."""

    runs: tuple[ComparedRun, ...] = ()
    rows: tuple[ComparedRow, ...] = ()
    series: Mapping[str, tuple[tuple[tuple[float, float], ...], ...]] = field(default_factory=dict)
    """Metric -> the points of each run: by step if all have steps, else by seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuColumns:
    """Measurements of a GPU, step by step."""

    utilization: Column = ()
    """Mean, in percent."""
    memory_used: Sizes = ()
    power: Column = ()
    temperature: Column = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostHistory:
    """The `hostler.history/1` object: recent measurements of a host's GPUs."""

    schema: str = "hostler.history/1"
    host: str = ""
    begin: float = field(default=0.0, metadata={KEY: "from"})
    step_s: float = 60.0
    gpus: Mapping[str, GpuColumns] = field(default_factory=dict)
    """UUID -> measurements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHistory:
    """Mean utilization and total power of all GPUs, step by step."""

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
    """Measurements of an attempt's GPU, step by step."""

    utilization: Column = ()
    memory_used: Sizes = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageUsage:
    """The use of GPUs by each attempt of a stage, and the measurements of the last attempt's
    GPUs."""

    attempts: tuple[AttemptUsage, ...] = ()
    begin: float = field(default=0.0, metadata={KEY: "from"})
    step_s: float = 60.0
    gpus: Mapping[str, UsedColumns] = field(default_factory=dict)
    """UUID -> measurements."""


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
    """Numbers from metrics files, oldest first."""

    metrics: tuple[MetricView, ...] = ()
    next: str | None = None
    """Where the next page starts; None: this is the last page."""
