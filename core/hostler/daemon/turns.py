"""Limits slow requests: how many at once for each user (the numbers are in `api.limits`), and the
pause after a large array (500 tasks) of a host is refused.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from hostler.base.errors import ConflictError, HostlerError

LARGE_ARRAY = 500
"""Tasks."""
_REST = 10


@dataclass(slots=True)
class _Turn:
    free: asyncio.Semaphore
    wanted: int = 0


class Turns:
    """Turns by uid (or another key of a user), kept while a user has or waits for one."""

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._turns: dict[Hashable, _Turn] = {}

    @asynccontextmanager
    async def of(self, uid: Hashable) -> AsyncIterator[None]:
        """Wait for one of the user's turns, and hold it."""
        turn = self._turns.setdefault(uid, _Turn(asyncio.Semaphore(self._most)))
        turn.wanted += 1
        try:
            async with turn.free:
                yield
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[uid]


class Rests:
    """Pauses large arrays of a host after a refusal. A refused one costs seconds of a thread, and
    no limit counts it. So its host may submit no further one for ten times as long."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._until: dict[str, float] = {}

    @contextmanager
    def after_refusal(self, host: str, tasks: int) -> Iterator[None]:
        """Around the reading of an array. Raises ConflictError during a rest."""
        begun = self._now()
        left = self._until.get(host, 0.0) - begun
        if tasks >= LARGE_ARRAY and left > 0:
            raise ConflictError(
                "a large array from this host was just refused",
                remedy=f"Submit it again in {math.ceil(left)} s",
            )
        try:
            yield
        except HostlerError:
            if tasks >= LARGE_ARRAY:
                self._until[host] = begun + _REST * (self._now() - begun)
            raise
