"""What the daemon makes of answers that never come."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hostler.gateway.control import Gateway
from hostler.model.timings import GatewayTimings
from hostler.ports import HostLink

OLD = "#<PID> <type>\n# old workers\n7 worker 1\n"


class _Stream:
    """A connection to HAProxy's master. Worker 7 ends while it is asked."""

    def __init__(self, link: _Link) -> None:
        self._link, self._lines = link, asyncio.Queue[str]()

    async def write(self, data: bytes) -> None:
        self._lines.put_nowait(data.decode().strip())

    async def read(self, limit: int = 65536) -> bytes:
        line = await self._lines.get()
        if line.startswith("@!7"):
            self._link.is_old_there = False
            await asyncio.Event().wait()
        said = OLD if line == "show proc" and self._link.is_old_there else ""
        return said.encode() + b"\n"

    async def close(self) -> None:
        return None


class _Link:
    host = "gpu1"

    def __init__(self) -> None:
        self.is_old_there = True

    async def call(self, verb: str, payload: object, timeout: float = 10.0) -> dict[str, Any]:
        return {"folder": "/x/gateway/d"}

    async def open_socket(self, path: str) -> _Stream:
        return _Stream(self)


async def test_an_old_worker_that_ends_while_it_is_asked_is_not_waited_for() -> None:
    timings = GatewayTimings(answer=600.0, worker=0.01)
    gateway = Gateway(cast(HostLink, _Link()), "d" * 32, timings=timings)
    async with asyncio.timeout(60):
        state = await gateway.look(tokens=False)
    assert state is not None
    assert state.old_workers == (7,)
