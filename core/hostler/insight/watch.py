"""Alerts for present states of GPUs (unhealthy, contested) that have no event: opens missing ones,
closes resolved ones. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from hostler.insight.alerts import STARTS, Alert
from hostler.insight.gpu_states import ClassifiedGpu
from hostler.model.events import EventKind
from hostler.model.hosts import GpuState, Host, HostCondition
from hostler.model.records import NewEvent

_BAD = {GpuState.UNHEALTHY: "gpu", GpuState.CONTESTED: "contest"}
_BEGINS = {"gpu": EventKind.GPU_UNHEALTHY, "contest": EventKind.GPU_CONTESTED}
_ENDS = {"gpu": EventKind.GPU_HEALTHY, "contest": EventKind.GPU_SETTLED}

Spot = tuple[str, str, str]
"""Topic, host, GPU."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A host with its GPUs as they are classified now."""

    host: Host
    gpus: tuple[ClassifiedGpu, ...]


def bad_spots(seen: Iterable[Seen]) -> dict[Spot, ClassifiedGpu]:
    """Every GPU that is unhealthy or contested."""
    return {
        (_BAD[view.state], each.host.name, view.gpu.uuid): view
        for each in seen
        for view in each.gpus
        if view.state in _BAD
    }


def news(
    seen: Mapping[str, Seen],
    standing: Collection[Alert],
    suspected: Collection[Spot],
    now: float = math.inf,
) -> list[NewEvent]:
    """New events: problems without an alert, and the end of resolved ones.

    `suspected`: bad spots of the last call. A spot that was not among them is not reported yet: a
    GPU looks bad for a moment when its memory is slow to come back. A report with a time after
    `now` has the clock of an earlier daemon, and is from before any look of this one.
    """
    bad = bad_spots(seen.values())
    told = {alert.key for alert in standing}
    found = [
        NewEvent(
            now, _BEGINS[spot[0]], _message(seen[spot[1]], view), "error", host=spot[1], gpu=spot[2]
        )
        for spot, view in bad.items()
        if spot in suspected and spot not in told
    ]
    for alert in standing:
        last_at = alert.last_at if alert.last_at <= now else -math.inf
        ended = _end(alert, seen, bad, last_at, now)
        if ended is not None:
            found.append(ended)
    return found


def _end(
    alert: Alert,
    seen: Mapping[str, Seen],
    bad: Mapping[Spot, ClassifiedGpu],
    last_at: float,
    now: float,
) -> NewEvent | None:
    topic, name = alert.rule.topic, alert.host
    if name is None or topic not in ("host", "drain", STARTS, *_ENDS):
        return None
    each = seen.get(name)
    if each is None:
        return NewEvent(
            now, EventKind.HOST_REMOVED, f"{name} is no longer in the config", host=name
        )
    host = each.host
    if topic == STARTS:
        return None  # only a start, or a person, ends it
    if topic == "drain":
        again = NewEvent(now, EventKind.HOST_UNDRAINED, f"{name} accepts work again", host=name)
        return again if host.drained is None else None
    if host.condition is not HostCondition.UP:
        return None
    if topic == "host":
        return NewEvent(now, EventKind.HOST_RETURNED, f"{name} answers again", host=name)
    if host.look is None or host.look.asked_at <= last_at:
        return None
    if (topic, name, alert.gpu) in bad or any(
        view.gpu.uuid == alert.gpu and view.state is GpuState.UNKNOWN for view in each.gpus
    ):
        return None
    if all(view.gpu.uuid != alert.gpu for view in each.gpus):
        return None  # a missing GPU has not recovered
    well = f"{_gpu(each, alert.gpu)} is healthy again"
    return NewEvent(now, _ENDS[topic], well, host=name, gpu=alert.gpu)


def _message(each: Seen, view: ClassifiedGpu) -> str:
    return f"{_gpu(each, view.gpu.uuid)} is {view.state.value}: {view.why or 'reason unknown'}"


def _gpu(each: Seen, uuid: str | None) -> str:
    index = next((view.gpu.index for view in each.gpus if view.gpu.uuid == uuid), None)
    return f"{each.host.name}: GPU {uuid if index is None else index}"
