"""The capacity for a new release of a service: free places, slots of the live release, and its
start time."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from hostler.daemon.context import Context
from hostler.decide.plan import preview
from hostler.decide.releases.opening import Room
from hostler.model.hosts import HostCondition
from hostler.model.pipelines import Resources, Stage
from hostler.model.plans import Snapshot
from hostler.model.releases import ServiceState
from hostler.model.runs import Run

_POLL = 0.2


async def first_looks(context: Context) -> None:
    """Wait briefly for hosts that the daemon has not looked at since its start: their free capacity
    is not known, and a release might cause an avoidable gap in service."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(context.timings.first_looks):
            while any(
                monitor.host.condition is HostCondition.CONNECTING
                for monitor in context.monitors.values()
            ):
                await context.hub.wait(context.hub.version, _POLL)


def room_of(state: ServiceState | None, live: Run | None, run: Run, snapshot: Snapshot) -> Room:
    """The free capacity for a run with one service beside the live one. For a run of thousands of
    stages this takes seconds."""
    is_stopped = live is not None and live.outcome is not None
    running = 0 if state is None or live is None or is_stopped else state.deployment.replicas
    names = {stage.name for stage in run.stages if stage.service is not None}
    lines = preview(snapshot, run)
    free = sum(1 for line in lines if line.stage in names and line.host is not None)
    fits = live is not None and _fits(_service(run).resources, _service(live).resources)
    return Room(running, free, fits, _last_start(live), is_stopped)


def _service(run: Run) -> Stage:
    return next(stage for stage in run.stages if stage.service is not None)


def _fits(new: Resources, old: Resources) -> bool:
    """Whether the resources of an old replica are enough for a new one, on any host."""
    same = replace(new, gpus=old.gpus, cpus=old.cpus, ram=old.ram) == old
    return (
        same and new.gpus <= old.gpus and new.cpus <= old.cpus and (new.ram or 0) <= (old.ram or 0)
    )


def _last_start(live: Run | None) -> float | None:
    """The time that the newest replica took until it answered."""
    took = [
        attempt.ready_at - attempt.launched_at
        for attempt in (live.attempts if live is not None else ())
        if attempt.ready_at is not None and attempt.launched_at is not None
    ]
    return max(0.0, took[-1]) if took else None
