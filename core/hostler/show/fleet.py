"""Selects hosts and GPUs of a `hostler.gpus/1` object (--host, --model, --free), marks old
values as unknown, counts states, and has the state letters. Pure."""

from __future__ import annotations

import fnmatch

from hostler.base.gpu_models import model_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeAlias

    from hostler.model.views.gpus import FleetView, GpuView, HostGpus

    _Kinds: TypeAlias = Mapping[str, tuple[type, ...]]

# The same as `GpuState.letter` of the model, which is too slow to import here; a test compares.
LETTERS = {
    "free": ".",
    "leased": "L",
    "idle": "i",
    "foreign": "F",
    "contested": "C",
    "drained": "D",
    "unhealthy": "E",
    "unknown": "?",
}

STALE_AFTER = 10.0
"""Seconds. A host whose values are older is marked."""


_MOST = 2.0**60
_LATEST = 1e11
"""A time, in seconds since the epoch: the year 5138."""
_TEXT, _NUMBER = (str,), (int, float)
_FLEET = {"at": _NUMBER, "hosts": (list,), "summary": (dict,)}
_HOST = {"host": _TEXT, "condition": _TEXT, "gpus": (list,)}
_HOST_UNKNOWN = {
    "transport": _TEXT, "problem": _TEXT, "gpu_problem": _TEXT, "age_s": _NUMBER,
    "drained": _TEXT, "labels": (dict,),
}  # fmt: skip
_GPU = {"index": (int,), "uuid": _TEXT, "state": _TEXT}
_GPU_UNKNOWN = {
    "model": _TEXT, "why": _TEXT, "owners": (list,), "since": _NUMBER, "until": _NUMBER,
    "memory_total": _NUMBER, "memory_used": _NUMBER, "utilization": _NUMBER,
    "temperature": _NUMBER, "power": _NUMBER,
}  # fmt: skip
_TIMES = ("at", "since", "until")


def checked(answer: object) -> FleetView:
    """The fleet in a daemon's answer. Raises ValueError naming the missing or invalid value."""
    fleet: FleetView = _object(answer, _FLEET, {}, "the answer")
    for name in ("total", "free"):
        if not isinstance(fleet["summary"].get(name), int):
            raise ValueError(f"summary has no {name}")
    for host in fleet["hosts"]:
        for gpu in _object(host, _HOST, _HOST_UNKNOWN, "a host")["gpus"]:
            owners = _object(gpu, _GPU, _GPU_UNKNOWN, "a GPU").get("owners")
            if not all(isinstance(owner, str) for owner in owners or ()):
                raise ValueError("an owner is no text")
    return fleet


def _object(value: object, needed: _Kinds, known: _Kinds, what: str) -> Any:
    """The value, if it is an object with all required members; None is allowed for some."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no object")
    for kinds, may_be_none in ((needed, False), (known, True)):
        for key, kind in kinds.items():
            found = value.get(key)
            if found is None and may_be_none:
                value[key] = None
            elif not isinstance(found, kind) or not _is_sane(key, found):
                raise ValueError(f"{what} has no usable {key}")
    return value


def _is_sane(key: str, value: object) -> bool:
    most = _LATEST if key in _TIMES else _MOST
    return not isinstance(value, int | float) or -most < value < most


def letter(state: str) -> str:
    """The one character of a state; an unknown word is "?"."""
    return LETTERS.get(state, "?")


def host_matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a host's name is, or as a glob fits, any pattern. No patterns: every host does."""
    return not patterns or any(fnmatch.fnmatchcase(name, p) for p in patterns)


def is_stale(host: HostGpus) -> bool:
    """Whether the host does not answer now: its GPUs are unknown."""
    age = host.get("age_s")
    return host.get("condition") != "up" or age is None or age > STALE_AFTER


def is_new(fleet: FleetView) -> bool:
    """Whether the daemon has just started: some host has neither answered nor failed yet."""
    return any(host.get("condition") == "connecting" for host in fleet["hosts"])


def age_out(fleet: FleetView, max_age: float | None) -> FleetView:
    """The fleet; GPUs of hosts whose values are older than `max_age` seconds become unknown."""
    if max_age is None:
        return fleet
    return {**fleet, "hosts": [_aged(host, max_age) for host in fleet["hosts"]]}


def _aged(host: HostGpus, max_age: float) -> HostGpus:
    age = host.get("age_s")
    if age is not None and age <= max_age:
        return host
    return {**host, "gpus": [_unknown(gpu) for gpu in host["gpus"]]}


def _unknown(gpu: GpuView) -> GpuView:
    return {**gpu, "state": "unknown", "why": "older than requested"}


def select(
    fleet: FleetView,
    *,
    hosts: Sequence[str] = (),
    models: Sequence[str] = (),
    free: bool = False,
) -> FleetView:
    """The part of the fleet that was asked for, with its own summary.

    GPUs whose model is not known are kept: leaving them out would read as "there is no such GPU".
    """
    if not (hosts or models or free):
        return fleet
    kept: list[HostGpus] = []
    for host in fleet["hosts"]:
        if not host_matches(host["host"], hosts):
            continue
        gpus = [
            gpu
            for gpu in host["gpus"]
            if model_matches(gpu.get("model"), gpu.get("memory_total"), models) is not False
            and (not free or gpu["state"] == "free")
        ]
        if gpus or (not free and not host["gpus"] and (not models or is_stale(host))):
            kept.append({**host, "gpus": gpus})
    return {**fleet, "hosts": kept, "summary": summarize(kept)}


def summarize(hosts: Sequence[HostGpus]) -> dict[str, int]:
    """The number of GPUs, in all and by state."""
    counts = {"total": 0, "free": 0}
    for host in hosts:
        for gpu in host["gpus"]:
            counts["total"] += 1
            counts[gpu["state"]] = counts.get(gpu["state"], 0) + 1
    return counts
