"""The daemon's clock, passed in so that nothing else asks for the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Seconds since the epoch; never goes back within one process."""


class SystemClock:
    """Wall time at start plus monotonic time since, so that a jump of the clock moves nothing."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.monotonic() + self._offset
