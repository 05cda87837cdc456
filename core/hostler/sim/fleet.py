"""Ready-made labs: for the demo, and for tests that need a fleet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from hostler.sim.clock import LabClock
from hostler.sim.faults import Faults
from hostler.sim.host import SimHost
from hostler.sim.lab import A100, A6000, H100, L40S, RTX3090, Card, Pace, SimLab
from hostler.units import GIB

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

_PEOPLE = ("mira", "tomas", "yuki", "bob")
_DROPS = "helene"


def demo_lab(speed: float = 1.0) -> SimLab:
    """Ten hosts with 48 mixed GPUs, people who work by hand, and one host that drops out."""
    lab = SimLab(clock=LabClock(speed))
    for name, card, count, cpus in _DEMO:
        host = lab.add_host(name, [card] * count, cpus=cpus, memory=cpus * 8 * GIB)
        host.pull_seconds = 8.0
        host.images.add("python:3.12-slim")
    for host in lab.hosts.values():
        for index in range(0, len(host.gpus), 3):
            lab.scripts.append(_works_by_hand(host, index))
    lab.scripts.append(_drops_out(lab.faults(_DROPS), every=240.0, lasts=35.0, first=90.0))
    host = lab.host("europa")
    host.start_by_hand(host.gpus[1].uuid, "lab", 18 * GIB, "tritonserver", image="tritonserver:24")
    return lab


def small_lab(
    hosts: int = 3, gpus: int = 2, pace: Pace | None = None, speed: float = 1.0
) -> SimLab:
    """A few equal, empty hosts named gpu1, gpu2, ...; by default as fast as tests want them."""
    quick = Pace(message=0.001, create=0.004, start=0.004, remove=0.002, claim=0.001,
                 notice=0.06, pulse=0.05)  # fmt: skip
    lab = SimLab(clock=LabClock(speed), pace=pace or quick)
    for number in range(1, hosts + 1):
        lab.add_host(f"gpu{number}", [A100] * gpus, cpus=32, memory=256 * GIB)
    return lab


def _works_by_hand(host: SimHost, index: int) -> Callable[[float], None]:
    """Somebody who uses a card for a part of each period, without Hostler; never on top of one
    of Hostler's, as decent people do."""
    seed = hashlib.sha256(f"{host.name}/{index}".encode()).digest()
    user, gpu = _PEOPLE[seed[0] % len(_PEOPLE)], host.gpus[index]
    period, part, shift = 300.0 + 4 * seed[1], 0.3 + seed[2] / 600, 10.0 * seed[3]
    memory = int(gpu.memory_total * (0.3 + seed[4] / 512))
    begun: list[int] = []

    def script(now: float) -> None:
        wanted = (now + shift) % period < part * period and not host.trouble.off
        if begun and begun[0] not in host.by_hand:
            begun.clear()
        if wanted and not begun and not host.users_of(gpu) and not _is_leased(host, gpu.uuid):
            begun.append(host.start_by_hand(gpu.uuid, user, memory))
        elif begun and not wanted:
            host.by_hand.pop(begun.pop(), None)

    return script


def _is_leased(host: SimHost, uuid: str) -> bool:
    return any(lease.gpu == uuid for lease in host.leases.values())


def _drops_out(faults: Faults, every: float, lasts: float, first: float) -> Callable[[float], None]:
    """A host whose network goes away once in a while."""
    begin: list[float] = []

    def script(now: float) -> None:
        if not begin:
            begin.append(now)
        passed = now - begin[0] - first
        if passed >= 0 and passed % every < lasts:
            faults.cut()
        else:
            faults.heal_quietly()

    return script
