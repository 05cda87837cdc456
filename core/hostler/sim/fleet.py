"""The hosts of the demo lab: their names, GPU models and CPUs, which one is drained, fails or has
the gateway."""

from __future__ import annotations

from hostler.base.units import GIB
from hostler.sim.clock import LabClock
from hostler.sim.lab import A100, A6000, H100, L40S, RTX3090, Card, SimLab
from hostler.sim.people import (
    HOSTILE_COMMAND,
    Faults,
    card_fails,
    drops_out,
    own_daemon,
    works_by_hand,
)

_DEMO: tuple[tuple[str, Card, int, int], ...] = (
    ("atlas", A100, 8, 128),
    ("borea", A100, 8, 128),
    ("castor", H100, 8, 192),
    ("dione", H100, 4, 96),
    ("europa", A6000, 4, 64),
    ("fides", A6000, 4, 64),
    ("galatea", RTX3090, 4, 32),
    ("helene", RTX3090, 2, 32),
    ("io", L40S, 4, 64),
    ("janus", L40S, 2, 64),
)
"""Name, card, how many, CPUs."""

_DROPS = "helene"
DRAINED = "fides"
"""A host that is drained before the demo opens."""
GATEWAY = "atlas"
"""The host of the gateway; in a lab of equal hosts the first one."""
_CARDS = (A100, H100, A6000, RTX3090, L40S)


def demo_lab(
    speed: float = 1.0,
    *,
    hosts: int | None = None,
    gpus: int | None = None,
    seed: int = 0,
    clock: LabClock | None = None,
) -> SimLab:
    """Ten hosts with 48 mixed GPUs, people who work by hand or with a Hostler of their own, a card
    that fails, and a host that drops out. With `hosts` or `gpus` so many hosts of so many GPUs."""
    lab = SimLab(clock=clock or LabClock(speed))
    sized = hosts is not None or gpus is not None
    for name, card, count, cpus in _equal(hosts or 10, gpus or 8) if sized else _DEMO:
        host = lab.add_host(name, [card] * count, cpus=cpus, memory=cpus * 8 * GIB)
        host.pull_seconds = 8.0
        host.images.add("python:3.12-slim")
    names = list(lab.hosts)
    for host in lab.hosts.values():
        for index in range(0, len(host.gpus), 3):
            lab.scripts.append(works_by_hand(host, index, seed))
    for number, name in enumerate(names[:: 3 if sized else 4]):
        lab.scripts.append(own_daemon(lab.host(name), 2, seed + number))
    dropping = names[-1] if sized else _DROPS
    lab.scripts.append(drops_out(Faults(lab.host(dropping)), every=240.0, lasts=35.0, first=90.0))
    if not sized:
        _add_fixtures(lab)
    return lab


def _equal(hosts: int, gpus: int) -> list[tuple[str, Card, int, int]]:
    return [
        (f"gpu-{n + 1:02d}", _CARDS[n * len(_CARDS) // hosts], gpus, 16 * gpus)
        for n in range(hosts)
    ]


def _add_fixtures(lab: SimLab) -> None:
    """Situations that exist from the start of the demo."""
    for name, index in (("europa", 1), ("castor", 5)):
        host = lab.host(name)
        uuid = host.gpus[index].uuid
        image = "tritonserver:24"
        host.start_by_hand(uuid, "lab", 18 * GIB, "tritonserver", image=image)
    host = lab.host("galatea")
    host.start_by_hand(host.gpus[2].uuid, "mallory", 6 * GIB, HOSTILE_COMMAND)
    lab.scripts.append(card_fails(Faults(lab.host("janus")), 1, after=600.0))
