"""What the gateway serves: addresses and replicas of services, how often it checks each, which ones
conflict, at most 200 services. Pure.

`reach` says how the gateway reaches each host. A deployed service has the address of its name,
whichever release serves it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hostler.base.errors import ConflictError, InputError
from hostler.decide.addresses import AddressRules, Taken, address_in, addresses_in
from hostler.decide.holding import in_turn, service_names
from hostler.decide.reach import Reach, Reaches
from hostler.model.addresses import AddressKind, ServiceAddress, path_of
from hostler.model.causes import Cause
from hostler.model.config import Config
from hostler.model.gateway import (
    GatewayCheck,
    GatewayEntry,
    GatewayService,
    GatewayToken,
    Replica,
    ServerState,
    WantedGateway,
)
from hostler.model.gateway_config import GatewayConfig
from hostler.model.releases import ServerMode
from hostler.model.runs import Attempt, Phase, Run
from hostler.model.services import HealthCheck

MOST_SERVICES = 200
_CHEAP = ("GET", "HEAD")
_NOWHERE = "127.0.0.1:1"
"""Placeholder address of a replica that is only leaving: it gets no requests."""
_OFTEN = 1.0
"""Seconds between checks that cost a replica little. Two failed checks remove it."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A service with releases, behind the gateway."""

    name: str
    runs: tuple[Run, ...]
    """The runs of its releases. The run of the live release comes first."""
    servers: Mapping[str, ServerMode]
    """Attempt -> its required mode at the gateway."""
    there: frozenset[str] = frozenset()
    """Attempts that are at the gateway: those not in `servers` are cut off, unless their host was
    lost."""
    uid: int | None = None
    """The service's owner; another user may have deployed its last release."""


class Served(NamedTuple):
    """A service at the gateway."""

    name: str
    """Its name there: that of the stage, or of the service with releases."""
    address: ServiceAddress


@dataclass(frozen=True, slots=True)
class Routes:
    """The services at the gateway, by (run id, service): `served` ones, and `problems` of the
    others."""

    wanted: WantedGateway
    served: dict[tuple[str, str], Served]
    problems: dict[tuple[str, str], str]
    holders: dict[str, int]
    """The owners of the names: service -> uid."""
    places: dict[ServiceAddress, int] = field(default_factory=dict)
    """The owners of the addresses."""


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
    deployed: Sequence[Deployed] = (),
    reaches: Reaches | None = None,
    foreign: Container[str] = (),
    rules: AddressRules | None = None,
    held_at: Mapping[ServiceAddress, int] | None = None,
) -> Routes:
    """The services to serve: those with releases first, then those of other open runs, oldest
    first.

    If two services have one name or address, the gateway serves the one whose user has it already
    (`held`, `held_at`), else the older one. So no user can take it over by waiting for another
    user's next release. `foreign`: attempts whose ports another user has now. Raises InputError if
    the config is invalid.
    """
    entry = entry_of(config)
    rules = rules or AddressRules(own_port=config.port)
    found = _Found(_own(config) if reaches is None else reaches, foreign, rules)
    for service in deployed:
        found.add_deployed(service)
    for service in deployed:
        found.reserve(service)
    released = {run.run_id for service in deployed for run in service.runs}
    others = [run for run in runs if run.run_id not in released]
    for run, name in in_turn(others, held or {}, held_at or {}):
        found.add(run, name)
    valid = found.granted(token for token in tokens if token.until > now) if entry.tokens else ()
    wanted = WantedGateway(entry, found.in_order(runs), valid)
    holders = found.holders()
    places = {found.services[name].address: uid for name, uid in holders.items()}
    return Routes(wanted, found.served, found.problems, holders, places)


def _own(config: GatewayConfig) -> Reaches:
    return {config.host: Reach()} if config.host is not None else {}


def unknown_ports(servers: Iterable[tuple[str, str]], runs: Iterable[Run]) -> frozenset[str]:
    """Replicas that a running gateway serves, and whose ports are not known yet: the database was
    recovered, and there is no look of their hosts since."""
    there = {name for _, name in servers}
    return frozenset(
        a.attempt_id
        for run in runs
        for a in run.attempts
        if a.attempt_id in there and a.phase.is_at_work and a.port is None
    )


class _Found:
    """Services with addresses, during collection."""

    def __init__(self, reaches: Reaches, foreign: Container[str], rules: AddressRules) -> None:
        self._reaches, self._foreign, self._rules = reaches, foreign, rules
        self.services: dict[str, GatewayService] = {}
        self.served: dict[tuple[str, str], Served] = {}
        self.problems: dict[tuple[str, str], str] = {}
        self.owners: dict[str, Run] = {}
        self._uids: dict[str, int] = {}
        self._deployed: set[str] = set()
        self._taken = Taken()

    def add(self, run: Run, name: str) -> None:
        """Add a service of a run that is no release. A service with releases keeps its name even
        while the gateway refuses its address: tokens for the name are for that user's service."""
        there, is_deployed = self.services.get(name), name in self._deployed
        if there is not None or is_deployed:
            owner = f"service {name}" if is_deployed else f"run {self.owners[name].run_id}"
            said = (
                f"{owner} has the name" if there is None else _has_name(owner, name, there.address)
            )
            self.problems[run.run_id, name] = said
            return
        self._put(name, [(run.run_id, name)], run, lambda: self._of(run, name))

    def add_deployed(self, given: Deployed) -> None:
        """Add a service under its own name, with replicas of all of its releases."""
        keys = [(run.run_id, base) for run in given.runs for base in service_names(run)]
        self._deployed.add(given.name)
        self._put(given.name, keys, given.runs[0], lambda: _deployed(given, self._reaches))
        if given.uid is not None:
            self._uids[given.name] = given.uid

    def reserve(self, given: Deployed) -> None:
        """Reserve the addresses that its other releases have once they are live."""
        for run in given.runs[1:]:
            with suppress(InputError):
                for address in addresses_in(run, given.name).values():
                    if self._taken.whose(address) is None:
                        self._taken.take(address, f"service {given.name}")

    def in_order(self, runs: Iterable[Run]) -> tuple[GatewayService, ...]:
        """Services with releases first, then the others by age. Another order would cause a
        reload."""
        order = {run.run_id: number for number, run in enumerate(runs)}
        names = sorted(
            self.services,
            key=lambda n: (-1, n) if n in self._deployed else (order[self.owners[n].run_id], ""),
        )
        return tuple(self.services[name] for name in names)

    def holders(self) -> dict[str, int]:
        """The owner of each service that the gateway serves."""
        return {name: self._uids.get(name, run.uid) for name, run in self.owners.items()}

    def granted(self, tokens: Iterable[GatewayToken]) -> tuple[GatewayToken, ...]:
        """The tokens. Each is limited to the services that it was made for: it does not open
        another user's later service of the same name."""
        uids, found = self.holders(), []
        for token in tokens:
            bound = token.owners
            names = (n for n in token.services if n not in bound or bound[n] == uids.get(n))
            if services := tuple(names):
                found.append(replace(token, services=services))
        return tuple(found)

    def _put(
        self, name: str, keys: list[tuple[str, str]], owner: Run, make: Callable[[], GatewayService]
    ) -> None:
        if len(self.services) >= MOST_SERVICES:
            self.problems |= dict.fromkeys(keys, f"it has {MOST_SERVICES} services already")
            return
        try:
            service = _guarded(make(), self._foreign)
        except InputError as error:
            self.problems |= dict.fromkeys(keys, error.message)
            return
        if (problem := self._refusal(service.address)) is not None:
            self.problems |= dict.fromkeys(keys, problem)
            return
        whose = f"service {name}" if name in self._deployed else f"run {owner.run_id}"
        self._taken.take(service.address, whose)
        self.services[name], self.owners[name] = service, owner
        self.served |= dict.fromkeys(keys, Served(name, service.address))

    def _refusal(self, address: ServiceAddress) -> str | None:
        whose = self._taken.whose(address)
        if whose is not None:
            return f"{whose} has the address {address}"
        refused = self._rules.refusal(address)
        return "; ".join(refused) if refused is not None else None

    def _of(self, run: Run, name: str) -> GatewayService:
        names = {stage.name for stage in run.stages if stage.base == name}
        served = (a for a in run.attempts if a.stage in names and _serves(a))
        replicas = (
            _replica(attempt, run, self._reaches[attempt.host])
            for attempt in served
            if attempt.host in self._reaches
        )
        return _service(run, name, name, replicas)


def check_address(
    run: Run, name: str, others: Iterable[Run], deployed: Mapping[str, Iterable[Run]] | None = None
) -> None:
    """Check that the gateway can serve a release of a run under this name. Raises InputError,
    ConflictError if another run or service has its address. `others`: runs that are no releases;
    `deployed`: service -> runs of its releases at the gateway. A service keeps an address that it
    has already, even if others wait for it."""
    address = _service(run, service_names(run)[0], name, ()).address
    own = deployed.get(name, ()) if deployed is not None else ()
    if any(address in addresses_in(each, name).values() for each in own):
        return
    taken = Taken()
    for other in others:
        if name in service_names(other):
            said = _has_name(f"run {other.run_id}", name, _service(other, name, name, ()).address)
            raise ConflictError(
                f"{said} at the gateway",
                remedy="stop that service, or give the pipeline another `name`",
            )
        _take(taken, other, f"run {other.run_id}")
    for service, runs in (deployed or {}).items():
        for release in runs if service != name else ():
            _take(taken, release, f"service {service}", service)
    whose = taken.whose(address)
    if whose is not None:
        raise ConflictError(
            f"{whose} has the address {address} at the gateway",
            remedy="give the service another `address`, or stop that one",
        )


def _has_name(owner: str, name: str, address: ServiceAddress) -> str:
    """Why a name is taken. Only one service may have a name, at any address: tokens and counts
    refer to it."""
    if address == path_of(name):
        return f"{owner} has the address {address}"
    return f"{owner} is called {name}, too, and is served at {address}"


def _take(taken: Taken, run: Run, whose: str, name: str | None = None) -> None:
    with suppress(InputError):
        for address in addresses_in(run, name).values():
            taken.take(address, whose)


def _deployed(given: Deployed, reaches: Reaches) -> GatewayService:
    attempts = {a.attempt_id: a for run in given.runs for a in run.attempts}
    replicas = [
        reaches[attempts[attempt_id].host].server(attempts[attempt_id], _STATES[mode])
        for attempt_id, mode in given.servers.items()
        if attempt_id in attempts and attempts[attempt_id].port is not None
        if attempts[attempt_id].host in reaches
    ]
    named = {replica.name for replica in replicas}
    # A server on a lost host is only drained, so that its waiting requests can go to others.
    lost = {name for name, a in attempts.items() if a.cause is Cause.HOST_LOST}
    ends = sorted(given.there - named - lost)
    gone = (Replica(name, _NOWHERE, ServerState.CUT) for name in ends)
    run = given.runs[0]
    return _service(run, service_names(run)[0], given.name, (*replicas, *gone))


def _guarded(service: GatewayService, foreign: Container[str]) -> GatewayService:
    """The service, without requests to another user's process at a replica's port, even if that
    process answers the checks."""
    if not any(each.name in foreign for each in service.replicas):
        return service
    replicas = (
        replace(each, state=ServerState.CUT) if each.name in foreign else each
        for each in service.replicas
    )
    return replace(service, replicas=tuple(replicas))


_STATES = {
    ServerMode.READY: ServerState.READY,
    ServerMode.DRAIN: ServerState.DRAIN,
    ServerMode.MAINT: ServerState.CUT,
}


def _service(run: Run, base: str, name: str, replicas: Iterable[Replica]) -> GatewayService:
    found = next(s.service for s in run.stages if s.base == base and s.service is not None)
    address = address_in(found, name)
    return GatewayService(
        name, address, tuple(replicas), _check(found.health), found.maxconn, found.sticky
    )


def _serves(attempt: Attempt) -> bool:
    is_ready = attempt.ready_at is not None and attempt.port is not None
    return is_ready and attempt.phase is Phase.RUNNING


def _replica(attempt: Attempt, run: Run, reach: Reach) -> Replica:
    """A replica for the gateway. One that will be stopped soon gets no new requests."""
    ends = run.cancelled_by is not None or attempt.stop_reason is not None
    state = ServerState.DRAIN if ends else ServerState.READY
    return reach.server(attempt, state)


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
        return False  # the reader of the config refuses this address


def url_of(config: Config, address: ServiceAddress | None = None) -> str:
    """The URL of the gateway, or of a service at it: only valid on its own host if it listens at
    the loopback."""
    entry = entry_of(config.gateway)
    host = config.host(config.gateway.host or "")
    name = host.target if host is not None and host.transport != "local" else "127.0.0.1"
    where, port, path = name if entry.is_open else "127.0.0.1", str(entry.port), ""
    if address is not None:
        match address.kind:
            case AddressKind.PATH:
                path = f"{address.value}/"
            case AddressKind.HOST:
                where, path = address.value, "/"
            case AddressKind.PORT:
                port, path = address.value, "/"
    return f"{'https' if entry.tls_cert else 'http'}://{where}:{port}{path}"
