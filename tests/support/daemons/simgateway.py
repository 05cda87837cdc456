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
from hostler.sim import SimLink, SimRuntime
from hostler.sim.agent import answer
from hostler.sim.builder import SimBuilder
from hostler.sim.requests import Requests
from hostler_agent.json_values import Message, Outgoing, table
from tests.support.daemons.simdaemon import FAST, SimDaemon
from tests.support.daemons.simhaproxy import FOLDER, SimHaproxy

T = TypeVar("T")
QUICK = replace(
    FAST, gateway_every=0.02, no_gateway=0.05,
    gateway=GatewayTimings(answer=0.3, start=0.5, poll=0.01),
)  # fmt: skip


@dataclass
class SimGateway(SimHaproxy):
    """A gateway, and the daemon that keeps it."""

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
        self._points.clear()
        self.arm(*points)

        def die(*_: object) -> None:
            (name,) = [n for n in self._named if n not in self._points]
            self._named.remove(name)
            self.passed.append(name)
            self.kill(daemon)
            raise asyncio.CancelledError

        system = SimpleNamespace(kill=die, getpid=os.getpid)
        armed = patch.object(failpoints, "_armed", self._points)
        with armed, patch.object(failpoints, "os", system):
            yield

    def arm(self, *points: str) -> None:
        """Further ones, while `kill_at` lasts."""
        self._points |= failpoints.read_failpoints(",".join(_armed(point) for point in points))
        self._named = list(self._points)

    def disarm(self) -> None:
        """None of them any more."""
        self._points.clear()
        self._named.clear()

    def kill(self, daemon: SimDaemon) -> None:
        """Now."""
        self.is_dead = True
        daemon.stop_writing()
        self.died.set()

    _points: dict[str, Any] = field(default_factory=dict)
    _named: list[str] = field(default_factory=list)

    async def revive(self, daemon: SimDaemon) -> None:
        """End what is left of a daemon that was killed, and begin another one."""
        await daemon.kill()
        self.died.clear()
        self.is_dead = False
        await daemon.begin()


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
            return dict(
                await self._asked(
                    verb, lambda: self._gateway.watch_stop(attempt_id, stopped), timeout
                )
            )
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
            return {"folder": FOLDER}
        if verb == "gateway.find":
            version = "HAProxy version 3.0.11-1"
            return {"program": "/usr/sbin/haproxy", "version": version, "libraries": []}
        if verb == "gateway.log":
            return Requests().to_wire()
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
