"""Which host names and ports a service may ask for at the gateway (`hosts`, `ports` of [gateway]),
and which ones another service has already. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hostler.model.addresses import (
    AddressKind,
    ServiceAddress,
    address_of,
    allows_name,
    allows_port,
    path_of,
)
from hostler.model.config import Config
from hostler.model.runs import Run
from hostler.model.services import Service

_KEYS = {AddressKind.HOST: ("hosts", "host names"), AddressKind.PORT: ("ports", "ports")}
_PATH_INSTEAD = "take `address` out of the stage: the service gets a path"


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which host names and ports services may have. None: any free one."""

    hosts: tuple[str, ...] | None = None
    ports: tuple[str, ...] | None = None
    own_names: frozenset[str] = frozenset()
    """Names of machines, including the gateway's. A service with such a name, or with a name that
    begins with one (`gpu1.lab.example`), could get the requests of all services that have paths."""
    own_port: int | None = None

    def refusal(self, address: ServiceAddress) -> tuple[str, str] | None:
        """Why no service may have an address, and the remedy. None: it may."""
        if address.kind is AddressKind.PATH:
            return None
        if address.kind is AddressKind.HOST:
            if self._is_own(address.value):
                return (
                    f"{address} is the name of a host, or begins with one",
                    f"use another one, or {_PATH_INSTEAD}",
                )
            given, is_good = self.hosts, allows_name(self.hosts or (), address.value)
        else:
            if int(address.value) == self.own_port:
                return f"port {address.value} is the gateway's own", "use another one"
            given, is_good = self.ports, allows_port(self.ports or (), int(address.value))
        return None if given is None or is_good else _not_given(address, given)

    def _is_own(self, name: str) -> bool:
        return not self.own_names.isdisjoint((name, name.partition(".")[0]))


def _not_given(address: ServiceAddress, given: tuple[str, ...]) -> tuple[str, str]:
    key, words = _KEYS[address.kind]
    what = f"{', '.join(given)} only, not {address}" if given else f"no {words}"
    example = f'{key} = "{address.value}"'
    return f"the gateway gives services {what}", (
        f"use one of these, or ask the daemon's owner for {example} under [gateway] in config.toml"
        if given
        else f"{_PATH_INSTEAD}; or ask the daemon's owner for {example} under [gateway] in "
        "config.toml"
    )


def rules_of(config: Config, machine: str = "") -> AddressRules:
    """The rules of the config. Without these keys, a personal daemon allows all addresses, a shared
    one none. `machine`: the name of the daemon's machine."""
    gateway, left_out = config.gateway, () if config.daemon.is_shared else None
    names = [machine, *(each for host in config.hosts for each in (host.name, host.target))]
    return AddressRules(
        gateway.hosts if gateway.hosts is not None else left_out,
        gateway.ports if gateway.ports is not None else left_out,
        frozenset(filter(None, map(_bare, names))),
        gateway.port,
    )


def _bare(target: str) -> str:
    """The name of the machine in an SSH target: `ana@gpu1`, `ssh://ana@gpu1:22`."""
    name = target.lower().removeprefix("ssh://").rpartition("@")[2].partition("/")[0]
    return name.partition(":")[0].rstrip(".")


def address_in(service: Service, name: str) -> ServiceAddress:
    """The address of a service with this name at the gateway. Raises InputError."""
    return address_of(service.address) if service.address else path_of(name)


def addresses_in(run: Run, name: str | None = None) -> dict[str, ServiceAddress]:
    """The addresses of a run's services, by their names at the gateway: the names in the file, or
    `name` for a release. Raises InputError."""
    found = {stage.base: stage.service for stage in run.stages if stage.service is not None}
    return {name or base: address_in(service, name or base) for base, service in found.items()}


class Taken:
    """Addresses in use, and their owners."""

    def __init__(self) -> None:
        self._whole: dict[tuple[AddressKind, str], str] = {}
        self._above: dict[str, str] = {}
        """Path above a path that is taken -> its owner."""

    def take(self, address: ServiceAddress, whose: str) -> None:
        """Assign a free address."""
        self._whole[address.kind, address.value] = whose
        for path in _above(address):
            self._above.setdefault(path, whose)

    def whose(self, address: ServiceAddress) -> str | None:
        """The owner of an address whose requests overlap with this one's; None: no such address is
        taken."""
        below = self._above.get(address.value) if address.kind is AddressKind.PATH else None
        paths = (*_above(address), address.value)
        found = (self._whole.get((address.kind, path)) for path in paths)
        return below or next(filter(None, found), None)


def _above(address: ServiceAddress) -> Iterable[str]:
    if address.kind is not AddressKind.PATH:
        return ()
    parts = address.value.split("/")[1:-1]
    return tuple("/" + "/".join(parts[: n + 1]) for n in range(len(parts)))
