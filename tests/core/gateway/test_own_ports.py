"""Which ports of services the gateway leaves alone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from hostler.gateway.own_ports import OwnPorts
from hostler.gateway.states import GatewayState, Server
from hostler.model.addresses import address_of
from hostler.model.gateway import GatewayService, Replica, Through, WantedGateway
from hostler.model.timings import GatewayTimings
from hostler.ports import HostLink


class _Link:
    """A host on which every port is free."""

    host = "gpu1"

    async def call(self, verb: str, payload: Any, within: float) -> Any:
        assert (verb, within > 0) == ("gateway.ports", True)
        self.asked = payload["ports"]
        return {"taken": []}


def _service(name: str, address: str, *replicas: Replica) -> GatewayService:
    return GatewayService(name, address_of(address), replicas)


@pytest.mark.asyncio
async def test_a_port_to_which_requests_are_sent_is_no_services_own() -> None:
    """Who takes the port of a replica that ends would get its requests; a replica whose own port
    it is would get them from itself, without end."""
    there = Through("gpu2", ("gpu2",))
    services = (
        _service("digits", "/digits", Replica("r1", "127.0.0.1:20001"),
                 Replica("r2", "127.0.0.1:20002", through=there),
                 Replica("r3", "10.0.0.7:20003")),
        *(_service(f"p{port}", f":{port}") for port in range(20001, 20006)),
        _service("loop", ":20006", Replica("r6", "[::1]:20006")),
    )  # fmt: skip
    state = GatewayState("", servers={
        ("digits", "r4"): Server("127.0.0.1:20004", "DOWN"), ("digits", "r5"): Server("unix", "UP"),
    }, ports=frozenset({20006}))  # fmt: skip
    link = _Link()
    ports = OwnPorts(cast(HostLink, link), GatewayTimings(port_again=0.0))
    found = await ports.bring(WantedGateway(services=services), state)
    assert link.asked == [20002, 20003, 20005]
    assert ports.taken == {
        port: f"port {port} on gpu1 cannot be used: a replica of a service has it"
        for port in (20001, 20004, 20006)
    }
    assert {s.name for s in found.services if s.is_shut} == {"p20001", "p20004", "loop"}
    # Once the replica is gone from the gateway the port is tried like any other.
    await ports.bring(WantedGateway(services=services[1:2]), None)
    assert (link.asked, ports.taken) == ([20001], {})
