"""What `hostler doctor` finds out on the gateway's host."""

from __future__ import annotations

from typing import Any, cast

from hostler.base.errors import AgentError
from hostler.cli.gateway_checks import check_gateway_host
from hostler.link.agent_link import AgentLink
from hostler.model.config import Config, HostConfig
from hostler.model.gateway_config import GatewayConfig

SAID = {
    "gpu2": "",
    "gpu3": "Permission denied (publickey).",
    "gpu4": "channel 0: open failed: administratively prohibited: open failed",
}
CONFIG = Config(
    hosts=tuple(HostConfig(f"gpu{n}", reach="none" if n == 6 else "ssh") for n in range(1, 7)),
    gateway=GatewayConfig(host="gpu1"),
)


class _Link:
    host = "gpu1"

    def __init__(self, program: str | None) -> None:
        self._program = program

    async def call(self, verb: str, payload: Any, timeout: float = 10.0) -> dict[str, Any]:
        if verb == "gateway.find":
            said = "HAProxy version 3.0.11-1"
            return {"program": self._program, "version": said, "libraries": []}
        (name,) = payload["ssh"]
        if name not in SAID:
            raise AgentError("gpu1", "it does not answer")
        return {"why_not": SAID[name]}


async def test_the_ways_to_all_other_hosts_are_tried() -> None:
    found = await check_gateway_host(cast(AgentLink, _Link("/usr/sbin/haproxy")), CONFIG)
    assert {check.host for check in found} == {"gpu1"}
    program, near, denied, forbidden, silent = found
    assert (program.name, program.state) == ("host.haproxy", "ok")
    assert "3.0" in program.message
    assert (near.state, near.message) == ("ok", "forwards by ssh to gpu2")
    assert (denied.name, denied.state) == ("host.reach", "warn")
    assert "does not reach replicas on gpu3: ssh says: Permission denied" in denied.message
    assert "known_hosts" in denied.remedy
    assert "AllowTcpForwarding" in forbidden.remedy
    assert (silent.state, silent.message) == ("fail", "it does not answer")


async def test_a_missing_haproxy_is_told_with_how_to_get_it() -> None:
    program, *_ = await check_gateway_host(cast(AgentLink, _Link(None)), CONFIG)
    assert (program.state, program.message) == ("fail", "there is no HAProxy on gpu1")
    assert "apt-get download haproxy" in program.remedy
