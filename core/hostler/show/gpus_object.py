"""The `hostler.gpus/1` object as JSON gives it. For the type checker alone: `hostler gpus` reads
the answer as it comes, and imports neither this nor the views of the model, whose keys these are.
"""

from __future__ import annotations

from typing import TypedDict


class Gpu(TypedDict):
    """A GPU: `GpuView` of the model says what the keys mean."""

    index: int
    uuid: str
    model: str | None
    state: str
    why: str | None
    owners: list[str]
    since: float | None
    until: float | None
    memory_total: int | None
    memory_used: int | None
    utilization: float | None
    temperature: float | None
    power: float | None


class HostGpus(TypedDict):
    """A host and its GPUs: `HostGpus` of the model."""

    host: str
    transport: str | None
    condition: str
    problem: str | None
    gpu_problem: str | None
    age_s: float | None
    drained: str | None
    labels: dict[str, str]
    gpus: list[Gpu]


class Fleet(TypedDict):
    """All hosts: `FleetView` of the model."""

    schema: str
    at: float
    source: str
    summary: dict[str, int]
    hosts: list[HostGpus]


class Picked(TypedDict):
    """GPUs of one host, by index."""

    host: str
    indices: list[int]


class NeedAnswer(TypedDict):
    """The `need` member, of `hostler gpus --need`."""

    gpus: int
    gpu_memory: int | None
    models: list[str]
    spread: bool
    verdict: str
    sentence: str
    picks: list[Picked]
    hints: list[str]
