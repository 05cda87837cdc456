"""The open runs in memory, a mirror of the database.

Nothing here matters for safety: it is filled from the store at start, and every change is durable
before it is shown, except an intent, which is shown at once so that no second plan gives the same
GPU away while it is being written.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Unpack

from hostler.base.errors import NotFoundError
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt, AttemptChange, Outcome, Run, RunChange, in_order
from hostler.model.service_wishes import MOST_OF_REPLICA, with_replicas


def awaited_by(run: Run) -> set[str]:
    """The other runs that stages of a run wait for."""
    return {each.run_id for stage in run.stages for each in stage.after}


class RunCache:
    """Open runs by id, with quick access to their attempts and stages.

    Values change field by field: a value read before an await is never written back, since other
    code may have changed it meanwhile.
    """

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._stages: dict[str, dict[str, Stage]] = {}
        self._attempts: dict[str, dict[str, Attempt]] = {}
        self._stale: set[str] = set()
        self.with_secrets: set[str] = set()
        """Runs with a stage that takes secrets, until the secrets are dropped."""
        self.has_nested = asyncio.Event()
        """Set when a run is added whose stages may submit others; cleared by the task that serves
        them."""

    def add(self, run: Run) -> None:
        """Add a run that is not in the cache, new or read back from the store."""
        assert run.run_id not in self._runs, f"{run.run_id} is known: change its fields"
        self._runs[run.run_id] = run
        self._stages[run.run_id] = {stage.name: stage for stage in run.stages}
        self._attempts[run.run_id] = {a.attempt_id: a for a in run.attempts}
        for stage in run.stages:
            if stage.service is not None:
                self._forget_early(run.run_id, stage.name)
        if any(stage.nested for stage in run.stages):
            self.has_nested.set()
        if any(stage.named_secrets for stage in run.stages):
            self.with_secrets.add(run.run_id)

    def drop(self, run_id: str, outcome: Outcome) -> None:
        """Drop a run that has its outcome, and pass the outcome to runs that wait for it."""
        for table in (self._runs, self._stages, self._attempts):
            table.pop(run_id, None)
        self._stale.discard(run_id)
        for other in [*self._runs.values()]:
            if run_id in awaited_by(other):
                awaited = {**other.awaited, run_id: outcome.value}
                self._runs[other.run_id] = replace(other, awaited=awaited)

    def runs(self) -> tuple[Run, ...]:
        """All open runs, oldest first."""
        for run_id in self._stale:
            attempts = tuple(self._attempts[run_id].values())
            self._runs[run_id] = replace(self._runs[run_id], attempts=attempts)
        self._stale.clear()
        return tuple(self._runs.values())

    def find(self, run_id: str) -> Run | None:
        """The open run with that id."""
        if run_id in self._stale:
            self.runs()
        return self._runs.get(run_id)

    def run(self, run_id: str) -> Run:
        """The open run of that id. Raises NotFoundError."""
        found = self.find(run_id)
        if found is None:
            raise NotFoundError(f"run {run_id} is not open")
        return found

    def change(self, run_id: str, **changes: Unpack[RunChange]) -> None:
        """Change fields of a run; one that has ended meanwhile is not added again."""
        run = self._runs.get(run_id)
        if run is not None:
            if "services" in changes:
                stages = with_replicas(run.stages, changes["services"])
                run = replace(run, stages=stages)
                self._stages[run_id] = {stage.name: stage for stage in stages}
            self._runs[run_id] = replace(run, **changes)

    def stage(self, run_id: str, name: str) -> Stage:
        """A stage of an open run."""
        return self._stages[run_id][name]

    def attempt(self, attempt_id: str) -> Attempt | None:
        """An attempt of an open run."""
        run_id = attempt_id.partition("-")[0]
        return self._attempts.get(run_id, {}).get(attempt_id)

    def add_attempt(self, attempt: Attempt) -> None:
        """Add an attempt that is not in the cache."""
        known = self._attempts[attempt.run_id]
        assert attempt.attempt_id not in known, f"{attempt.attempt_id} is known: change its fields"
        known[attempt.attempt_id] = attempt
        self._stale.add(attempt.run_id)

    def sort_attempts(self, run_id: str) -> None:
        """Sort the attempts of a run, after an earlier one was added late."""
        attempts = in_order(tuple(self._attempts[run_id].values()))
        self._attempts[run_id] = {attempt.attempt_id: attempt for attempt in attempts}
        self._stale.add(run_id)

    def change_attempt(self, attempt_id: str, **changes: Unpack[AttemptChange]) -> Attempt | None:
        """Change fields of an attempt; returns the changed one, None if its run is no longer
        open."""
        known = self.attempt(attempt_id)
        if known is None:
            return None
        changed = self._attempts[known.run_id][attempt_id] = replace(known, **changes)
        self._stale.add(known.run_id)
        if changed.phase.is_final:
            stage = self._stages[known.run_id].get(known.stage)
            if stage is not None and stage.service is not None:
                self._forget_early(known.run_id, known.stage)
        return changed

    def _forget_early(self, run_id: str, stage: str) -> None:
        """Keep only the last attempts of a replica in memory: it may be restarted for months. The
        database has all attempts."""
        known = self._attempts[run_id]
        ended = [a for a in known.values() if a.stage == stage and a.phase.is_final]
        for attempt in ended[:-MOST_OF_REPLICA]:
            del known[attempt.attempt_id]
            self._stale.add(run_id)

    def drop_attempt(self, attempt: Attempt) -> None:
        """Remove an intent that could not be made durable."""
        self._attempts.get(attempt.run_id, {}).pop(attempt.attempt_id, None)
        self._stale.add(attempt.run_id)

    def open_attempts(self) -> list[Attempt]:
        """Every attempt that has not ended."""
        return [
            attempt
            for attempts in self._attempts.values()
            for attempt in attempts.values()
            if not attempt.phase.is_final
        ]
