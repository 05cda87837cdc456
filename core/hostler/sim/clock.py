"""The simulated lab's clock, which may run faster than real time, and the bell that signals
changes."""

from __future__ import annotations

import asyncio
import contextlib
import time


class LabClock:
    """Seconds since the epoch that pass `speed` times as fast as real ones. Also a daemon's clock:
    with the same one on both sides a day of pipelines takes minutes."""

    def __init__(self, speed: float = 1.0, *, behind: float = 0.0, catch_up: float = 0.0) -> None:
        """It begins `behind` seconds ago, and first takes `catch_up` real seconds to show the
        real time; only then its speed counts."""
        if speed <= 0:
            raise ValueError("a clock's speed is above zero")
        self._speed = speed
        self._behind, self._catch_up = behind, catch_up
        self._wall, self._real = time.time() - behind, time.monotonic()

    @property
    def speed(self) -> float:
        """The present speed."""
        if time.monotonic() - self._real < self._catch_up:
            return (self._behind + self._catch_up) / self._catch_up
        return self._speed

    @property
    def caught_up_at(self) -> float:
        """The time from which its own speed applies."""
        return self._wall + self._behind + self._catch_up

    def now(self) -> float:
        """Seconds since the epoch; never goes back."""
        passed = time.monotonic() - self._real
        if passed < self._catch_up:
            return self._wall + passed * (self._behind + self._catch_up) / self._catch_up
        return self.caught_up_at + (passed - self._catch_up) * self._speed

    def real(self, seconds: float) -> float:
        """How long this many seconds of the lab take in real time."""
        return seconds / self.speed


class Bell:
    """Wakes all tasks that wait for a change of a host."""

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
