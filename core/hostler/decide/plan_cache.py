"""Results that a plan can reuse from the previous one: plans are made on every event, and most runs
have not changed since the last one. A plan is the same with a plan_cache and without."""

from __future__ import annotations

from collections.abc import Iterable

from hostler.decide.progress import Progress, progress_of
from hostler.decide.requests import Request, request_of
from hostler.model.pipelines import Stage
from hostler.model.runs import Run


class PlanCache:
    """Holds what follows from a run alone, as long as it is the very same run."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._requests: dict[str, tuple[Run, dict[str, Request]]] = {}

    def progress(self, run: Run) -> Progress:
        """`progress_of(run)`."""
        known = self._progress.get(run.run_id)
        if known is None or known.run is not run:
            known = self._progress[run.run_id] = progress_of(run)
        return known

    def request(self, run: Run, stage: Stage) -> Request:
        """`request_of(run, stage)`: neither attempts nor priorities change it."""
        known = self._requests.get(run.run_id)
        if known is None or known[0].stages is not run.stages or known[0].source is not run.source:
            known = self._requests[run.run_id] = (run, {})
        found = known[1].get(stage.name)
        if found is None:
            found = known[1][stage.name] = request_of(run, stage)
        return found

    def keep(self, runs: Iterable[Run]) -> None:
        """Forget all other runs."""
        wanted = {run.run_id for run in runs}
        for gone in self._progress.keys() - wanted:
            del self._progress[gone]
            self._requests.pop(gone, None)
