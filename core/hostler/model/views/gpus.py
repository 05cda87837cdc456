"""All hosts with their GPUs, as the API gives them: what `hostler gpus` shows. These are
dictionaries, as JSON gives them: `hostler gpus` reads the answer as it comes, and imports this for
the type checker alone.
"""

from __future__ import annotations

try:
    from typing_extensions import TypedDict
except ImportError:  # there is none without pydantic, which refuses Python's own before 3.12
    from typing import TypedDict


class GpuView(TypedDict):
    """One GPU and its state. None: unknown."""

    index: int
    uuid: str
    model: str | None
    state: str
    """"free", "leased", "idle", "foreign", "contested", "drained", "unhealthy" or "unknown"."""
    why: str | None
    """For all states except free: who, what, since when."""
    owners: list[str]
    """Unix users on it, each once."""
    since: float | None
    until: float | None
    memory_total: int | None
    memory_used: int | None
    utilization: float | None
    temperature: float | None
    power: float | None


class HostGpus(TypedDict):
    """A host and its GPUs."""

    host: str
    transport: str | None
    """"ssh", "local" or "sim"."""
    condition: str
    """"up", "connecting", "unreachable" or "refused"."""
    problem: str | None
    gpu_problem: str | None
    """Why no GPUs are known there."""
    age_s: float | None
    """Seconds since it was seen."""
    drained: str | None
    """Why it is drained; None: it is not."""
    labels: dict[str, str]
    gpus: list[GpuView]


class FleetView(TypedDict):
    """The `hostler.gpus/1` object."""

    schema: str
    at: float
    source: str
    """"daemon", or "direct": from the hosts themselves."""
    summary: dict[str, int]
    """How many GPUs there are, `total` and `free`."""
    hosts: list[HostGpus]
