"""The numbers that a stage wrote, in answers of bounded size."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hostler.base.errors import InputError
from hostler.daemon.context import Context
from hostler.model.codec import view_of
from hostler.model.records import StageMetric
from hostler.model.runs import Run
from hostler.model.views.history import MetricsPage, MetricView

_PAGE = 5000
"""Rows of an answer, about half a megabyte."""
_CURSOR = re.compile(r"(\d{1,6})\.(\d{1,15})")


class Numbers:
    """Reads metrics of stages for people and programs."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def page(self, run: Run, stage: str, after: str | None) -> MetricsPage:
        """Every number of every attempt of a stage, a page at a time: `next` is what to give as
        `after` for the one that follows, None at the end. Raises InputError."""
        attempts = _attempts(run, stage)
        index, row = _position(after)
        found: list[StageMetric] = []
        position: str | None = None
        while index < len(attempts):
            rest = _PAGE - len(found)
            if not rest:
                position = f"{index}.{row}"
                break
            rows, more = await self._context.store.metrics.page_of_metrics(
                attempts[index], row, rest
            )
            found += rows
            index, row = (index + 1, 0) if more is None else (index, more)
        return _page(found, position)

    async def thinned(self, run: Run, stage: str, points: int) -> MetricsPage:
        """About so many points of each metric, evenly chosen, the last one always; fewer of each
        where there are many metrics."""
        attempts = _attempts(run, stage)
        found = await self._context.store.metrics.thinned_metrics(attempts, points, rows=_PAGE)
        return _page(found, None)


def _page(found: Sequence[StageMetric], following: str | None) -> MetricsPage:
    return MetricsPage(metrics=tuple(view_of(MetricView, row) for row in found), next=following)


def _attempts(run: Run, stage: str) -> Sequence[str]:
    """The attempts of a stage; of one that a retry has kept, that of the earlier run."""
    kept = [run.kept[stage]] if stage in run.kept else []
    return [a.attempt_id for a in (*kept, *run.attempts) if a.stage == stage]


def _position(after: str | None) -> tuple[int, int]:
    if after is None:
        return 0, 0
    match = _CURSOR.fullmatch(after)
    if match is None:
        raise InputError(
            f"{after!r} is no place among metrics", remedy="give `next` of the answer before"
        )
    return int(match[1]), int(match[2])
