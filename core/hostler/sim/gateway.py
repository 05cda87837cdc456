"""What the agent of a simulated host answers about gateways, and their sockets; `haproxy` simulates
the program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from hostler.base.errors import EngineError
from hostler.model.gateway import GatewayFolder
from hostler.model.gateway_config import forwards_id_of, job_id_of
from hostler.sim.haproxy import VERSION, SimHaproxy
from hostler.sim.host import SimHost
from hostler.sim.requests import Load
from hostler_agent.fields import optional_text, text
from hostler_agent.forwards import WANTED, read_wanted
from hostler_agent.json_values import Message, Outgoing, integer, items, table

_FOLDER = "/var/tmp/hostler-1000/gateway"


def put(host: SimHost, asked: Message) -> Outgoing:
    """Write files of a gateway; without files only its folder is created."""
    gateway = _made(host, text(asked, "gateway"))
    files = {name: str(value) for name, value in table(asked.get("files") or {}).items()}
    gateway.files.update(files)
    return {"folder": gateway.folder.path}


def find(host: SimHost, asked: Message) -> Outgoing:
    """The program, which each simulated host has."""
    path = optional_text(asked, "program") or "/usr/sbin/haproxy"
    return {"program": path, "version": f"HAProxy version {VERSION}", "libraries": []}


def log(host: SimHost, asked: Message) -> Outgoing:
    """The entries of its log since reading started."""
    gateway = _made(host, text(asked, "gateway"))
    if _runs(host, job_id_of(text(asked, "gateway"))):
        gateway.count(host.clock.now())
    return gateway.requests.to_wire()


def ports(host: SimHost, asked: Message) -> Outgoing:
    """The ports that a gateway cannot use: something else listens there."""
    used = {work.port for work in host.works.values() if work.running}
    wanted = (integer(port) for port in items(asked["ports"]))
    return {"taken": [{"port": port, "why": ""} for port in wanted if port in used]}


def remove(host: SimHost, asked: Message) -> Outgoing:
    """Remove all files of an ended gateway."""
    host.gateways.pop(text(asked, "gateway"), None)
    return {}


def begin(host: SimHost, attempt_id: str) -> None:
    """Its process has started."""
    for daemon_id, gateway in host.gateways.items():
        if job_id_of(daemon_id) == attempt_id:
            gateway.load(host.clock.now(), fresh=True)


def said(host: SimHost, path: str, line: str) -> bytes:
    """The answer at a socket. Raises EngineError if nothing listens."""
    for daemon_id, gateway in host.gateways.items():
        if gateway.folder.control == path and _runs(host, job_id_of(daemon_id)):
            return gateway.answer(line, host.clock.now()).encode()
    raise EngineError(host.name, f"nothing answers at {path}")


class SimSocket:
    """`ports.ByteStream` to a simulated gateway: a line, then its answer."""

    def __init__(self, ask: Callable[[str], Awaitable[bytes]]) -> None:
        self._ask = ask
        self._asked, self._answers = b"", b""

    async def read(self, limit: int = 65536) -> bytes:
        """The answers to the lines so far."""
        piece, self._answers = self._answers[:limit], self._answers[limit:]
        return piece

    async def write(self, data: bytes) -> None:
        """Each whole line is answered. Raises Unreachable when cut."""
        *lines, self._asked = (self._asked + data).split(b"\n")
        for line in lines:
            self._answers += await self._ask(line.decode("ascii"))

    async def close(self) -> None:
        """Closes nothing: nothing is held."""


def forwards(host: SimHost, asked: Message) -> Outgoing:
    """The tasks of its forwarder, and how they reach each host."""
    daemon_id = text(asked, "gateway")
    wanted = _made(host, daemon_id).files.get(WANTED, "")
    runs = _runs(host, forwards_id_of(daemon_id))
    now, hosts = host.clock.now(), read_wanted(wanted)
    ways = [_way(host, name, sockets.sockets, now, runs=runs) for name, sockets in hosts.items()]
    return {"argv": ["forwarder"], "wanted": wanted, "hosts": ways}


def _way(
    host: SimHost, name: str, sockets: Mapping[str, int], now: float, *, runs: bool
) -> Outgoing:
    is_there = _neighbour(host, name) is not None
    state = "connecting" if not runs else "connected" if is_there else "failed"
    said = f"ssh: connect to host {name} port 22: No route to host" if state == "failed" else ""
    opened = list(sockets) if state == "connected" else []
    return {"host": name, "state": state, "said": said, "at": now, "open": opened}


def _neighbour(host: SimHost, name: str) -> SimHost | None:
    """Another host, if the gateway's host reaches it now."""
    other = host.neighbours.get(name)
    if other is None or other.trouble.off or other.trouble.cut_since is not None:
        return None
    return other


def _made(host: SimHost, daemon_id: str) -> SimHaproxy:
    if daemon_id not in host.gateways:
        folder = GatewayFolder(f"{_FOLDER}/{daemon_id[:16]}")
        host.gateways[daemon_id] = SimHaproxy(folder, partial(_load_at, host, daemon_id))
    return host.gateways[daemon_id]


def _load_at(host: SimHost, daemon_id: str, address: str) -> Load | None:
    """At a port of the host itself, or behind a socket of the forwarder."""
    if not address.startswith("/"):
        return _load_of(host, int(address.rpartition(":")[2]))
    if not _runs(host, forwards_id_of(daemon_id)):
        return None
    socket = address.rpartition("/")[2]
    wanted = host.gateways[daemon_id].files.get(WANTED, "")
    for name, each in read_wanted(wanted).items():
        other = _neighbour(host, name) if socket in each.sockets else None
        if other is not None:
            return _load_of(other, each.sockets[socket])
    return None


def _load_of(host: SimHost, port: int) -> Load | None:
    now = host.clock.now()
    for work in host.works.values():
        if work.port == port and work.running:
            told, does = work.health(now, host.booted_at), work.behaviour
            return Load(told is not None and told.ok, does.rate, does.latency, does.errors)
    return None


def _runs(host: SimHost, job_id: str) -> bool:
    work = host.works.get(job_id)
    return work is not None and work.running
