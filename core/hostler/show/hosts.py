"""A row of `hostler hosts`: its values, and the NOTE column, which says what is wrong or
special. Pure."""

from __future__ import annotations

from hostler.base.units import format_age, format_size
from hostler.model.hosts import Host, Look, Machine


def host_row(host: Host, now: float) -> list[str]:
    """A row of the table of hosts."""
    look, facts = host.look, host.facts
    machine = look.machine if look else Machine()
    return [
        host.name,
        str(host.condition),
        format_age(now - look.asked_at + 0.5) if look else "-",
        str(len(look.gpus)) if look else "-",
        str(facts.cpus or "-"),
        format_size(machine.memory_total or facts.memory_total),
        "-" if machine.load1 is None else f"{machine.load1:.1f}",
        format_size(min(disk.free for disk in machine.disks)) if machine.disks else "-",
        facts.driver or "-",
        facts.docker or "-",
        host_note(host, now),
    ]


def host_note(host: Host, now: float) -> str:
    """Problems or special properties, the most important first."""
    notes = []
    if host.problem:
        notes.append(host.problem)
    if host.condition in ("unreachable", "refused"):
        notes.append(f"for {format_age(now - host.since)}")
    if host.drained is not None:
        notes.append(f"drained: {host.drained}" if host.drained else "drained")
    return "; ".join([*notes, *_problems(host.look)]) or "-"


def _problems(look: Look | None) -> list[str]:
    if look is None:
        return []
    found = (look.gpu_problem, look.docker_problem, look.lease_problem, look.left_out)
    return [problem for problem in found if problem]
