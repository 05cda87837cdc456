"""Hosts as rows, from the API's objects. Pure."""

from __future__ import annotations

from typing import Any

from hostler.base.units import format_duration, format_size


def host_row(host: dict[str, Any], now: float) -> list[str]:
    """A row from a Host of the model."""
    look, facts = host.get("look"), host.get("facts") or {}
    machine = (look or {}).get("machine") or {}
    disks = machine.get("disks") or ()
    return [
        str(host["name"]),
        str(host["condition"]),
        format_duration(max(0, round(now - look["asked_at"]))) if look else "-",
        str(len(look["gpus"])) if look else "-",
        str(facts.get("cpus") or "-"),
        format_size(machine.get("memory_total") or facts.get("memory_total")),
        f"{machine['load1']:.1f}" if machine.get("load1") is not None else "-",
        format_size(min(disk["free"] for disk in disks)) if disks else "-",
        str(facts.get("driver") or "-"),
        str(facts.get("docker") or "-"),
        host_note(host, now),
    ]


_PROBLEMS = ("gpu_problem", "docker_problem", "lease_problem", "left_out")


def host_note(host: dict[str, Any], now: float) -> str:
    """What is wrong or special, the most important first."""
    notes = []
    if host.get("problem"):
        notes.append(str(host["problem"]))
    if host["condition"] in ("unreachable", "refused"):
        notes.append(f"for {format_duration(max(0, int(now - host['since'])))}")
    if host.get("drained") is not None:
        notes.append(f"drained: {host['drained']}" if host["drained"] else "drained")
    look = host.get("look") or {}
    notes += [str(look[key]) for key in _PROBLEMS if look.get(key)]
    return "; ".join(notes) or "-"
