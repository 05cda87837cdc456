"""Requests of services behind the gateway, as the API gives them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hostler.model.codec import KEY
from hostler.model.views.history import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficView:
    """Requests of some time. Percentiles are milliseconds until an answer began, within 4 %; None:
    there was none."""

    since: float = 0.0
    requests: int = 0
    failed: int = 0
    """Without an answer, or with one of 500 and above."""
    cut: int = 0
    """Answers that broke off."""
    per_second: float | None = None
    """Requests while they were counted; None: of all requests of a release."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTraffic:
    """Requests of a release, or of the service of a run that is none, step by step. None: nothing
    was counted then."""

    run_id: str
    stage: str = ""
    number: int | None = None
    """Of the release."""
    total: TrafficView = field(default_factory=TrafficView)
    """Of all its time."""
    requests: Column = ()
    """Per second."""
    failed: Column = ()
    """Per second."""
    p50_ms: Column = ()
    p95_ms: Column = ()
    p99_ms: Column = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficHistory:
    """Requests of a service, a series for each release that had any, the newest first."""

    service: str
    begin: float = field(default=0.0, metadata={KEY: "from"})
    step_s: float = 60.0
    releases: tuple[ReleaseTraffic, ...] = ()
