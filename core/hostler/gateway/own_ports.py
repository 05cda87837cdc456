"""Leaves out services whose own port at the gateway is taken, and says what has it; `model/timings`
has the pauses between tries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from hostler.base.text import clean_line
from hostler.gateway.states import GatewayState
from hostler.model.addresses import AddressKind, is_port
from hostler.model.gateway import GatewayService, WantedGateway
from hostler.model.timings import GatewayTimings
from hostler.ports import HostLink
from hostler_agent.json_values import integer, string, tables

_LOOPBACK = ("127.0.0.1", "[::1]")
_REPLICA = "a replica of a service has it"


class OwnPorts:
    """HAProxy refuses a whole configuration because of one port, so each port is tried before. A
    service whose port is taken is not served until the port is free; other services are not
    affected."""

    def __init__(self, link: HostLink, timings: GatewayTimings) -> None:
        self._link, self._timings = link, timings
        self._due = 0.0
        self._refused: dict[int, tuple[float, str]] = {}
        """Port -> until when it is left out, and why."""
        self.taken: Mapping[int, str] = {}
        """Port -> why the gateway does not listen there, at the last step."""

    async def bring(self, wanted: WantedGateway, state: GatewayState | None) -> WantedGateway:
        """The wanted state, without the ports that are taken. Raises HostError."""
        ports = {port for service in wanted.services if (port := port_of(service)) is not None}
        replicas = ports & _replica_ports(wanted, state) if ports else ports
        ports -= replicas
        new = ports - (state.ports if state is not None else frozenset())
        now = asyncio.get_running_loop().time()
        self._refused = {p: each for p, each in self._refused.items() if p in new and each[0] > now}
        refused = {port: why for port, (_, why) in self._refused.items()}
        asked = sorted(new - refused.keys())
        found = {port: why for port, why in self.taken.items() if port in asked}
        if found.keys() != set(asked) or (asked and now >= self._due):
            self._due = now + self._timings.port_again
            found = await self._ask(wanted.entry.bind, asked)
        others = {port: self._words(port, _REPLICA) for port in replicas}
        self.taken = found | refused | others
        if not self.taken:
            return wanted
        return replace(wanted, services=tuple(self._shut(each) for each in wanted.services))

    def refuse(self, port: int, why: str) -> None:
        """Leave out a port for a while: HAProxy could not listen there. Each such reload ends old
        streams sooner, and another program may take the port after the check."""
        until = asyncio.get_running_loop().time() + self._timings.port_refused
        self._refused[port] = until, why
        self.taken = {**self.taken, port: why}

    def _shut(self, service: GatewayService) -> GatewayService:
        return replace(service, is_shut=True) if port_of(service) in self.taken else service

    async def _ask(self, bind: tuple[str, ...], ports: list[int]) -> dict[int, str]:
        asked = {"bind": list(bind), "ports": ports}
        answer = await self._link.call("gateway.ports", asked, self._timings.start)
        said = {integer(each["port"]): string(each["why"]) for each in tables(answer["taken"])}
        return {port: self._words(port, said[port] or "") for port in ports if port in said}

    def _words(self, port: int, why: str) -> str:
        what = "is used by another program" if not why else f"cannot be used: {clean_line(why, 80)}"
        return f"port {port} on {self._link.host} {what}"


def port_of(service: GatewayService) -> int | None:
    """The port of a service with its own port."""
    is_port = service.address.kind is AddressKind.PORT
    return int(service.address.value) if is_port else None


def _replica_ports(wanted: WantedGateway, state: GatewayState | None) -> set[int]:
    """Ports of replicas on its own host, also of those that have just ended: the gateway would send
    their requests to the other service, or to itself without end."""
    near = (r.address for s in wanted.services for r in s.replicas if r.through is None)
    known = (server.address for server in state.servers.values()) if state is not None else ()
    found = (address.rpartition(":") for address in (*near, *known))
    return {int(port) for host, _, port in found if host in _LOOPBACK and is_port(port)}
