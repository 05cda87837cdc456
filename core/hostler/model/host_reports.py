"""What the agent of a host reports, checked field by field: 64 GPUs and 64 disks at most. A host
may lie: each field is checked here, once, and nothing else of what it says is kept.

Rows are those of `hostler_agent.look_sections`, checked by the types of their fields. What is
measured of a GPU needs a field there and one of the same name in `Gpu`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hostler.base.checks import (
    Check,
    boolean,
    count,
    identifier,
    integer,
    listed,
    made,
    mapping,
    number,
    one_of,
    optional,
    record,
    row,
    several,
    text,
)
from hostler.base.units import MIB
from hostler.model.hosts import (
    Disk,
    ForeignContainer,
    Gpu,
    GpuProcess,
    Health,
    HostFacts,
    KeptTotal,
    Lease,
    Look,
    Machine,
    StrayUse,
    Workload,
)
from hostler.model.jobs import Claimed
from hostler.model.runtimes import NAMES
from hostler_agent.json_values import Json
from hostler_agent.look_sections import (
    ClockRow,
    DiskSpace,
    GpuName,
    GpuSlow,
    GpuValues,
    HealthRow,
    KeptRow,
    MachineRow,
)

T = TypeVar("T")

MAX_GPUS = 64
_MOST_DISKS = 64
_MOST_WORDS = 16

_text, _number, _count, _integer = (
    optional(text), optional(number), optional(count), optional(integer)
)  # fmt: skip
_uuids = several(identifier, MAX_GPUS)


def _ip(value: Json, where: str) -> str:
    return ipaddress.ip_address(text(value, where)).compressed


def _port(value: Json, where: str) -> int:
    port = count(value, where)
    if not 0 < port < 65536:
        raise ValueError(f"{where}: should be a port")
    return port


stray = made(StrayUse, {"in_tree": boolean}, {"load": _count, "visible": _text})
process = made(
    GpuProcess,
    {"pid": count, "kind": one_of("compute", "graphics")},
    {
        "user": _text, "command": _text, "memory": _count, "container_id": _text,
        "attempt_id": _text, "started_at": _number, "exists": boolean,
        "stray": optional(stray),
    },
)  # fmt: skip
workload = made(
    Workload,
    {
        "attempt_id": identifier, "daemon_id": identifier,
        "runtime": one_of(*NAMES), "ref": identifier, "running": boolean,
    },
    {
        "created_only": boolean, "exit_code": _integer, "signal": _integer, "oom_killed": boolean,
        "engine_restarted": boolean, "gpu_cut_off": boolean, "error": _text, "started_at": _number,
        "finished_at": _number, "started_up": _number, "gpus": _uuids, "owner": _text,
        "port": optional(_port), "address": optional(_ip),
    },
)  # fmt: skip
foreign = made(
    ForeignContainer, {"container_id": identifier, "name": text, "image": text, "gpus": _uuids}, {}
)
lease = made(
    Lease,
    {
        "lease_id": identifier, "gpu": identifier, "daemon_id": identifier, "owner": text,
        "attempt_id": optional(identifier), "claimed_at": number,
    },
    {
        "until": _number, "boot_id": _text, "workload": _text, "stale": boolean, "uid": _count,
        "user": _text,
    },
)  # fmt: skip
facts = made(
    HostFacts,
    {},
    {
        "hostname": _text, "kernel": _text, "machine": _text, "os": _text, "python": _text,
        "driver": _text, "cuda": _text, "cpus": _count, "memory_total": _count, "docker": _text,
        "docker_gpu": _text, "docker_limits": boolean,
        "runtimes": several(one_of(*NAMES), 8), "uid": _count, "gid": _count,
        "groups": several(count), "home": _text, "user": _text,
    },
)  # fmt: skip
claimed = made(Claimed, {}, {"lease_ids": _uuids, "refused": _text})


@dataclass(frozen=True, slots=True)
class Greeting:
    """The content of "hello" in the agent's first line."""

    protocol: int
    agent: str
    boot_id: str
    facts: HostFacts
    docker_socket: str | None = None


greeting = made(
    Greeting,
    {"protocol": count, "agent": text, "boot_id": text, "facts": facts},
    {"docker_socket": _text},
)


@dataclass(frozen=True, slots=True)
class GpuFault:
    """Pushed by the agent: an XID or a GPU that fell off the bus."""

    gpu: str
    message: str
    xid: int | None = None


fault = made(GpuFault, {"gpu": identifier, "message": text}, {"xid": _count})


def _words(value: Json, where: str) -> tuple[str, ...]:
    return () if value is None else several(text, _MOST_WORDS)(value, where)


_BY_TYPE: dict[object, Check[object]] = {
    str: text, int: count, float: number, str | None: _text, int | None: _count,
    float | None: _number, bool | None: optional(boolean), tuple: _words,
}  # fmt: skip
_workloads, _foreigners, _leases = several(workload), several(foreign), several(lease)
_disks = listed(row(DiskSpace, {**_BY_TYPE, list: _words}), _MOST_DISKS)
_names = several(row(GpuName, _BY_TYPE), MAX_GPUS)
_values = several(row(GpuValues, _BY_TYPE), MAX_GPUS)
_slow = several(row(GpuSlow, _BY_TYPE), MAX_GPUS)
_machine_row = row(MachineRow, {**_BY_TYPE, list: _disks})
_clock, _kept_row = row(ClockRow, _BY_TYPE), row(KeptRow, _BY_TYPE)
_health_rows = several(row(HealthRow, {**_BY_TYPE, bool: boolean}))
_trouble = record({}, {"gpu": _text, "docker": _text, "leases": _text, "lists": _text})


def _machine(value: Json, where: str) -> Machine:
    told = _machine_row(value, where)
    disks = tuple(Disk(d.path, d.total, d.free, tuple(d.holds)) for d in told.disks)
    return Machine(told.load1, told.memory_total, told.memory_available, disks)


def _kept(value: Json, where: str) -> KeptTotal:
    return KeptTotal(*_kept_row(value, where))


def _health(value: Json, where: str) -> Mapping[str, Health]:
    return {told.attempt_id: Health(*told) for told in _health_rows(value, where)}


def _gpu_names(value: Json, where: str) -> tuple[GpuName, ...]:
    names = _names(value, where)
    if len({identifier(name.uuid, where) for name in names}) != len(names):
        raise ValueError(f"{where}: a UUID appears twice")
    return names


def _processes(value: Json, where: str) -> dict[str, tuple[GpuProcess, ...]]:
    found = mapping(value, where)
    if len(found) > MAX_GPUS:
        raise ValueError(f"{where}: should have one key a GPU")
    check = several(process)
    return {identifier(key, where): check(item, where) for key, item in found.items()}


@dataclass(frozen=True, slots=True)
class _Known:
    """The last received sections of a look."""

    boot: str | None = None
    names: tuple[GpuName, ...] = ()
    values: tuple[GpuValues, ...] = ()
    slow: tuple[GpuSlow, ...] = ()
    processes: Mapping[str, tuple[GpuProcess, ...]] = field(default_factory=dict)
    work: tuple[Workload, ...] = ()
    foreign: tuple[ForeignContainer, ...] = ()
    leases: tuple[Lease, ...] = ()
    machine: Machine = field(default_factory=Machine)
    trouble: Mapping[str, str | None] = field(default_factory=dict)
    clock: ClockRow | None = None
    kept: KeptTotal = field(default_factory=KeptTotal)
    health: Mapping[str, Health] = field(default_factory=dict)

    def gpus(self) -> tuple[Gpu, ...]:
        """All of them. Raises ValueError if the rows do not fit together."""
        if not len(self.names) == len(self.values) == len(self.slow):
            raise ValueError("look: names, g and slow differ in length")
        return tuple(
            _gpu(name, values, slow, self.processes.get(name.uuid, ()))
            for name, values, slow in zip(self.names, self.values, self.slow, strict=True)
        )


class LookDecoder:
    """Puts the parts of successive looks together again, one for each connection. Unchanged parts
    are not built again: looks are frequent, and most differ in a few numbers."""

    def __init__(self) -> None:
        self._known = _Known()

    def apply(self, sections: Json, asked_at: float) -> Look:
        """The whole look after an answer with these sections. Raises ValueError, and keeps the
        known sections unchanged, if they do not fit."""
        said, before = mapping(sections, "look"), self._known
        known = _Known(
            _section(said, "boot", text, before.boot),
            _section(said, "names", _gpu_names, before.names),
            _section(said, "g", _values, before.values),
            _section(said, "slow", _slow, before.slow),
            _section(said, "procs", _processes, before.processes),
            _section(said, "work", _workloads, before.work),
            _section(said, "foreign", _foreigners, before.foreign),
            _section(said, "leases", _leases, before.leases),
            _section(said, "machine", _machine, before.machine),
            _section(said, "trouble", _trouble, before.trouble),
            _section(said, "clock", _clock, before.clock),
            _section(said, "kept", _kept, before.kept),
            _section(said, "health", _health, before.health),
        )
        look = _look(known, asked_at)
        self._known = known
        return look


def _section(said: Mapping[str, Json], name: str, check: Check[T], before: T) -> T:
    return check(said[name], name) if name in said else before


def _look(known: _Known, asked_at: float) -> Look:
    if known.boot is None:
        raise ValueError("look: boot is missing")
    trouble, clock = known.trouble, known.clock
    return Look(
        asked_at=asked_at,
        boot_id=known.boot,
        gpus=known.gpus(),
        workloads=known.work,
        foreign_containers=known.foreign,
        leases=known.leases,
        machine=known.machine,
        wall=None if clock is None else clock.wall,
        up=None if clock is None else clock.up,
        gpu_problem=trouble.get("gpu"),
        docker_problem=trouble.get("docker"),
        lease_problem=trouble.get("leases"),
        left_out=trouble.get("lists"),
        kept=known.kept,
        health=known.health,
    )


def _gpu(name: GpuName, values: GpuValues, slow: GpuSlow, processes: Sequence[GpuProcess]) -> Gpu:
    used = values.memory_used
    measured = {**values._asdict(), **slow._asdict()}
    measured["memory_used"] = None if used is None else int(used * MIB)
    return Gpu(
        uuid=name.uuid, index=name.number, name=name.name, memory_total=name.memory_total,
        power_limit=name.power_limit, processes=tuple(processes), **measured,
    )  # fmt: skip
