"""The routes of the gateway: services of open runs with their reachable replicas. Pure.

The gateway reaches replicas on its own host: they listen on its loopback.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hostler.base.errors import InputError
from hostler.model.config import Config
from hostler.model.gateway import (
    AddressKind,
    GatewayCheck,
    GatewayEntry,
    GatewayService,
    GatewayToken,
    Replica,
    ServerState,
    ServiceAddress,
    WantedGateway,
)
from hostler.model.gateway_config import GatewayConfig
from hostler.model.runs import Attempt, Phase, Run
from hostler.model.services import HealthCheck

MOST_SERVICES = 200
_CHEAP = ("GET", "HEAD")
_OFTEN = 1.0
"""Seconds between checks that cost a replica little: two bad ones take it out."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Services with addresses, and those without, by (run, service)."""

    wanted: WantedGateway
    paths: dict[tuple[str, str], str]
    problems: dict[tuple[str, str], str]
    holders: dict[str, int]
    """Whose the addresses are: service -> uid."""


def entry_of(config: GatewayConfig) -> GatewayEntry:
    """Where the gateway listens, by the config. Raises InputError."""
    tokens = config.tokens if config.tokens is not None else not _is_loopback(config.bind)
    return GatewayEntry(config.bind, config.port, config.tls_cert, tokens, config.insecure)


def routes(
    config: GatewayConfig,
    runs: Sequence[Run],
    tokens: Iterable[GatewayToken],
    now: float,
    held: Mapping[str, int] | None = None,
) -> Routes:
    """By the open runs, oldest first. Of two services of one name that has the address whose person
    has it already (`held`), else the older: nobody takes it over by waiting for a person's next
    release. Raises InputError where the config is not valid."""
    entry = entry_of(config)
    services: dict[str, GatewayService] = {}
    owners: dict[str, Run] = {}
    problems: dict[tuple[str, str], str] = {}
    for run, name in _in_turn(runs, held or {}):
        if name in services:
            problems[run.run_id, name] = f"run {owners[name].run_id} has the address /{name}"
            continue
        if len(services) >= MOST_SERVICES:
            problems[run.run_id, name] = f"it has {MOST_SERVICES} services already"
            continue
        try:
            services[name] = _service(run, name, config.host)
        except InputError as error:
            problems[run.run_id, name] = error.message
            continue
        owners[name] = run
    paths = {(run.run_id, name): services[name].address.value for name, run in owners.items()}
    valid = tuple(token for token in tokens if token.until > now) if entry.tokens else ()
    order = {run.run_id: number for number, run in enumerate(runs)}
    served = tuple(services[n] for n in sorted(owners, key=lambda n: order[owners[n].run_id]))
    holders = {name: run.uid for name, run in owners.items()}
    return Routes(WantedGateway(entry, served, valid), paths, problems, holders)


def held_by(servers: Iterable[tuple[str, str]], runs: Iterable[Run]) -> dict[str, int]:
    """Whose addresses a running gateway serves, by its servers (service, attempt)."""
    uids = {attempt.attempt_id: run.uid for run in runs for attempt in run.attempts}
    return {service: uids[name] for service, name in servers if name in uids}


def _in_turn(runs: Iterable[Run], held: Mapping[str, int]) -> list[tuple[Run, str]]:
    """Services of runs, those whose people have the address before others."""
    found = [
        (run, name)
        for run in runs
        for name in dict.fromkeys(stage.base for stage in run.stages if stage.service is not None)
    ]
    return sorted(found, key=lambda each: held.get(each[1]) != each[0].uid)


def _service(run: Run, name: str, host: str | None) -> GatewayService:
    stages = {stage.name: stage for stage in run.stages if stage.base == name}
    health = next(s.service.health for s in stages.values() if s.service is not None)
    found = (a for a in run.attempts if a.stage in stages and a.host == host and _serves(a))
    address = ServiceAddress(AddressKind.PATH, f"/{name}")
    replicas = tuple(_replica(attempt, run) for attempt in found)
    return GatewayService(name, address, replicas, _check(health))


def _serves(attempt: Attempt) -> bool:
    is_ready = attempt.ready_at is not None and attempt.port is not None
    return is_ready and attempt.phase is Phase.RUNNING


def _replica(attempt: Attempt, run: Run) -> Replica:
    """One that is about to be stopped gets nothing new."""
    ends = run.cancelled_by is not None or attempt.stop_reason is not None
    state = ServerState.DRAIN if ends else ServerState.READY
    return Replica(attempt.attempt_id, f"127.0.0.1:{attempt.port}", state)


def _check(health: HealthCheck) -> GatewayCheck:
    if health.path is None:
        return GatewayCheck(
            every=_within(min(_OFTEN, health.every)), timeout=_within(health.timeout)
        )
    often = min(_OFTEN, health.every) if health.method in _CHEAP else health.every
    return GatewayCheck(
        health.path, health.method, health.body, health.headers, health.status, _within(often),
        _within(health.timeout),
    )  # fmt: skip


def _within(seconds: float) -> float:
    return min(3600.0, max(0.1, seconds))


def _is_loopback(bind: Iterable[str]) -> bool:
    try:
        return all(ipaddress.ip_address(address).is_loopback for address in bind)
    except ValueError:
        return False  # refused where it is read


def url_of(config: Config) -> str:
    """Where the gateway answers: on its own host alone, where it listens at the loopback."""
    entry = entry_of(config.gateway)
    host = config.host(config.gateway.host or "")
    name = host.target if host is not None and host.transport != "local" else "127.0.0.1"
    where = name if entry.is_open else "127.0.0.1"
    return f"{'https' if entry.tls_cert else 'http'}://{where}:{entry.port}"
