"""Runs of the past, searched and compared."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hostler.daemon.context import Context
from hostler.daemon.views import run_state, summary_object
from hostler.decide.progress import progress_of
from hostler.insight.compare import Side, rows, series
from hostler.insight.search import Search
from hostler.model.durations import run_duration
from hostler.model.records import RunSummary
from hostler.model.runs import Run

_MOST_POINTS = 240
_MOST_FACTS = 50
"""Stages of which the hosts are looked up; a run of more has hosts that are alike."""


class Past:
    """Searches and compares all runs, those that still go on included."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def search(self, wanted: Search, limit: int, offset: int) -> dict[str, Any]:
        """How many runs match, and a page of them. Raises InputError."""
        total, found = await self._context.store.search_runs(wanted, limit, offset)
        return {"total": total, "runs": [self._object(summary) for summary in found]}

    async def compare(self, runs: Sequence[Run]) -> dict[str, Any]:
        """Runs side by side: rows of values, and the curves of their metrics."""
        sides = [await self._side(run) for run in runs]
        # In threads: runs may have thousands of stages.
        return {
            "runs": [_head(run) for run in runs],
            "rows": await asyncio.to_thread(rows, sides, self._context.clock.now()),
            "series": await asyncio.to_thread(series, sides),
        }

    async def _side(self, run: Run) -> Side:
        store = self._context.store
        newest = {**run.kept, **{attempt.stage: attempt for attempt in run.attempts}}
        ids = [attempt.attempt_id for attempt in newest.values()]
        facts = [await store.facts_of_attempt(attempt_id) for attempt_id in ids[:_MOST_FACTS]]
        points = await store.metrics.thinned_metrics(ids, _MOST_POINTS)
        return Side(run, tuple(fact for fact in facts if fact is not None), tuple(points))

    def _object(self, summary: RunSummary) -> dict[str, Any]:
        now = self._context.clock.now()
        return {
            **summary_object(summary),
            "metrics": {**summary.metrics, **self._live_metrics(summary.run_id)},
            "took_s": run_duration(summary.started_at, summary.finished_at, now),
            "gpu_hours": summary.gpu_seconds / 3600,
        }

    def _live_metrics(self, run_id: str) -> dict[str, float]:
        """Of attempts that run; the database has them once they have ended."""
        run = self._context.run_cache.find(run_id)
        metrics: dict[str, float] = {}
        for attempt in run.attempts if run is not None else ():
            metrics |= attempt.metrics
        return metrics


def _head(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "pipeline": run.pipeline,
        "title": run.title,
        "owner": run.owner,
        "state": run_state(run, progress_of(run).status),
        "submitted_at": run.submitted_at,
        "finished_at": run.finished_at,
    }
