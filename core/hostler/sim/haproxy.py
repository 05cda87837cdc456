"""A simulated HAProxy: its version, the servers of services, and the commands of its runtime
socket.

It reads the configuration that is written for the real one and answers the commands that
`hostler.gateway` sends; what nobody sends is no command here. The time is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hostler.model.gateway import GatewayFolder
from hostler.sim.requests import Load, Requests

VERSION = "3.0.11-sim"
CHECK_S = 0.5
"""Seconds from an added server to the end of its first check."""
_BACKEND = "s."
_LINGER_S = 4.0
"""Seconds until the requests of a drained server have ended."""
_LATENCY_MS = 1000.0
_ADMIN = {"ready": 0, "maint": 1, "drain": 8}
"""Bits of `srv_admin_state`."""
_COLUMNS = ("pxname", "svname", "qcur", "scur", "slim", "stot", "hrsp_5xx", "econ", "status",
            "weight", "uweight", "check_status", "check_code", "addr")  # fmt: skip
_SERVER = re.compile(r"^    server (\S+) (\S+)(.*)$")

Key = tuple[str, str]
"""Service and server."""


@dataclass(slots=True)
class Server:
    """A server that the gateway knows."""

    address: str
    state: str
    """ "ready", "drain" or "maint"."""
    added_at: float
    drained_at: float = 0.0
    weight: int = 1
    maxconn: int = 0


@dataclass(slots=True)
class SimHaproxy:
    """A gateway of one daemon on one host. `load_at`: the service at an address, if any."""

    folder: GatewayFolder
    load_at: Callable[[str], Load | None]
    files: dict[str, str] = field(default_factory=dict)
    structure: str = ""
    servers: dict[Key, Server] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    frontends: tuple[str, ...] = ()
    maps: dict[str, dict[str, str]] = field(default_factory=dict)
    requests: Requests = field(default_factory=Requests)

    def load(self, now: float, *, fresh: bool) -> None:
        """Read the configuration: at its start, and at each reload. Servers that were proven are
        in it, and get requests at once; all others are forgotten."""
        self.count(now)
        before = {} if fresh else self.servers
        text = self.files.get("haproxy.cfg", "")
        found = re.search(r"^    description (\S+)$", text, re.MULTILINE)
        self.structure = found[1] if found else ""
        self.services = tuple(re.findall(rf"^backend {re.escape(_BACKEND)}(\S+)$", text, re.M))
        self.frontends = tuple(re.findall(r"^frontend (\S+)$", text, re.M))
        self.servers = {
            key: before.get(key) or Server(address, "ready", now - CHECK_S)
            for key, address in _written(text)
        }
        for name, path in (("tokens.map", self.folder.tokens), ("grants.map", self.folder.grants)):
            lines = (line.partition(" ") for line in self.files.get(name, "").splitlines())
            self.maps[path] = {key: value for key, _, value in lines}

    def count(self, now: float) -> None:
        """Count the requests since the last time."""
        serving = {key: load for key, load in self._loads() if self._is_up(key, load, now)}
        self.requests.pass_until(now, self.services, serving)

    def answer(self, line: str, now: float) -> str:
        """The answer to a line; ends with an empty line."""
        self.count(now)
        words = line.split()
        if words and words[0].startswith("@"):
            words = words[1:]
        return self._said(words, now) + "\n"

    def _said(self, words: list[str], now: float) -> str:
        match words:
            case ["reload"]:
                self.load(now, fresh=False)
                return "Success=1\n--\n"
            case ["show", "proc"]:
                return "#<PID> <type> <reloads>\n1000 master 0\n# workers\n1001 worker 0\n"
            case ["show", "info"]:
                return f"Name: HAProxy\nVersion: {VERSION}\ndescription: {self.structure}\n"
            case ["show", "stat"]:
                return "".join(f"{row}\n" for row in self._stat(now))
            case ["show", "servers", "state"]:
                return "".join(f"{row}\n" for row in self._states())
            case ["show", "map", path]:
                known = self.maps.get(path, {})
                return "".join(f"0x1 {key} {value}\n" for key, value in known.items())
            case _:
                return self._changed(words, now)

    def _changed(self, words: list[str], now: float) -> str:
        match words:
            case ["add", "server", name, address, *_]:
                self.servers[_key(name)] = Server(address, "maint", now)
            case ["set", "server", name, "state", state] if _key(name) in self.servers:
                self._set_state(self.servers[_key(name)], state, now)
            case ["set", "server", name, "weight", weight] if _key(name) in self.servers:
                self.servers[_key(name)].weight = int(weight)
            case ["set", "maxconn", "server", name, most] if _key(name) in self.servers:
                self.servers[_key(name)].maxconn = int(most)
            case ["del", "server", name]:
                self.servers.pop(_key(name), None)
            case [("add" | "set"), "map", path, key, *value]:
                self.maps.setdefault(path, {})[key] = " ".join(value)
            case ["del", "map", path, key]:
                self.maps.get(path, {}).pop(key, None)
            case ["get", "map", path, key]:
                there = key in self.maps.get(path, {})
                return f"type=str, found={'yes' if there else 'no'}\n"
        return ""

    def _set_state(self, server: Server, state: str, now: float) -> None:
        if state == "drain" and server.state != "drain":
            server.drained_at = now
        server.state = state

    def _loads(self) -> Iterator[tuple[Key, Load]]:
        for key, server in self.servers.items():
            load = self.load_at(server.address)
            if load is not None:
                yield key, load

    def _is_up(self, key: Key, load: Load, now: float) -> bool:
        server = self.servers[key]
        return server.state == "ready" and load.answers and now >= server.added_at + CHECK_S

    def _stat(self, now: float) -> Iterator[str]:
        yield "# " + ",".join(_COLUMNS)
        for frontend in self.frontends:
            yield ",".join(_row({"pxname": frontend, "svname": "FRONTEND"}))
        for service in self.services:
            yield ",".join(_row({"pxname": _BACKEND + service, "svname": "BACKEND", "qcur": "0"}))
        for key, server in self.servers.items():
            yield ",".join(_row(self._told(key, server, now)))

    def _told(self, key: Key, server: Server, now: float) -> Mapping[str, str]:
        load = self.load_at(server.address)
        good = load is not None and load.answers
        is_checked = now >= server.added_at + CHECK_S
        check = "" if not is_checked else "L7OK" if good else "L4CON"
        status = {"ready": "UP" if good else "DOWN", "drain": "DRAIN", "maint": "MAINT"}
        return {
            "pxname": _BACKEND + key[0], "svname": key[1], "qcur": "0",
            "scur": str(self._sessions(server, load, now)), "slim": str(server.maxconn or ""),
            "stot": str(self.requests.of(key)), "status": status.get(server.state, "DOWN"),
            "weight": str(server.weight), "uweight": str(server.weight), "check_status": check,
            "check_code": "200" if check == "L7OK" else "", "addr": server.address,
        }  # fmt: skip

    def _sessions(self, server: Server, load: Load | None, now: float) -> int:
        """Running requests; those of a drained server end after a moment."""
        if load is None or not load.answers:
            return 0
        running = max(1, round(load.rate * load.latency_ms / _LATENCY_MS)) if load.rate else 0
        if server.state == "drain":
            return running if server.drained_at and now < server.drained_at + _LINGER_S else 0
        return running if server.state == "ready" else 0

    def _states(self) -> Iterator[str]:
        yield "1"
        yield "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state"
        for number, (key, server) in enumerate(self.servers.items(), 1):
            admin = _ADMIN.get(server.state, 0)
            yield f"1 {_BACKEND}{key[0]} {number} {key[1]} 127.0.0.1 2 {admin}"


def _written(text: str) -> Iterator[tuple[Key, str]]:
    """The servers of a configuration."""
    service = ""
    for line in text.splitlines():
        if line.startswith(f"backend {_BACKEND}"):
            service = line.removeprefix(f"backend {_BACKEND}")
        elif (found := _SERVER.match(line)) is not None and service:
            yield (service, found[1]), found[2]


def _row(values: Mapping[str, str]) -> Iterator[str]:
    return (values.get(name, "") for name in _COLUMNS)


def _key(name: str) -> Key:
    service, _, server = name.partition("/")
    return service.removeprefix(_BACKEND), server
