"""The gateway's log: processor time of its reader, and whether its percentiles are true.

    python -m tests.bench.bench_gateway

Peer: a client of each request that measures itself, in the same run. Bars: at 1,000 requests a
second the reader takes <= 5 % of a core, where HAProxy sends each line by itself, which is the
worst case; the p95 of its counts differs from the client's by <= 5 %. Exits 1 when one is missed.
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from hostler.gateway.control import Gateway
from hostler.model import gateway as model
from hostler.model.addresses import AddressKind, ServiceAddress
from hostler.model.gateway import GatewayCheck, GatewayEntry, GatewayService
from hostler.model.timings import GatewayTimings
from hostler.model.traffic import Traffic
from hostler_agent.gatewaylog import LogReader
from tests.bench.measure import verdict
from tests.support.machines import haproxy

SECONDS, RATE = 5, 1000
REQUESTS, PEOPLE = 600, 12
_DAEMON = "e" * 32
_LINE = b"hostler1 s.digits a1 200 0 1 %d --"


def main() -> int:
    """Measure both; 1 when a bar was missed."""
    held = [verdict("reader, % of a core at 1,000/s", 100 * _reader(), 5.0)]
    if haproxy.can_run():
        client, counted = asyncio.run(_percentiles())
        print(f"p95: client {client:.1f} ms, counted {counted:.1f} ms")
        held.append(verdict("p95, % beside the client's", 100 * abs(counted / client - 1), 5.0))
    else:
        print(haproxy.WHY_NOT)
    return int(not all(held))


def _reader() -> float:
    """Seconds of processor time of the reader's thread, for each second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.sock"
        reader = LogReader(str(path))
        (thread,) = (t for t in threading.enumerate() if t.name == "gateway log")
        assert thread.ident is not None
        clock = time.pthread_getcpuclockid(thread.ident)
        with socket.socket(socket.AF_UNIX) as sender:
            sender.connect(str(path))
            begun, used = time.monotonic(), time.clock_gettime(clock)
            for number in range(SECONDS * RATE):
                line = _LINE % (number % 900)
                sender.sendall(b"%d %s" % (len(line), line))
                if (ahead := begun + number / RATE - time.monotonic()) > 0:
                    time.sleep(ahead)
            _until_read(reader)
            used = time.clock_gettime(clock) - used
        reader.close()
    return used / SECONDS


def _until_read(reader: LogReader) -> None:
    while sum(int(str(each["requests"])) for each in _servers(reader)) < SECONDS * RATE:
        time.sleep(0.01)


def _servers(reader: LogReader) -> list[dict[str, object]]:
    found = reader.counts()["servers"]
    assert isinstance(found, list)
    return [each for each in found if isinstance(each, dict)]


async def _percentiles() -> tuple[float, float]:
    """Milliseconds: what clients measured, and what was counted."""
    replica = _Slow("slow")
    await replica.start()
    with haproxy.folder_of_nobody() as folder:
        async with haproxy.linked(folder, _DAEMON) as link:
            gateway = Gateway(link, _DAEMON, timings=GatewayTimings(poll=0.02))
            entry = GatewayEntry(port=haproxy.free_port())
            address = ServiceAddress(AddressKind.PATH, "/slow")
            servers = (model.Replica("slow", replica.address),)
            service = GatewayService("slow", address, servers, GatewayCheck("/health", every=0.1))
            await gateway.reach(model.WantedGateway(entry, (service,)), 30)
            took = await _load(entry.port)
            counted = await _counted(gateway)
            await gateway.stop()
    await replica.stop()
    found = counted.percentile(0.95)
    assert found is not None
    return sorted(took)[int(0.95 * len(took))], found


class _Slow(haproxy.Replica):
    """Takes as long as a small model."""

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(random.Random(self.requests).uniform(0.1, 0.3))
        return await super()._answer(reader, writer)


async def _load(port: int) -> list[float]:
    took: list[float] = []

    async def person() -> None:
        while len(took) < REQUESTS:
            begun = time.monotonic()
            status, _said = await haproxy.ask(port, "/slow/")
            assert status == 200
            took.append(1000 * (time.monotonic() - begun))

    await asyncio.gather(*(person() for _ in range(PEOPLE)))
    return took


async def _counted(gateway: Gateway) -> Traffic:
    while True:
        found = (await gateway.counts()).servers.get(("slow", "slow"), Traffic())
        if found.requests >= REQUESTS:
            return found
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
