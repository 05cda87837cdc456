"""The forwarder's process is kept as long as replicas on other hosts are wanted."""

from __future__ import annotations

from typing import Any, cast

from hostler.gateway.forwarding import Forwarding
from hostler.gateway.states import GatewayState, Server
from hostler.model.gateway import GatewayFolder, WantedGateway
from hostler.model.timings import GatewayTimings
from hostler.ports import HostLink
from tests.core.gateway.test_forwards import FAR, NEAR, PATH, _wanted

FOLDER = GatewayFolder("/x/gateway/d")


class _Link:
    """An agent with one job at most."""

    host = "gpu1"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.file = ""
        self.running: bool | None = None
        self.env: dict[str, str] = {}

    async def call(self, verb: str, payload: Any, timeout: float = 10.0) -> dict[str, Any]:
        self.asked.append(verb)
        if verb == "gateway.forwards":
            return {"argv": ["python3"], "wanted": self.file, "hosts": []}
        if verb == "gateway.put":
            self.file = payload["files"]["forwards"]
        if verb == "job.inspect":
            return {"workload": None if self.running is None else {"running": self.running}}
        if verb == "job.start":
            self.running, self.env = True, payload["env"]
        if verb == "job.remove":
            self.running = None
        return {}


async def _brought(
    forwarding: Forwarding, link: _Link, *replicas: Any, state: GatewayState | None = None
) -> tuple[WantedGateway, list[str]]:
    link.asked.clear()
    found = await forwarding.bring(_wanted(*replicas), FOLDER, state)
    return found, [verb for verb in link.asked if verb not in ("gateway.forwards", "job.inspect")]


async def test_it_runs_while_it_is_needed() -> None:
    link = _Link()
    forwarding = Forwarding(cast(HostLink, link), "d" * 32, GatewayTimings(), "/run/agent")
    assert (await _brought(forwarding, link, NEAR))[1] == []
    assert (await _brought(forwarding, link, NEAR), link.asked) == ((_wanted(NEAR), []), [])
    found, asked = await _brought(forwarding, link, FAR)
    assert found.services[0].replicas[0].address == PATH
    assert asked == ["gateway.put", "job.start"]
    assert link.env["SSH_AUTH_SOCK"] == "/run/agent"
    assert (await _brought(forwarding, link, FAR))[1] == []
    # It was killed: another one takes over what is written down.
    link.running = False
    assert (await _brought(forwarding, link, FAR))[1] == ["job.remove", "job.start"]
    # Its server has requests: only when that is gone, it is ended.
    there = GatewayState("", servers={("web", "a1"): Server("unix", "DRAIN")})
    assert (await _brought(forwarding, link, NEAR, state=there))[1] == []
    assert (await _brought(forwarding, link, NEAR))[1] == ["gateway.put", "job.stop", "job.remove"]
    assert (await _brought(forwarding, link, NEAR), link.asked) == ((_wanted(NEAR), []), [])


async def test_a_new_daemon_knows_what_an_earlier_one_has_started() -> None:
    link = _Link()
    first = Forwarding(cast(HostLink, link), "d" * 32, GatewayTimings(), None)
    await _brought(first, link, FAR)
    assert "SSH_AUTH_SOCK" not in link.env
    second = Forwarding(cast(HostLink, link), "d" * 32, GatewayTimings(), None)
    assert (await _brought(second, link, FAR))[1] == []
    third = Forwarding(cast(HostLink, link), "d" * 32, GatewayTimings(), None)
    assert (await _brought(third, link, NEAR))[1] == ["gateway.put", "job.stop", "job.remove"]
