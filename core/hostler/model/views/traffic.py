"""Requests of services behind the gateway, in the API."""

from __future__ import annotations

from dataclasses import dataclass, field

from hostler.model.codec import KEY
from hostler.model.views.history import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficView:
    """Requests during some time. Percentiles are milliseconds until an answer began, within 4 %;
    None: there were no requests."""

    since: float = 0.0
    requests: int = 0
    failed: int = 0
    """Requests without an answer, or with a status of 500 and above."""
    cut: int = 0
    """Answers that were cut off."""
    per_second: float | None = None
    """Mean requests per second while they were counted; None for all requests of a release."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTraffic:
    """Requests of a release, or of a service in a run that is not a release, step by step. None:
    not counted at that time."""

    run_id: str
    stage: str = ""
    number: int | None = None
    """Number of the release."""
    total: TrafficView = field(default_factory=TrafficView)
    """Requests of its whole life."""
    requests: Column = ()
    """Per second."""
    failed: Column = ()
    """Per second."""
    p50_ms: Column = ()
    p95_ms: Column = ()
    p99_ms: Column = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficHistory:
    """Requests of a service: a series for each release that had any, newest first."""

    service: str
    begin: float = field(default=0.0, metadata={KEY: "from"})
    step_s: float = 60.0
    releases: tuple[ReleaseTraffic, ...] = ()
