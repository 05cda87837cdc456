"""HAProxy on a host of the simulated lab, without a process: what its sockets say and do, as far as
Hostler uses them. It notes each thing a daemon did that left requests without an answer.

    gateway = SimGateway(small_lab(1, gpus=4), "gpu1")
    async with gateway.daemon(tmp_path) as daemon: ...
    assert gateway.violations == []

`gateway.kill_at(...)` kills the daemon at failpoints: from then on nothing that it does has an
effect, as after `kill -9`.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast
from unittest.mock import patch

from hostler.base import failpoints
from hostler.base.errors import EngineError
from hostler.model.config import Config, HostConfig
from hostler.model.gateway_config import GatewayConfig, gateway_of
from hostler.model.generations import Generation
from hostler.model.hosts import Look, Workload
from hostler.model.runtimes import NAMES
from hostler.model.timings import GatewayTimings, Timings
from hostler.ports import ByteStream, Outside
from hostler.sim import SimLab, SimLink, SimRuntime
from hostler.sim.agent import answer
from hostler.sim.builder import SimBuilder
from hostler_agent.json_values import Message, Outgoing, table
from tests.support.daemons.simdaemon import FAST, SimDaemon

T = TypeVar("T")
CHECKED_AFTER_S = 0.01
"""From the moment that a server is added to its first check."""
QUICK = replace(
    FAST, gateway_every=0.02, no_gateway=0.05,
    gateway=GatewayTimings(answer=0.3, start=0.5, poll=0.01),
)  # fmt: skip
_FOLDER = "/tmp/gateway"
_COLUMNS = "# pxname,svname,addr,status,check_status,scur,qcur,uweight,slim,stot,hrsp_5xx,econ"


@dataclass
class SimServer:
    """A server as HAProxy has it."""

    address: str
    since: float = field(default_factory=time.monotonic)
    admin: str = "maint"
    is_checked: bool = False
    is_down: bool = False
    check: str = "INI"
    sessions: int = 0

    @property
    def status(self) -> str:
        """As `show stat` says it."""
        if self.admin == "maint":
            return "MAINT"
        if self.is_down:
            return "DOWN"
        return "DRAIN" if self.admin == "drain" else "UP"


@dataclass
class SimGateway:
    """The one gateway of a lab."""

    lab: SimLab
    name: str
    """Of its host."""
    files: dict[str, str] = field(default_factory=dict)
    servers: dict[tuple[str, str], SimServer] = field(default_factory=dict)
    """By backend and name."""
    maps: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of tokens and grants, by file."""
    asks_for_tokens: bool = False
    is_running: bool = False
    job: str = ""
    """Of its process, which may have ended; "": it was removed."""
    is_forwarding: bool = False
    """Its forwarder runs."""
    is_frozen: bool = False
    is_port_taken: bool = False
    structure: str = ""
    violations: list[str] = field(default_factory=list)
    is_promised: Callable[[], bool] = lambda: False
    """Whether requests have to be answered now, unless a fault took the last replica."""
    is_dead: bool = False
    """The daemon was killed: nothing that it still tries happens."""
    passed: list[str] = field(default_factory=list)
    """Failpoints at which it was killed."""
    died: asyncio.Event = field(default_factory=asyncio.Event)

    # The daemon

    def daemon(self, state: Path, timings: Timings = QUICK) -> SimDaemon:
        """A daemon whose lab has this gateway."""

        wanted = GatewayConfig(host=self.name, tokens=self.asks_for_tokens)

        def with_gateway(config: Config) -> Config:
            return replace(config, gateway=wanted)

        return SimDaemon(self.lab, state, change=with_gateway, timings=timings, world=self.outside)

    def outside(self, blob_path: Callable[[str], Path]) -> Outside:
        """The hosts of the lab."""

        def link(
            config: HostConfig, daemon_id: str, generation: Generation | None = None
        ) -> SimLink:
            return GatewayLink(self, config.target, daemon_id, generation)

        runtimes = {name: SimRuntime(name, blob_path) for name in NAMES}
        return Outside(link=link, runtimes=runtimes, builder=SimBuilder(self.lab))

    @contextmanager
    def kill_at(self, daemon: SimDaemon, *points: str) -> Iterator[None]:
        """The daemon dies at each of these, one after the other: "after_step@2" is its second
        time. Who waits for `died` begins another one (`revive`)."""
        armed = failpoints.read_failpoints(",".join(_armed(point) for point in points))

        def die(*_: object) -> None:
            (name,) = [n for n in self._armed if n not in armed]
            self._armed = list(armed)
            self.passed.append(name)
            self.is_dead = True
            daemon.stop_writing()
            self.died.set()
            raise asyncio.CancelledError

        system = SimpleNamespace(kill=die, getpid=os.getpid)
        self._armed = list(armed)
        with patch.object(failpoints, "_armed", armed), patch.object(failpoints, "os", system):
            yield

    _armed: list[str] = field(default_factory=list)

    async def revive(self, daemon: SimDaemon) -> None:
        """End what is left of a daemon that was killed, and begin another one."""
        await daemon.kill()
        self.died.clear()
        self.is_dead = False
        await daemon.begin()

    # Requests

    def answers(self, service: str) -> bool:
        """Whether a request would be answered now: HAProxy tries another server where one that it
        takes for good does not accept it."""
        return any(
            server.status == "UP" and self._is_well(server)
            for (backend, _), server in self.servers.items()
            if backend == f"s.{service}" and self.is_running and not self.is_frozen
        )

    def watch(self, what: str, act: Callable[[], T]) -> T:
        """Let a daemon do something, and note where requests found nobody after it."""
        names = {backend.removeprefix("s.") for backend, _ in self.servers}
        before = [name for name in names if self.answers(name)]
        done = act()
        for name in before:
            if not self.answers(name) and self.is_promised():
                self.violations.append(f"nobody answers requests to {name} after: {what}")
        return done

    def _is_well(self, server: SimServer) -> bool:
        port = int(server.address.rpartition(":")[2])
        host = self.lab.host(self.name)
        for work in host.works.values():
            found = work.health(host.clock.now(), host.booted_at) if work.port == port else None
            if found is not None and work.running:
                return found.ok
        return False

    # Its process

    def end(self) -> None:
        """As by kill -9: what it knew is gone."""
        self.is_running = False
        self.servers.clear()

    def start(self) -> None:
        """With the servers of its configuration."""
        if not self.is_port_taken:
            self.is_running = True
            self.load()

    def load(self) -> str:
        """As at a start, and by `reload`: servers that were added at run time are forgotten."""
        if self.is_port_taken:
            return "Success=0\n--\n[ALERT] binding [127.0.0.1:8080] for proxy main: cannot bind\n"
        text = self.files["haproxy.cfg"]
        (self.structure,) = re.findall(r"^    description (\S+)$", text, re.M)
        before, self.servers, backend = self.servers, {}, ""
        for name in ("tokens.map", "grants.map"):
            rows = (line.split(" ", 1) for line in self.files[name].splitlines())
            self.maps[f"{_FOLDER}/{name}"] = dict(rows)
        for line in text.splitlines():
            words = line.split()
            if words and not line.startswith(" "):  # a section; of the ring of the log, too
                backend = words[-1] if words[0] == "backend" else ""
            elif words[:1] == ["server"] and backend:
                known = before.get((backend, words[1]))
                made = SimServer(words[2], admin="ready", is_checked=True)
                self.servers[backend, words[1]] = known or made
        return "Success=1\n--\n"

    def said(self, line: str) -> str:
        """The answer to one line at the master's socket."""
        self._check()
        if line == "reload":
            return self.watch("a reload", self.load)
        words = line.removeprefix("@1 ").split()
        if words[0] == "show":
            return self._show(words)
        if words[1] == "map":
            return self._map(words)
        return self.watch(line, lambda: self._do(words))

    def _check(self) -> None:
        for server in self.servers.values():
            is_due = time.monotonic() - server.since >= CHECKED_AFTER_S
            if server.is_checked and server.admin != "maint" and is_due:
                server.is_down = not self._is_well(server)
                server.check = "L4CON" if server.is_down else "L7OK"

    def _show(self, words: list[str]) -> str:
        if words[1] == "info":
            return f"Version: 3.0.11\ndescription: {self.structure}"
        if words[1] == "stat":
            rows = [
                f"{backend},{name},{s.address},{s.status},{s.check},{s.sessions},0,100,,0,0,0"
                for (backend, name), s in self.servers.items()
            ]
            return "\n".join([_COLUMNS, *rows])
        if words[1:] == ["servers", "state"]:
            return "\n".join(
                f"1 {backend} 1 {name} {s.address} 2 {8 if s.admin == 'drain' else 0} 1"
                for (backend, name), s in self.servers.items()
            )
        if words[1] == "map":
            return "\n".join(f"0x1 {key} {value}" for key, value in self.maps[words[2]].items())
        return ""

    def _map(self, words: list[str]) -> str:
        verb, known, key = words[0], self.maps[words[2]], words[3]
        if verb == "get":
            return f"type=str, case=sensitive, found={'yes' if key in known else 'no'}"
        if verb == "del":
            known.pop(key, None)
        else:
            known[key] = words[4]
        return ""

    def _do(self, words: list[str]) -> str:
        verb, place = words[0], next(word for word in words if "/" in word)
        backend, _, name = place.partition("/")
        if verb == "add":
            self.servers[backend, name] = SimServer(words[3])
            return "New server registered."
        server = self.servers[backend, name]
        if verb == "del":
            if server.admin != "maint" or server.sessions:
                raise AssertionError(f"HAProxy refuses to remove {name}")
            del self.servers[backend, name]
        elif verb == "enable":
            server.is_checked = True
        elif verb == "shutdown":
            server.sessions = 0
        elif "state" in words:
            self._set(name, server, words[-1])
        return ""

    def _set(self, name: str, server: SimServer, state: str) -> None:
        if state == "ready" and not self._is_well(server) and server.check != "L7OK":
            self.violations.append(f"{name} gets requests before a good check")
        if server.admin == "maint":
            server.since, server.is_down, server.check = time.monotonic(), False, "INI"
        server.admin = state


class GatewayLink(SimLink):
    """The way to a host, on one of which the gateway is."""

    def __init__(
        self, gateway: SimGateway, host: str, daemon_id: str, generation: Generation | None
    ) -> None:
        super().__init__(gateway.lab, host, daemon_id, generation)
        self._gateway, self._own = gateway, gateway_of(daemon_id)

    async def look(self, asked_at: float, timeout: float) -> Look:
        """See `HostLink`."""
        await self._live()
        look, gateway = await super().look(asked_at, timeout), self._gateway
        if not gateway.job or gateway.name != self.host:
            return look
        found = Workload(gateway.job, self._own, "process", "gateway", gateway.is_running)
        return replace(look, workloads=(*look.workloads, found))

    async def call(self, verb: str, payload: Outgoing, timeout: float = 10.0) -> dict[str, Any]:
        """See `HostLink`; what concerns the gateway's own process is answered here."""
        await self._live()
        attempt_id = str(payload.get("attempt_id", ""))
        if verb.startswith("gateway.") or attempt_id.startswith(("gateway-", "forwards-")):
            done = await self._asked(verb, lambda: self._of_gateway(verb, payload), timeout)
            return dict(done)
        if verb == "job.signal":
            stopped = partial(answer, self._host, verb, cast(Message, payload))
            stop = partial(self._gateway.watch, f"the stop of {attempt_id}", stopped)
            return dict(await self._asked(verb, stop, timeout))
        return await super().call(verb, payload, timeout)

    async def open_socket(self, path: str) -> ByteStream:
        """See `HostLink`."""
        await self._live()
        if not self._gateway.is_running or not path.endswith("/control.sock"):
            raise EngineError(self.host, f"nothing answers at {path}")
        return _Control(self)

    async def say(self, line: str) -> str:
        """One line to the gateway, over this connection."""
        await self._live()
        if self._gateway.is_frozen:
            await asyncio.Event().wait()
        return await self._asked("line", lambda: self._line(line), 5.0)

    def _line(self, line: str) -> str:
        return self._gateway.said(line) if self._gateway.is_running else ""

    async def _asked(self, verb: str, effect: Callable[[], T], timeout: float) -> T:
        return await self._connected().ask(verb, effect, timeout)

    async def _live(self) -> None:
        if self._gateway.is_dead:
            await asyncio.Event().wait()

    def _of_gateway(self, verb: str, payload: Outgoing) -> Outgoing:
        gateway = self._gateway
        if str(payload.get("attempt_id", "")).startswith("forwards-"):
            return self._of_forwarder(verb)
        if verb == "gateway.forwards":
            return {"argv": ["forward"], "wanted": gateway.files.get("forwards", ""), "hosts": []}
        if verb == "gateway.put":
            files = table(cast(Message, payload).get("files"))
            gateway.files |= {name: str(text) for name, text in files.items()}
            return {"folder": _FOLDER}
        if verb == "gateway.find":
            version = "HAProxy version 3.0.11-1"
            return {"program": "/usr/sbin/haproxy", "version": version, "libraries": []}
        if verb == "job.start":
            gateway.job = str(payload["attempt_id"])
            gateway.start()
        if verb == "job.inspect":
            found = {"running": gateway.is_running} if gateway.job else None
            return {"workload": found}
        if verb in ("job.stop", "job.remove"):
            gateway.end()
            gateway.job = gateway.job if verb == "job.stop" else ""
        return {}

    def _of_forwarder(self, verb: str) -> Outgoing:
        gateway = self._gateway
        if verb == "job.inspect":
            return {"workload": {"running": True} if gateway.is_forwarding else None}
        gateway.is_forwarding = verb == "job.start"
        return {}


class _Control:
    """A connection to the socket of HAProxy's master."""

    def __init__(self, link: GatewayLink) -> None:
        self._link, self._lines = link, asyncio.Queue[str]()

    async def write(self, data: bytes) -> None:
        """A line."""
        self._lines.put_nowait(data.decode().strip())

    async def read(self, limit: int = 65536) -> bytes:
        """Its answer."""
        said = await self._link.say(await self._lines.get())
        return f"{said}\n\n".encode() if said else b"\n"

    async def close(self) -> None:
        """See `ByteStream`."""


def _armed(point: str) -> str:
    name, _, turn = point.partition("@")
    return f"{name}:kill@{turn or 1}"
