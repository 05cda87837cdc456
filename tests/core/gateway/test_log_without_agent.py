"""The log of a real HAProxy while no agent reads it: no request waits, and no line is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from hostler.gateway.control import Gateway
from hostler.link.agent_link import AgentLink
from hostler.model import gateway as model
from hostler.model.addresses import AddressKind, ServiceAddress
from hostler.model.gateway import (
    GatewayCheck,
    GatewayEntry,
    GatewayService,
    WantedGateway,
)
from hostler.model.timings import GatewayTimings
from tests.support.machines import haproxy
from tests.support.machines.haproxy import Load, Replica, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.programs,
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
]
DAEMON = "c" * 32
WITHIN = 30.0


async def test_lines_wait_for_the_next_agent() -> None:
    replica, port = await Replica("first").start(), free_port()
    address = ServiceAddress(AddressKind.PATH, "/web")
    servers = (model.Replica(replica.name, replica.address),)
    service = GatewayService("web", address, servers, GatewayCheck("/health", every=0.1))
    with haproxy.folder_of_nobody() as folder:
        async with haproxy.linked(folder, DAEMON) as link:
            gateway = _gateway(link)
            await gateway.reach(WantedGateway(GatewayEntry(port=port), (service,)), WITHIN)
            await _counted(gateway, await _asked(port, 30))
            os.kill(_agent(folder), signal.SIGKILL)
        answered = await _asked(port, 60)
        async with haproxy.linked(folder, DAEMON) as link:
            gateway = _gateway(link)
            try:
                await _counted(gateway, answered)
            finally:
                await gateway.stop()
    await replica.stop()


def _gateway(link: AgentLink) -> Gateway:
    return Gateway(link, DAEMON, timings=GatewayTimings(poll=0.02))


def _agent(folder: Path) -> int:
    return int(next((folder / "b" / "notify").iterdir()).stem)


async def _asked(port: int, number: int) -> int:
    """How many requests were answered, all of them well."""
    load = Load(port, "/web/")
    await load.more(number)
    await load.stop()
    assert load.failed == []
    return load.answered


async def _counted(gateway: Gateway, wanted: int) -> None:
    """Until so many were counted, and no more."""
    async with asyncio.timeout(WITHIN):
        while (found := await _requests(gateway)) < wanted:
            await asyncio.sleep(0.05)
    assert found == wanted


async def _requests(gateway: Gateway) -> int:
    return sum(each.requests for each in (await gateway.counts()).servers.values())
