"""Limits concurrent slow requests per user, so that they do not delay other users."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Turn:
    free: asyncio.Semaphore
    wanted: int = 0


class Turns:
    """Turns by uid (or whatever names a user), kept as long as a user has or waits for one."""

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._turns: dict[Hashable, _Turn] = {}

    @asynccontextmanager
    async def of(self, uid: Hashable) -> AsyncIterator[None]:
        """Wait for one of the user's turns, and have it."""
        turn = self._turns.setdefault(uid, _Turn(asyncio.Semaphore(self._most)))
        turn.wanted += 1
        try:
            async with turn.free:
                yield
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[uid]
