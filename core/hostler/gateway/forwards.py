"""Decides which sockets a gateway's forwarder connects to replicas on other hosts, and says why a
host is not reached, with the remedy. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from hostler.base.text import clean_line
from hostler.gateway.states import GatewayState
from hostler.model.gateway import GatewayFolder, GatewayService, WantedGateway, socket_name
from hostler_agent.forwards import Wanted, is_refusal, read_wanted
from hostler_agent.json_values import Message, string, tables


@dataclass(frozen=True, slots=True)
class Way:
    """How the gateway reaches a host now, as its forwarder reports."""

    host: str
    state: str
    """"connecting", "connected" or "failed"."""
    said: str = ""
    """The last message of ssh."""

    @property
    def why_not(self) -> str:
        """The reason, for people; "": it is reached, or has not been tried yet."""
        if self.state == "connected" and self._is_forbidden:
            return f"ssh says: {self.said}"
        if self.state != "failed":
            return ""
        return f"ssh says: {self.said}" if self.said else "its ssh ended"

    @property
    def remedy(self) -> str:
        """The remedy for a login that fails, or may not forward."""
        if self._is_forbidden:
            return _ALLOW
        if is_refusal(self.said) or "resolve" in self.said.lower():
            return _REMEDY
        return ""

    @property
    def _is_forbidden(self) -> bool:
        return "prohibited" in self.said.lower()


_ALLOW = "ask its administrator to let this login forward ports (AllowTcpForwarding of its sshd)"
_REMEDY = (
    "give the gateway's login SSH access there without a prompt (its key, known_hosts, "
    'ssh_config), or set reach = "none" for that host: hostler doctor checks it'
)


def placed(wanted: WantedGateway, folder: GatewayFolder) -> WantedGateway:
    """With the sockets as the addresses of replicas on other hosts."""
    return replace(wanted, services=tuple(_placed(each, folder) for each in wanted.services))


def _placed(service: GatewayService, folder: GatewayFolder) -> GatewayService:
    replicas = tuple(
        replica
        if replica.through is None
        else replace(replica, address=folder.socket(replica.name), through=None)
        for replica in service.replicas
    )
    return replace(service, replicas=replicas)


def wanted_text(wanted: WantedGateway, before: str, state: GatewayState | None) -> str:
    """The forwarder's file. `before`: the present file; its sockets stay for servers that the
    gateway still has: they may have requests."""
    found = _wanted(wanted)
    there = {socket_name(name) for _, name in state.servers} if state is not None else set()
    new = {name for _, ports in found.values() for name in ports}
    for host, each in read_wanted(before).items():
        kept = {n: p for n, p in each.sockets.items() if n in there - new}
        if kept:
            words, ports = found.setdefault(host, (each.ssh, {}))
            found[host] = (words, {**ports, **kept})
    return _text(found)


def _wanted(wanted: WantedGateway) -> dict[str, tuple[Sequence[str], dict[str, int]]]:
    found: dict[str, tuple[Sequence[str], dict[str, int]]] = {}
    for service in wanted.services:
        for replica in service.replicas:
            if replica.through is not None:
                port = int(replica.address.rpartition(":")[2])
                ports = found.setdefault(replica.through.host, (replica.through.ssh, {}))[1]
                ports[socket_name(replica.name)] = port
    return found


def _text(found: Mapping[str, tuple[Sequence[str], Mapping[str, int]]]) -> str:
    hosts = {host: {"ssh": list(words), "sockets": ports} for host, (words, ports) in found.items()}
    return json.dumps(hosts, sort_keys=True) if hosts else ""


def hosts_of(text: str) -> Collection[str]:
    """The hosts to which a forwarder connects."""
    wanted: Mapping[str, Wanted] = read_wanted(text)
    return wanted.keys()


def read_ways(answer: Message) -> dict[str, Way]:
    """By host, as the agent reports it."""
    ways = {}
    for each in tables(answer.get("hosts")):
        host, state = string(each.get("host")) or "", string(each.get("state")) or ""
        ways[host] = Way(host, state, clean_line(string(each.get("said")) or "", 300))
    return ways
