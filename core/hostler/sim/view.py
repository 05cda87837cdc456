"""The sections of a look, and the hello, of a simulated host: simulated loads, temperatures,
processes."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

from hostler.base.units import GIB, MIB
from hostler.model.codec import to_json
from hostler.model.hosts import Lease
from hostler.sim.behaviour import wobble
from hostler.sim.claims import lease_is_stale
from hostler.sim.host import SimHost, memory_of
from hostler.sim.parts import ByHand, SimGpu
from hostler_agent import wire
from hostler_agent.json_values import Outgoing
from hostler_agent.look_sections import (
    ClockRow,
    DiskSpace,
    Foreign,
    GpuName,
    GpuProcess,
    GpuSlow,
    GpuValues,
    KeptRow,
    MachineRow,
    Sections,
    StrayUse,
)

AGENT = "sim"


def hello_line(host: SimHost) -> bytes:
    """The agent's first line; for a silent Docker, only that it exists."""
    facts = host.facts
    if host.trouble.docker:
        facts = replace(facts, docker=None, docker_gpu=None)
    hello = {
        "protocol": wire.PROTOCOL, "agent": AGENT, "boot_id": host.boot_id,
        "facts": to_json(facts),
    }  # fmt: skip
    return wire.encode({"hello": hello})


def sections(host: SimHost) -> Sections:
    """All sections of a look (docs/protocol.md), as of now."""
    now = host.advance()
    works = [w for w in host.works.values() if w.runtime != "docker" or not host.trouble.docker]
    shown = [work for work in works if work.kept_until is None]
    found: Sections = {
        "boot": host.boot_id,
        "names": [
            GpuName(g.uuid, g.index, g.name, g.memory_total, g.power_limit) for g in host.gpus
        ],
        "g": [_measured(host, gpu, now) for gpu in host.gpus],
        "slow": [
            GpuSlow(0, _throttle(host, gpu), False, _energy(gpu), gpu.problem) for gpu in host.gpus
        ],
        "procs": {gpu.uuid: [one.to_json() for one in _processes(host, gpu)] for gpu in host.gpus},
        "work": [work.to_wire(host.booted_at) for work in shown],
        "foreign": _containers(host),
        "leases": [_lease(host, lease) for lease in host.leases.values()],
        "machine": _machine(host),
        "clock": ClockRow(round(now + host.wall_ahead, 3), round(now - host.booted_at, 3)),
        "trouble": {"gpu": None, "docker": host.trouble.docker, "leases": None, "lists": None},
        "kept": _kept(host),
    }
    if any(work.port is not None for work in works):
        asked = (work.health(now, host.booted_at) for work in works)
        found["health"] = [row for row in asked if row is not None]
    return found


def _kept(host: SimHost) -> KeptRow:
    sizes = [
        sum(map(len, host.files(work).values()))
        for work in host.works.values()
        if work.kept_until is not None
    ]
    return KeptRow(len(sizes), sum(sizes))


def _measured(host: SimHost, gpu: SimGpu, now: float) -> GpuValues:
    if gpu.problem:
        return GpuValues()
    used = round(host.memory_used(gpu) / MIB, 1)
    load = _load(host, gpu)
    if load is None:
        drift = wobble(gpu.uuid, now / 10)
        heat, power = round(33 + 2 * drift), round(gpu.power_limit * 0.13 + drift, 1)
        return GpuValues(used, 0.0, heat, power, 210.0, 405.0)
    moved = min(100.0, max(0.0, load + min(9.0, load) * wobble(gpu.uuid, now)))
    heat, power = round(45 + 30 * moved / 100), gpu.power_limit * (0.25 + 0.7 * moved / 100)
    return GpuValues(used, round(moved), heat, round(power, 1), 1410.0, 1593.0)


def _load(host: SimHost, gpu: SimGpu) -> float | None:
    """The total load of a card in percent, by all users; None: it has none."""
    users = (*host.users_of(gpu), *host.strays_on(gpu))
    loads = [work.behaviour.util for work in users]
    loads += [70.0 + 20 * wobble(str(h.pid), 0) for h in _hands(host, gpu)]
    return min(97.0, sum(loads)) if loads else None


def _throttle(host: SimHost, gpu: SimGpu) -> tuple[str, ...]:
    load = _load(host, gpu)
    return ("power cap",) if load is not None and load > 92 else ()


def _energy(gpu: SimGpu) -> float:
    """In coarse steps: the agent reports it at most every ten seconds."""
    step = gpu.power_limit * 10
    return math.floor(gpu.energy / step) * step


def _processes(host: SimHost, gpu: SimGpu) -> list[GpuProcess]:
    if gpu.problem:
        return []
    listed = []
    for work in host.users_of(gpu):
        docker = work.runtime == "docker"
        listed.append(
            GpuProcess(
                work.pid,
                "compute",
                memory_of(work, gpu),
                work.owner,
                "python",
                work.ref if docker else None,
                None if docker else work.attempt_id,
                work.started_at,
            )
        )
    for work in host.strays_on(gpu):
        use = StrayUse(True, round(work.behaviour.util), str(gpu.index))
        listed.append(
            GpuProcess(
                work.pid, "compute", memory_of(work, gpu), work.owner, "python",
                attempt_id=work.attempt_id, started_at=work.started_at, stray=use,
            )
        )  # fmt: skip
    for hand in _hands(host, gpu):
        container = None if hand.container is None else hand.container[0]
        listed.append(
            GpuProcess(
                hand.pid,
                "compute",
                hand.memory,
                hand.user,
                hand.command,
                container,
                started_at=hand.started_at,
            )
        )
    return listed


def _hands(host: SimHost, gpu: SimGpu) -> list[ByHand]:
    return [hand for hand in host.by_hand.values() if hand.gpu == gpu.uuid]


def _containers(host: SimHost) -> list[Foreign]:
    if host.trouble.docker:
        return []
    return [
        {"container_id": c[0], "name": c[1], "image": c[2], "gpus": [hand.gpu]}
        for hand in host.by_hand.values()
        if (c := hand.container) is not None
    ]


def _lease(host: SimHost, lease: Lease) -> Outgoing:
    return asdict(replace(lease, stale=lease_is_stale(host, lease)))


def _machine(host: SimHost) -> MachineRow:
    running = sum(work.running for work in host.works.values()) + len(host.by_hand)
    total = host.facts.memory_total or 256 * GIB
    available = max(0, total - (4 + 6 * running) * GIB)
    disk = DiskSpace("/", 2000 * GIB, (1500 - 3 * running) * GIB, [*host.facts.runtimes])
    return MachineRow(float(running), total, available, [disk])
