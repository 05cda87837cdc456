"""All hosts with their GPUs: what `hostler gpus` shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuView:
    """One GPU, and whether it can be had. What is None is not known."""

    index: int
    uuid: str = ""
    model: str | None = None
    state: str = "unknown"
    """"free", "leased", "idle", "foreign", "contested", "drained", "unhealthy" or "unknown"."""
    why: str | None = None
    """For everything but free: who, what, since when."""
    owners: tuple[str, ...] = ()
    """Unix users on it, each once."""
    since: float | None = None
    until: float | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGpus:
    """A host and its GPUs."""

    host: str
    transport: str | None = None
    """"ssh", "local" or "sim"."""
    condition: str = "unknown"
    """"up", "connecting", "unreachable" or "refused"."""
    problem: str | None = None
    gpu_problem: str | None = None
    """Why no GPUs are known there."""
    age_s: float | None = None
    """Seconds since it was seen."""
    drained: str | None = None
    """Why it is drained; None: it is not."""
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[GpuView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """The `hostler.gpus/1` object."""

    schema: str = "hostler.gpus/1"
    at: float = 0.0
    source: str = "daemon"
    """"daemon", or "direct": the hosts themselves were asked."""
    summary: Mapping[str, int] = field(default_factory=dict)
    """How many GPUs there are, `total` and `free`."""
    hosts: tuple[HostGpus, ...] = ()
