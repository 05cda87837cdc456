"""Waits for the end of a container."""

from __future__ import annotations

import asyncio

from hostler.base.errors import EngineError, Unreachable
from hostler.ports import HostLink
from hostler.runtimes.docker.http import request


async def ends_within(link: HostLink, ref: str, patience: float) -> bool:
    """Whether it ends within `patience` seconds. Raises Unreachable when cut."""
    try:
        async with (
            asyncio.timeout(max(patience, 0.0)),
            request(link, "POST", f"/containers/{ref}/wait") as response,
        ):
            async for answer in response.json_lines():
                return "StatusCode" in answer
    except TimeoutError:
        return False
    except EngineError as error:
        if error.status == 404:
            return True
        raise
    # Docker itself went away. To take that for patience at its end would kill too early.
    raise Unreachable(link.host, f"Docker stopped answering while it stopped {ref[:12]}")
