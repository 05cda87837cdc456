"""The lab's time, which may run faster than the wall's, and the bell that tells of changes."""

from __future__ import annotations

import asyncio
import contextlib
import time


class LabClock:
    """Seconds since the epoch that pass `speed` times as fast as real ones. Also a daemon's clock:
    with the same one on both sides a day of pipelines takes minutes."""

    def __init__(self, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError("a clock's speed is above zero")
        self.speed = speed
        self._wall, self._real = time.time(), time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch; never goes back."""
        return self._wall + (time.monotonic() - self._real) * self.speed

    def real(self, seconds: float) -> float:
        """How long so many seconds of the lab take in reality."""
        return seconds / self.speed


class Bell:
    """Wakes everybody who waits for a change of a host."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    async def wait(self, timeout: float) -> None:
        """Until the next ring, at most `timeout` real seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._rung.wait()
