"""Searches and compares past runs: curves have at most 240 points."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hostler.daemon.context import Context
from hostler.daemon.views import run_state
from hostler.decide.progress import progress_of
from hostler.insight.compare import Side, rows, series
from hostler.insight.search import Search
from hostler.model.codec import view_of
from hostler.model.durations import run_duration
from hostler.model.runs import Run
from hostler.model.views.history import (
    ComparedRun,
    ComparedRuns,
    HistoryPage,
    HistoryRow,
)
from hostler.model.views.runs import RunRow

_MOST_POINTS = 240
_MOST_FACTS = 50
"""Most stages whose hosts are looked up; in a larger run the hosts repeat."""


class Past:
    """Searches and compares all runs, including open ones."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def search(self, wanted: Search, limit: int, offset: int) -> HistoryPage:
        """The number of runs that match, and a page of them. Raises InputError."""
        store = self._context.store
        every = replace(wanted, runs=replace(wanted.runs, releases=True))
        wanted = wanted if self._context.services else every  # a search without it is quicker
        total, found = await store.search_runs(wanted, limit, offset)
        left_out = 0 if wanted == every else (await store.search_runs(every, 0, 0))[0] - total
        return HistoryPage(total=total, runs=tuple(map(self._row, found)), left_out=left_out)

    async def compare(self, runs: Sequence[Run]) -> ComparedRuns:
        """Runs side by side: rows of values, and the curves of their metrics."""
        sides = [await self._side(run) for run in runs]
        # In threads: runs may have thousands of stages.
        found = await asyncio.to_thread(rows, sides, self._context.clock.now())
        return ComparedRuns(
            runs=tuple(map(_head, runs)),
            rows=tuple(found),
            series=await asyncio.to_thread(series, sides),
        )

    async def _side(self, run: Run) -> Side:
        store = self._context.store
        newest = {**run.kept, **{attempt.stage: attempt for attempt in run.attempts}}
        ids = [attempt.attempt_id for attempt in newest.values()]
        facts = [await store.facts_of_attempt(attempt_id) for attempt_id in ids[:_MOST_FACTS]]
        points = await store.metrics.thinned_metrics(ids, _MOST_POINTS)
        return Side(run, tuple(fact for fact in facts if fact is not None), tuple(points))

    def _row(self, summary: RunRow) -> HistoryRow:
        now = self._context.clock.now()
        return view_of(
            HistoryRow,
            summary,
            metrics={**summary.metrics, **self._live_metrics(summary.run_id)},
            took_s=run_duration(summary.started_at, summary.finished_at, now),
            gpu_hours=summary.gpu_seconds / 3600,
        )

    def _live_metrics(self, run_id: str) -> dict[str, float]:
        """Metrics of running attempts; the database has them once the attempts have ended."""
        run = self._context.run_cache.find(run_id)
        metrics: dict[str, float] = {}
        for attempt in run.attempts if run is not None else ():
            metrics |= attempt.metrics
        return metrics


def _head(run: Run) -> ComparedRun:
    return view_of(ComparedRun, run, state=run_state(run, progress_of(run).status))
