"""All hosts with their GPUs, in the API: the data of `hostler gpus`. They are dictionaries, as in
JSON: `hostler gpus` uses the answer unchanged, and imports this module only for the type
checker."""

from __future__ import annotations

try:
    from typing_extensions import TypedDict
except ImportError:  # without pydantic; pydantic refuses Python's TypedDict before 3.12
    from typing import TypedDict


class GpuView(TypedDict):
    """One GPU and its state. None: unknown."""

    index: int
    uuid: str
    model: str | None
    state: str
    """"free", "leased", "idle", "foreign", "contested", "drained", "unhealthy" or "unknown"."""
    why: str | None
    """The reason, for all states except free: who, what, since when."""
    owners: list[str]
    """Unix users on it, without duplicates."""
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
    """Why the GPUs of the host are unknown."""
    age_s: float | None
    """Seconds since it was last observed."""
    drained: str | None
    """Why it is drained; None: it is not drained."""
    labels: dict[str, str]
    gpus: list[GpuView]


class FleetView(TypedDict):
    """The `hostler.gpus/1` object."""

    schema: str
    at: float
    source: str
    """"daemon", or "direct": from the hosts themselves."""
    summary: dict[str, int]
    """Number of GPUs: `total` and `free`."""
    hosts: list[HostGpus]
