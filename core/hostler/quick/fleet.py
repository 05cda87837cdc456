"""Questions to a `hostler.gpus/1` object: plain dictionaries in, plain values out. Pure."""

from __future__ import annotations

import fnmatch

from hostler.units import GIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

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

TOLERANCE = 0.93
"""A card sold as 80 GiB reports 79.6: sizes asked for are nominal, and compared with this slack."""

STALE_AFTER = 10.0
"""Seconds. A host whose values are older is marked."""

_NOMINAL_GIB = (4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 144, 180,
                192, 288)  # fmt: skip
_VENDOR_WORDS = ("nvidia", "tesla", "geforce", "rtx", "quadro", "graphics", "device")


def letter(state: str) -> str:
    """The one character of a state; an unknown word is "?"."""
    return LETTERS.get(state, "?")


def nominal_gib(memory_total: int | None) -> int | None:
    """The size a card is sold with, in GiB."""
    if not memory_total:
        return None
    size = memory_total / GIB
    for nominal in _NOMINAL_GIB:
        if nominal * TOLERANCE <= size <= nominal:
            return nominal
    return round(size)


def short_model(name: str | None, memory_total: int | None = None) -> str:
    """ "A100-80G" for "NVIDIA A100-SXM4-80GB"; "-" where the name is not known."""
    words = (name or "").replace("_", " ").split()
    kept = [w for w in words if w.lower() not in _VENDOR_WORDS]
    if not kept:
        return "-"
    model = kept[0].split("-")[0]
    if len(kept) > 1 and kept[1].lower() in ("ti", "super", "ada"):
        model += kept[1]
    size = nominal_gib(memory_total)
    return f"{model}-{size}G" if size else model


def model_matches(name: str | None, patterns: Sequence[str]) -> bool | None:
    """Whether a GPU's name fits any pattern; None: the name is not known.

    Case-insensitive; a substring, or a glob where it holds a `*`, with anything in front, since
    nobody writes the maker's name. No patterns: everything fits. The planner decides the same.
    """
    if not patterns:
        return True
    if name is None:
        return None
    lower = name.lower()
    for pattern in patterns:
        wanted = pattern.lower()
        if fnmatch.fnmatchcase(lower, "*" + wanted) if "*" in wanted else wanted in lower:
            return True
    return False


def host_matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a host's name is, or as a glob fits, any pattern. No patterns: every host does."""
    return not patterns or any(fnmatch.fnmatchcase(name, p) for p in patterns)


def is_stale(host: dict[str, Any]) -> bool:
    """Whether the host is not heard now: its GPUs are not known."""
    age = host.get("age_s")
    return host.get("condition") != "up" or age is None or age > STALE_AFTER


def is_new(fleet: dict[str, Any]) -> bool:
    """Whether the daemon has just started: some host has neither answered nor failed yet."""
    return any(host.get("condition") == "connecting" for host in fleet["hosts"])


def age_out(fleet: dict[str, Any], max_age: float | None) -> dict[str, Any]:
    """The fleet, with GPUs of hosts whose values are older than `max_age` seconds unknown."""
    if max_age is None:
        return fleet
    return {**fleet, "hosts": [_aged(host, max_age) for host in fleet["hosts"]]}


def _aged(host: dict[str, Any], max_age: float) -> dict[str, Any]:
    age = host.get("age_s")
    if age is not None and age <= max_age:
        return host
    gpus = [{**gpu, "state": "unknown", "why": "older than asked for"} for gpu in host["gpus"]]
    return {**host, "gpus": gpus}


def select(
    fleet: dict[str, Any],
    *,
    hosts: Sequence[str] = (),
    models: Sequence[str] = (),
    free: bool = False,
) -> dict[str, Any]:
    """The part of the fleet that was asked for, with its own summary.

    GPUs whose model is not known are kept: leaving them out would read as "there is no such GPU".
    """
    if not (hosts or models or free):
        return fleet
    kept = []
    for host in fleet["hosts"]:
        if not host_matches(host["host"], hosts):
            continue
        gpus = [
            gpu
            for gpu in host["gpus"]
            if model_matches(gpu.get("model"), models) is not False
            and (not free or gpu["state"] == "free")
        ]
        if gpus or (not free and not host["gpus"] and (not models or is_stale(host))):
            kept.append({**host, "gpus": gpus})
    return {**fleet, "hosts": kept, "summary": summarize(kept)}


def summarize(hosts: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many GPUs there are, in all and by state."""
    counts = {"total": 0, "free": 0}
    for host in hosts:
        for gpu in host["gpus"]:
            counts["total"] += 1
            counts[gpu["state"]] = counts.get(gpu["state"], 0) + 1
    return counts
