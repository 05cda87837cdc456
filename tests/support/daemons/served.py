"""A daemon in a thread of the test process, its API on the Unix socket or on a loopback port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Scope

from hostler.api.app import make_app
from hostler.api.serve import ApiServer, bind, make_server
from hostler.daemon.assemble import assemble
from hostler.daemon.service import Service
from hostler.model.calls import Caller
from hostler.model.config import Config, DaemonConfig, HostConfig

NOWHERE = HostConfig(name="nowhere", address="127.0.0.1", port=1, user="nobody")
"""A host that refuses every connection."""


async def _ana(_scope: Scope) -> Caller:
    return Caller(uid=1000, user="ana")


@dataclass
class Served:
    """What a test may touch of the daemon in the other thread."""

    service: Service
    loop: asyncio.AbstractEventLoop
    port: int | None
    socket_path: Path


def set_timings(daemon: Served, **changes: Any) -> None:
    """Change some while it runs."""
    context = daemon.service.context
    context.timings = replace(context.timings, **changes)


def set_api_timings(daemon: Served, **changes: float) -> None:
    """Change some of the API's, for connections made from now on."""
    set_timings(daemon, api=replace(daemon.service.context.timings.api, **changes))


@contextmanager
def served(
    state: Path,
    *,
    over_tcp: bool = False,
    allow: tuple[str, ...] = (),
    group: str | None = None,
    operators: tuple[str, ...] = (),
) -> Iterator[Served]:
    """Run a daemon with one unreachable host until the block ends.

    Over TCP, which the product never does, everybody is the caller `ana`, an operator: for tools
    that speak to nothing but URLs.
    """
    ready: list[Served] = []
    came = threading.Event()
    stop: list[asyncio.Event] = []

    async def main() -> None:
        people = DaemonConfig(
            allow=allow, group=group, operators=("ana",) if over_tcp else operators
        )
        config = Config(hosts=(NOWHERE,), daemon=people)
        daemon = await assemble(config, state)
        stop.append(asyncio.Event())
        app = make_app(daemon.service, _ana if over_tcp else None)
        working = asyncio.create_task(daemon.run())
        server = make_server(app)
        path = state / "hostler.sock"
        if over_tcp:
            server = ApiServer(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
        with bind(path, 0o600) as listening:
            serving = asyncio.create_task(server.serve(sockets=None if over_tcp else [listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1] if over_tcp else None
            ready.append(Served(daemon.service, asyncio.get_running_loop(), port, path))
            came.set()
            await stop[0].wait()
            daemon.context.hub.close()
            server.should_exit = True
            await serving
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await daemon.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert came.wait(30), "the daemon did not come up"
        yield ready[0]
    finally:
        if ready:
            ready[0].loop.call_soon_threadsafe(stop[0].set)
        thread.join(30)
        assert not thread.is_alive(), "the daemon did not end"
