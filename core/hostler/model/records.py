"""Values of the store other than runs and attempts: events, drains, kept files, filters, metrics,
GPU samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hostler.model.events import Event, EventKind
from hostler.model.pipelines import Scalar
from hostler.model.runs import Phase


@dataclass(frozen=True, slots=True)
class NewEvent(Event):
    """An event before the store has given it its number."""

    seq: int = field(default=0, kw_only=True)
    kind: EventKind


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A person has seen an alert."""

    alert: int
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Remainder:
    """Files of an attempt that stay on its host: too large to be copied, or not copied in time."""

    attempt_id: str
    run_id: str
    stage: str
    host: str
    runtime: str
    ref: str
    """Of the ended workload that holds them."""
    path: str
    """Where they lie on the host, for people."""
    files: int
    size: int
    """Bytes of all of them."""
    since: float
    until: float
    """They stay at least until then."""
    names: tuple[str, ...] = ()
    """Names of the first of them."""
    why: str = ""
    """Why they were not copied, for people."""
    fetched_at: float | None = None
    """When a person had got all of them."""
    stood: float | None = None
    """Seconds that an alert has announced their removal while the daemon ran; None: none has."""
    given_up_by: str | None = None
    """The person who removed their run: the files are removed as soon as the host answers."""
    kept_by: str | None = None
    """The person who asked to keep the run."""
    kept_until: float | None = None
    """When that ends; None: when a person ends it."""


@dataclass(frozen=True, slots=True)
class Keep:
    """A person asked to keep all of a run."""

    run_id: str
    by: str
    at: float
    until: float | None = None
    """None: until a person ends it."""

    def holds(self, now: float) -> bool:
        """Whether it still counts."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; every field that is set must match."""

    state: str | None = None
    """"open", "finished", or an `Outcome`."""
    pipeline: str | None = None
    owner: str | None = None
    since: float | None = None
    """Submitted at or after."""
    until: float | None = None
    """Submitted before."""
    host: str | None = None
    """Had an attempt there."""
    exit_code: int | None = None
    """Some attempt ended with it."""
    params: Mapping[str, Scalar] = field(default_factory=dict)
    """Text is compared with the written form of a number or boolean, so "0.1" finds 0.1."""
    releases: bool = True
    """Also runs that are releases of services."""


@dataclass(frozen=True, slots=True)
class AttemptFilter:
    """Which attempts; every field that is set must match."""

    run_id: str | None = None
    stage: str | None = None
    host: str | None = None
    phase: Phase | None = None
    exit_code: int | None = None
    is_open: bool | None = None
    since: float | None = None
    """Placed at or after."""
    until: float | None = None
    """Placed before."""


@dataclass(frozen=True, slots=True)
class Drain:
    """A host that is closed to new work, by a person or by Hostler itself."""

    host: str
    reason: str
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class SubmissionKey:
    """The client's key of a submission, and the digest of its content."""

    uid: int
    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries of the audit table; every field that is set must match."""

    uid: int | None = None
    user: str | None = None
    since: float | None = None
    call: str | None = None
    """Also of calls that were refused."""
    run: str | None = None
    """A whole id; a retry is about both runs."""

    def of(self, uid: int) -> AuditFilter:
        """The same, of this user alone."""
        return replace(self, uid=uid)


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One number that a stage wrote to its metrics file. May be NaN or infinite."""

    name: str
    value: float
    at: float
    step: int | None = None


@dataclass(frozen=True, slots=True)
class StageMetric:
    """A point as it is read back."""

    attempt_id: str
    name: str
    value: float
    at: float
    step: int | None = None


@dataclass(frozen=True, slots=True)
class GpuSample:
    """Measurements of one GPU at one moment. None: not measured."""

    host: str
    gpu: str
    """UUID."""
    at: float
    utilization: float | None = None
    """Percent."""
    memory_used: int | None = None
    power: float | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class GpuSeries:
    """Measurements of one GPU, or the mean of several, step by step: columns of equal length."""

    at: tuple[float, ...] = ()
    """Begin of each step, a minute or several; those without a sample are absent."""
    utilization: tuple[float | None, ...] = ()
    """Percent, mean."""
    memory_used: tuple[int | None, ...] = ()
    """Bytes, mean."""
    memory_peak: tuple[int | None, ...] = ()
    power: tuple[float | None, ...] = ()
    """Watts, mean."""
    temperature: tuple[float | None, ...] = ()
    """The highest."""
    samples: tuple[int, ...] = ()
    """The number of samples, or for a fleet of GPUs, in the step."""


@dataclass(frozen=True, slots=True)
class FleetSeries:
    """Measurements of all GPUs together, minute by minute: columns of equal length."""

    at: tuple[float, ...] = ()
    utilization: tuple[float | None, ...] = ()
    """Percent, mean."""
    power: tuple[float | None, ...] = ()
    """Watts, sum of those that report it."""
