"""The step lengths of charts (5 seconds to a day), and measurements averaged over them; gaps where
nothing is known. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

MINUTE = 60.0
_DAY = 86_400
_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)
"""Seconds. The shortest is longer than the time between two looks, so that no step is empty."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of equal length, the oldest first."""

    begin: float
    step_s: float
    length: int

    @property
    def end(self) -> float:
        """The end of the last step."""
        return self.begin + self.step_s * self.length

    def place(self, at: Sequence[float], values: Sequence[T]) -> tuple[T | None, ...]:
        """The values by step; of two values in one step, the later one."""
        placed: list[T | None] = [None] * self.length
        for time, value in zip(at, values, strict=True):
            index = math.floor((time - self.begin) / self.step_s)
            if 0 <= index < self.length:
                placed[index] = value
        return tuple(placed)


def last_minutes(now: float, minutes: int) -> Grid:
    """The last minutes, including the current one."""
    end = (math.floor(now / MINUTE) + 1) * MINUTE
    return Grid(end - minutes * MINUTE, MINUTE, minutes)


def covering(begin: float, end: float, most: int, least_s: float = 0.0) -> Grid:
    """The time between the two, in at most so many steps of a round length, `least_s` or longer."""
    wanted = max(least_s, (end - begin) / (most - 1))
    step = next((s for s in _STEPS if s >= wanted), _DAY * math.ceil(wanted / _DAY))
    first = math.floor(begin / step) * step
    return Grid(float(first), float(step), max(1, math.ceil((end - first) / step)))
