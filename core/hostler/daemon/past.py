"""Runs of the past, searched."""

from __future__ import annotations

from typing import Any

from hostler.daemon.context import Context
from hostler.daemon.views import summary_object
from hostler.decide.search import Search
from hostler.model.records import RunSummary


class Past:
    """Searches all runs, those that still go on included."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def search(self, wanted: Search, limit: int, offset: int) -> dict[str, Any]:
        """How many runs match, and a page of them. Raises InputError."""
        total, found = await self._context.store.search_runs(wanted, limit, offset)
        return {"total": total, "runs": [self._object(summary) for summary in found]}

    def _object(self, summary: RunSummary) -> dict[str, Any]:
        end = summary.finished_at or self._context.clock.now()
        begin = summary.started_at
        return {
            **summary_object(summary),
            "metrics": {**summary.metrics, **self._live_metrics(summary.run_id)},
            "took_s": None if begin is None else max(0.0, end - begin),
            "gpu_hours": summary.gpu_seconds / 3600,
        }

    def _live_metrics(self, run_id: str) -> dict[str, float]:
        """Of attempts that run; the database has them once they have ended."""
        run = self._context.book.find(run_id)
        metrics: dict[str, float] = {}
        for attempt in run.attempts if run is not None else ():
            metrics |= attempt.metrics
        return metrics
