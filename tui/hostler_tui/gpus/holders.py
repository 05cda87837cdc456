"""Which run holds which GPU, and how GPUs are shown while the daemon does not answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hostler.model.views.gpus import FleetView, GpuView, HostGpus
from hostler.model.views.runs import RunView, StageView

Holders = Mapping[tuple[str, str], str]
"""By host and UUID: the run and stage that hold the GPU, for people."""


def aged(fleet: FleetView, seconds: float) -> FleetView:
    """The fleet, that many seconds after it was received."""
    if not seconds:
        return fleet
    return {**fleet, "hosts": [older(host, seconds) for host in fleet["hosts"]]}


def doubted(fleet: FleetView) -> FleetView:
    """The fleet without a daemon: no GPU is known to be free."""
    return {**fleet, "hosts": [_doubted(host) for host in fleet["hosts"]]}


def _doubted(host: HostGpus) -> HostGpus:
    return {**host, "gpus": [_not_free(gpu) for gpu in host["gpus"]]}


def _not_free(gpu: GpuView) -> GpuView:
    is_free = gpu["state"] == "free"
    return (
        {**gpu, "state": "unknown", "why": "was free; unknown without the daemon"}
        if is_free
        else gpu
    )


def older(host: HostGpus, seconds: float) -> HostGpus:
    """The host, that many seconds after it was received."""
    age = host["age_s"]
    return {**host, "age_s": None if age is None else age + seconds}


def holders(runs: Iterable[RunView]) -> dict[tuple[str, str], str]:
    """Who holds which GPU, from the open runs."""
    return {
        place: f"{run.run_id} {run.pipeline}/{stage.label}" for run, stage, place in _taken(runs)
    }


def holder(
    runs: Iterable[RunView], host: HostGpus | None, gpu: GpuView | None
) -> tuple[str, str] | None:
    """The run and the name of its stage that hold a GPU."""
    if host is None or gpu is None:
        return None
    wanted = (str(host["host"]), str(gpu["uuid"]))
    found = ((run.run_id, stage.name) for run, stage, place in _taken(runs) if place == wanted)
    return next(found, None)


def _taken(
    runs: Iterable[RunView],
) -> Iterator[tuple[RunView, StageView, tuple[str, str]]]:
    """Each run and stage, with each GPU of its present attempt."""
    for run in runs:
        for stage in run.stages:
            attempt = stage.attempt
            if attempt is not None and attempt.finished_at is None:
                for uuid in attempt.gpus:
                    yield run, stage, (attempt.host, uuid)
