"""What the forwarder of a gateway is to do."""

from __future__ import annotations

import json
from dataclasses import replace

from hostler.gateway.forwards import Way, hosts_of, placed, read_ways, wanted_text
from hostler.gateway.states import GatewayState, Server
from hostler.gateway.steps import is_at
from hostler.model.addresses import AddressKind, ServiceAddress
from hostler.model.gateway import (
    GatewayFolder,
    GatewayService,
    Replica,
    Through,
    WantedGateway,
    socket_name,
)

FAR = Replica("a1", "127.0.0.1:20001", through=Through("gpu2", ("-p", "22", "gpu2")))
NEAR = Replica("a2", "127.0.0.1:20002")
FOLDER = GatewayFolder("/x/gateway/d")
PATH = f"/x/gateway/d/r/{socket_name('a1')}"


def _wanted(*replicas: Replica) -> WantedGateway:
    address = ServiceAddress(AddressKind.PATH, "/web")
    return WantedGateway(services=(GatewayService("web", address, replicas),))


def test_a_replica_elsewhere_is_a_socket_here() -> None:
    found = placed(_wanted(FAR, NEAR), FOLDER)
    assert found.services[0].replicas == (replace(FAR, address=PATH, through=None), NEAR)
    text = wanted_text(_wanted(FAR, NEAR), "", None)
    sockets = {socket_name("a1"): 20001}
    assert json.loads(text) == {"gpu2": {"ssh": ["-p", "22", "gpu2"], "sockets": sockets}}
    assert list(hosts_of(text)) == ["gpu2"]
    assert wanted_text(_wanted(NEAR), "", None) == ""


def test_a_socket_stays_as_long_as_the_gateway_has_its_server() -> None:
    before = wanted_text(_wanted(FAR), "", None)
    state = GatewayState("", servers={("web", "a1"): Server("unix", "DRAIN")})
    assert wanted_text(_wanted(), before, state) == before
    assert wanted_text(_wanted(), before, GatewayState("")) == ""
    assert wanted_text(_wanted(), before, None) == ""
    # Its host has another address now: what is wanted counts.
    moved = replace(FAR, through=Through("gpu2", ("new",)))
    assert json.loads(wanted_text(_wanted(moved), before, state))["gpu2"]["ssh"] == ["new"]


def test_haproxy_does_not_name_the_socket_of_a_server() -> None:
    far = replace(FAR, address=PATH, through=None)
    assert is_at(Server("unix", "UP"), far)
    assert is_at(Server(f"unix@{PATH}", "UP"), far)
    assert not is_at(Server("unix", "UP"), NEAR)
    assert is_at(Server("127.0.0.1:20002", "UP"), NEAR)
    assert not is_at(Server("127.0.0.1:20003", "UP"), NEAR)


def test_why_a_host_is_not_reached() -> None:
    said = "Permission denied (publickey).\x1b[1m"
    ways = read_ways({"hosts": [{"host": "gpu2", "state": "failed", "said": said}]})
    assert ways["gpu2"].why_not.startswith("ssh says: Permission denied (publickey).")
    assert "\x1b" not in ways["gpu2"].why_not
    assert 'reach = "none"' in ways["gpu2"].remedy
    assert Way("gpu2", "failed", "Connection timed out").remedy == ""
    assert Way("gpu2", "connected", "open failed: connect failed").why_not == ""
    forbidden = Way("gpu2", "connected", "open failed: administratively prohibited")
    assert "prohibited" in forbidden.why_not
    assert "AllowTcpForwarding" in forbidden.remedy
