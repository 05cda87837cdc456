"""Loads rarely needed modules only after the daemon's start.

What needs one sooner loads it then. But an upgrade may replace or remove the files of a daemon that
runs, and it must not find modules of another version, or none, when the first container is started
or the first SSH host is added weeks later.
"""

from __future__ import annotations

import asyncio
from importlib import import_module

LATE = (
    "hostler.runtimes.docker.engine",
    "hostler.runtimes.docker.buildkit",
    "hostler.runtimes.docker.classic",
    "hostler.runtimes.docker.setup_image",
    "hostler.store.tags",
    "hostler.ssh.door",
    "cryptography.fernet",
    "hostler.daemon.wheels",
    "hostler.decide.routes",
    "hostler.gateway.control",
    "hostler.daemon.gateway_ends",
    "hostler.daemon.gateway_urls",
    "hostler.daemon.traffic",
    "hostler.daemon.traffic_history",
    "hostler.daemon.deploys",
    "hostler.daemon.scaling",
    "hostler.daemon.note_writing",
    "hostler.decide.releases.passing",
)
"""Modules that import all that is loaded late: Docker's SDK, image builders, asyncssh, encryption
of secrets, fetching of packages, the gateway, and releases of services."""


async def load_late(after: float) -> None:
    """Load them in a thread, after this many seconds."""
    await asyncio.sleep(after)
    for name in LATE:
        await asyncio.to_thread(import_module, name)
