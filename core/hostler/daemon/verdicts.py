"""How an attempt ended, from its exit, the last 30 lines of its log, metrics, gate and checkpoint;
causes and patterns are in `decide.causes`.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Sequence

from hostler.base.errors import (
    ConflictError,
    EngineError,
    HostError,
    InputError,
    NotFoundError,
    StateError,
    Unreachable,
)
from hostler.daemon.context import Context
from hostler.daemon.follow import Followers
from hostler.decide.causes import conclude
from hostler.decide.holders import contested_by
from hostler.decide.index import OpenAttempt
from hostler.decide.lifecycle import lifecycle_of
from hostler.decide.requeue import requeued, wants_requeue
from hostler.model.causes import Cause
from hostler.model.events import EventKind
from hostler.model.hosts import Workload
from hostler.model.pipelines import Stage
from hostler.model.plans import Finish
from hostler.model.records import MetricPoint
from hostler.model.runs import Attempt, AttemptChange, Phase, Run
from hostler.model.time_limits import CheckpointSeen
from hostler.runtimes.metrics import MetricsReader

_TAIL_LINES = 30


class Judge:
    """Finds the verdict of an attempt whose workload has ended."""

    def __init__(self, context: Context, followers: Followers) -> None:
        self._context = context
        self._followers = followers

    async def verdict(self, action: Finish) -> AttemptChange:
        """The fields of its end, with its final phase. Raises Unreachable."""
        attempt, stage, workload = action.attempt, action.stage, action.workload
        context = self._context
        metrics = await self._last_taken(attempt, workload)
        attempt = context.run_cache.attempt(attempt.attempt_id) or attempt
        ended = conclude(
            attempt,
            stage,
            workload,
            boot_id=action.boot_id,
            tail=self._tail(attempt),
            gpu_lost=context.monitors[attempt.host].gpu_fault(attempt.gpus, context.since(attempt)),
        )
        run = context.run_cache.find(attempt.run_id)
        if ended[1] is Cause.TIME_LIMIT and wants_requeue(stage, ended):
            seen = await self._checkpoint(run, attempt, stage, workload)
            tries = [a for a in run.attempts if a.stage == stage.name] if run is not None else []
            ended = requeued(ended, stage, tries, workload, seen)
        elif ended[0] is Phase.FAILED:
            detail = "; ".join(filter(None, (ended[2], self._contested(attempt))))
            ended = (*ended[:2], detail)
        params = run.params if run is not None else {}
        phase, cause, detail = lifecycle_of(stage).judge(stage, ended, metrics, params)
        return {
            "phase": phase,
            "cause": cause,
            "detail": detail,
            "ref": workload.ref,
            "exit_code": workload.exit_code,
            "signal": workload.signal,
            "metrics": metrics,
            "finished_at": self._finished_at(attempt, workload),
            "duration": duration_of(attempt, workload, context.clock.now()),
        }

    async def _checkpoint(
        self, run: Run | None, attempt: Attempt, stage: Stage, workload: Workload
    ) -> CheckpointSeen:
        """The host's answer about the checkpoint. Raises Unreachable."""
        context = self._context
        if stage.checkpoint is None:
            return CheckpointSeen()
        here = run.source.path if run is not None and stage.code == "here" else None
        beside = here and posixpath.join(here, stage.workdir or "", stage.checkpoint)
        link = context.link(attempt.host)
        try:
            return await context.runtime(attempt).checkpoint(
                link, workload, stage.checkpoint, beside
            )
        except Unreachable:
            raise
        except (HostError, InputError, NotFoundError, ConflictError) as error:
            return CheckpointSeen(problem=error.message)

    def _contested(self, attempt: Attempt) -> str:
        """Other users of its GPUs, who may be the cause of its failure."""
        context = self._context
        here = [
            OpenAttempt(run, context.run_cache.stage(run.run_id, a.stage), a)
            for run in context.run_cache.runs()
            for a in run.attempts
            if a.host == attempt.host and a.phase.is_at_work
        ]
        host = context.monitors[attempt.host].host
        policy, now = context.config.policy, context.clock.now()
        return contested_by(attempt, host, policy, context.daemon_id, here, now)

    def _tail(self, attempt: Attempt) -> list[str]:
        """The last lines of its log, which may show a cause."""
        raw = self._context.store.logs.tail(attempt.run_id, attempt.attempt_id, _TAIL_LINES)
        return raw.decode(errors="replace").splitlines()

    def _finished_at(self, attempt: Attempt, workload: Workload) -> float:
        """When it ended on the daemon's clock, by the duration that the host's clock measured."""
        now = self._context.clock.now()
        duration = duration_of(attempt, workload, now)
        if duration is None or attempt.started_at is None:
            return now
        return min(now, attempt.started_at + duration)

    async def _last_taken(self, attempt: Attempt, workload: Workload) -> dict[str, float]:
        """The rest of the log and, at the same time, of the metrics. Raises Unreachable."""
        left = self._context.monitors[attempt.host].left(workload.ref)
        has_metrics = left is None or left.metrics
        drained, metrics = await asyncio.gather(
            self._followers.drained(attempt, workload),
            self._metrics(attempt, workload) if has_metrics else _nothing(),
            return_exceptions=True,
        )
        if isinstance(drained, BaseException):
            raise drained
        if isinstance(metrics, BaseException):
            raise metrics
        return metrics

    async def _metrics(self, attempt: Attempt, workload: Workload) -> dict[str, float]:
        reader = self._followers.metrics(attempt, workload)
        try:
            await self._read_metrics(attempt, reader)
        except EngineError as error:
            await self._metrics_lost(attempt, f"cannot be read: {error}")
            return dict(attempt.metrics)
        if reader.dropped:
            await self._metrics_lost(attempt, f"are not complete: {reader.sentence()}")
        return dict(reader.last)

    async def _read_metrics(self, attempt: Attempt, reader: MetricsReader) -> None:
        link = self._context.link(attempt.host)
        try:
            await reader.read(link, self._followers.saver(attempt), final=True)
        except StateError as error:
            # Rows of the history. An end must not wait for them where the state can be written.
            await self._metrics_lost(attempt, f"were not written: {error}")
            await reader.read(link, _drop, final=True)

    async def _metrics_lost(self, attempt: Attempt, what: str) -> None:
        message = f"the metrics of {attempt.attempt_id} {what}"
        context = self._context
        await context.tell(
            context.event(EventKind.ATTEMPT_METRICS_LOST, message, attempt, severity="warning")
        )


async def _nothing() -> dict[str, float]:
    """No metrics: the stage has written none."""
    return {}


async def _drop(_points: Sequence[MetricPoint], _first: int) -> None:
    """Drop the points: if they cannot be stored, the last values are still needed."""


def duration_of(attempt: Attempt, workload: Workload, now: float) -> float | None:
    """Its duration in seconds by its host's clock; by the daemon's, if the host's was set back."""
    if workload.started_at is None or workload.finished_at is None:
        return None
    measured = workload.finished_at - workload.started_at
    if measured >= 0.0 or attempt.started_at is None:
        return max(0.0, measured)
    return max(0.0, now - attempt.started_at)  # its clock was set back: as long as it was seen
