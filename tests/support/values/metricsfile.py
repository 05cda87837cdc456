"""A metrics file read as the daemon reads it, for tests of what comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hostler.model.records import MetricPoint
from hostler.runtimes.metrics import MetricsReader


class Kept:
    """A reader, and the points that it had stored."""

    def __init__(self, attempt_id: str, runtime: str, ref: str) -> None:
        self.reader = MetricsReader(attempt_id, runtime, ref)
        self.points: list[MetricPoint] = []

    async def read(self, link: Any, *, final: bool = False, pieces: int | None = None) -> bool:
        """Read on; whether there was anything new."""
        return await self.reader.read(link, self._save, final=final, pieces=pieces)

    async def _save(self, points: Sequence[MetricPoint], first: int) -> None:
        self.points[first:] = points


async def read_metrics(
    link: Any, attempt_id: str, runtime: str, ref: str
) -> tuple[MetricPoint, ...]:
    """All points of a file that nobody writes to any more."""
    kept = Kept(attempt_id, runtime, ref)
    await kept.read(link, final=True)
    return tuple(kept.points)


def last_values(points: Iterable[MetricPoint]) -> dict[str, float]:
    """The last value of each metric."""
    return {point.name: point.value for point in points}
