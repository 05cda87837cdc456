"""Waits for the end of a container, and stores which containers were sent TERM, so that none gets
it twice."""

from __future__ import annotations

import asyncio
import time

from hostler.base.errors import EngineError, Unreachable
from hostler.ports import HostLink
from hostler.runtimes.docker.http import request


class Told:
    """Which containers were sent TERM, and when. A stop that is repeated after a lost connection
    must not send a second TERM, at which many programs end at once."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}

    def sent(self, ref: str) -> None:
        """Store that TERM was sent to this container now."""
        self._sent[ref] = time.monotonic()

    def left(self, ref: str, grace: float) -> float | None:
        """Remaining seconds of its grace period; None: it was not sent TERM."""
        sent = self._sent.get(ref)
        return None if sent is None else max(grace - (time.monotonic() - sent), 0.0)

    def forget(self, ref: str) -> None:
        """Remove a container that no longer exists."""
        self._sent.pop(ref, None)


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
    # Docker itself stopped answering. This must not count as the end of the wait, which would kill
    # the container too early.
    raise Unreachable(link.host, f"Docker stopped answering while it stopped {ref[:12]}")
