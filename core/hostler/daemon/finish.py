"""The end of an attempt: the rest of its log, its metrics and outputs, the verdict, the record."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hostler.daemon.context import Context
from hostler.daemon.copies import Copies
from hostler.daemon.follow import Followers
from hostler.daemon.usage import Usage
from hostler.decide.conditions import gate_failure
from hostler.decide.contest import contested_by
from hostler.decide.ending import conclude
from hostler.decide.index import OpenAttempt
from hostler.errors import AgentError, EngineError, HostError, InputError, NotFoundError, StateError
from hostler.failpoints import failpoint
from hostler.model.hosts import Workload
from hostler.model.pipelines import Cause, Stage, StageKind
from hostler.model.plans import Finish, Record
from hostler.model.records import Artifact, MetricPoint, NewEvent
from hostler.model.runs import Attempt, Phase
from hostler.runtimes.collect import collect_output
from hostler.runtimes.metrics import MetricsReader

_TAIL_LINES = 30


class Finisher:
    """Carries out `Finish` and `Record`."""

    def __init__(
        self, context: Context, followers: Followers, usage: Usage, copies: Copies
    ) -> None:
        self._context = context
        self._copies = copies
        self._followers = followers
        self._usage = usage

    async def finish(self, action: Finish) -> None:
        """Take everything an ended workload left, record its end, then remove it.

        Raises Unreachable when the host went away meanwhile: nothing is recorded then, and the
        action is repeated when the host is back.
        """
        attempt, stage, workload = action.attempt, action.stage, action.workload
        context = self._context
        failpoint("after_exit_seen")
        metrics = await self._last_taken(attempt, workload)
        attempt = context.book.attempt(attempt.attempt_id) or attempt
        phase, cause, detail = conclude(
            attempt,
            stage,
            workload,
            boot_id=action.boot_id,
            tail=self._tail(attempt),
            gpu_lost=context.keepers[attempt.host].gpu_fault(attempt.gpus, context.since(attempt)),
        )
        if phase is Phase.FAILED:
            detail = "; ".join(filter(None, (detail, self._contested(attempt))))
        outputs: Mapping[str, str] = {}
        if phase is Phase.SUCCEEDED:
            outputs, problem = await self._outputs(attempt, stage, workload)
            if problem is not None:
                phase, cause, detail = Phase.FAILED, Cause.OUTPUT, problem
        if phase is Phase.SUCCEEDED and stage.kind is StageKind.GATE:
            params = context.book.run(attempt.run_id).params
            refusal = gate_failure(stage, metrics, params)
            if refusal is not None:
                phase, cause, detail = Phase.FAILED, Cause.GATE, refusal
        end: Mapping[str, Any] = {
            "phase": phase,
            "cause": cause,
            "detail": detail,
            "ref": workload.ref,
            "exit_code": workload.exit_code,
            "signal": workload.signal,
            "metrics": metrics,
            "outputs": outputs,
            "finished_at": self._finished_at(attempt, workload),
            "duration": duration_of(attempt, workload, context.clock.now()),
        }
        ended = await self._end(attempt, stage, end)
        failpoint("before_remove")
        await self._remove(ended, workload)

    async def _end(self, attempt: Attempt, stage: Stage, end: Mapping[str, Any]) -> Attempt:
        """Write these fields of an attempt that ended, with what it used; the attempt then. One
        that has ended meanwhile stays as it is."""
        context = self._context
        ended = replace(attempt, **end)
        ended = replace(ended, usage=self._usage.summary(ended))
        failpoint("before_record")
        return (
            await context.change_attempt(
                attempt.attempt_id,
                lambda now: None if now.phase.is_final else replace(now, usage=ended.usage, **end),
                self._event(ended, stage),
            )
            or context.book.attempt(attempt.attempt_id)
            or ended
        )

    async def record(self, action: Record) -> None:
        """Write what the planner concluded about an attempt."""
        context = self._context
        attempt = context.book.attempt(action.attempt_id)
        if attempt is None:
            return
        stage = context.book.stage(attempt.run_id, attempt.stage)
        workload, now = action.workload, context.clock.now()
        if action.phase.is_final:
            end: Mapping[str, Any] = {
                "phase": action.phase,
                "cause": action.cause,
                "detail": action.detail,
                "exit_code": workload.exit_code if workload else None,
                "signal": workload.signal if workload else None,
                "finished_at": now,
            }
            await self._end(attempt, stage, end)
            return
        event = context.event("attempt.started", f"{stage.label} runs on {attempt.host}", attempt)
        changed = await context.change_attempt(
            attempt.attempt_id, lambda known: _seen_to_run(known, action, now), event
        )
        if changed is not None and workload is not None:
            self._followers.follow(changed, workload)

    def _contested(self, attempt: Attempt) -> str:
        """Who else is on its GPUs, which may well be why it failed."""
        context = self._context
        here = [
            OpenAttempt(run, context.book.stage(run.run_id, a.stage), a)
            for run in context.book.runs()
            for a in run.attempts
            if a.host == attempt.host and not a.phase.is_final
        ]
        host = context.keepers[attempt.host].host
        policy, now = context.config.policy, context.clock.now()
        return contested_by(attempt, host, policy, context.daemon_id, here, now)

    def _tail(self, attempt: Attempt) -> list[str]:
        """The last lines of its log, where a cause may be read."""
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
        drained, metrics = await asyncio.gather(
            self._followers.drained(attempt, workload),
            self._metrics(attempt, workload, self._followers.metrics(attempt, workload)),
            return_exceptions=True,
        )
        if isinstance(drained, BaseException):
            raise drained
        if isinstance(metrics, BaseException):
            raise metrics
        return metrics

    async def _metrics(
        self, attempt: Attempt, workload: Workload, reader: MetricsReader
    ) -> dict[str, float]:
        context = self._context
        left = context.keepers[attempt.host].left(workload.ref)
        if left is not None and not left.metrics:
            return {}
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
            context.event("attempt.metrics_lost", message, attempt, severity="warning")
        )

    async def _outputs(
        self, attempt: Attempt, stage: Stage, workload: Workload
    ) -> tuple[dict[str, str], str | None]:
        """Digest of each declared output, and a sentence when one could not be taken."""
        context = self._context
        found: dict[str, str] = {}
        for name, path in stage.outputs.items():
            try:
                collected = await collect_output(
                    context.link(attempt.host),
                    workload,
                    path,
                    context.content,
                    context.config.limits.output_size,
                )
            except NotFoundError:
                return found, f"output {name}: there is no {path} in the working folder at the end"
            except (InputError, EngineError, AgentError) as error:
                return found, f"output {name} ({path}): {error.message}"
            await context.store.add_artifact(
                Artifact(
                    run_id=attempt.run_id,
                    stage=attempt.stage,
                    attempt_id=attempt.attempt_id,
                    name=name,
                    digest=collected.digest,
                    size=collected.size,
                    collected_at=context.clock.now(),
                    files=collected.files,
                    tree_digest=collected.tree_digest,
                )
            )
            found[name] = collected.digest
        return found, None

    def _event(self, attempt: Attempt, stage: Stage) -> NewEvent:
        kind = f"attempt.{attempt.phase.value}"
        if attempt.phase is Phase.SUCCEEDED:
            message, severity = f"{stage.label} succeeded on {attempt.host}", "info"
        else:
            why = f"{attempt.cause}: {attempt.detail}" if attempt.detail else f"{attempt.cause}"
            message = f"{stage.label} {attempt.phase.value} on {attempt.host}: {why}"
            severity = "info" if attempt.phase is Phase.CANCELLED else "error"
        return self._context.event(kind, message, attempt, severity=severity)

    async def _remove(self, attempt: Attempt, workload: Workload) -> None:
        """At once, so that the host is clean; a later plan repeats it where this does not work.

        What comes next need not wait for it: the attempt is over.
        """
        context = self._context
        try:
            with context.keepers[attempt.host].removing(workload.ref):
                context.wake()
                # Before it goes: the host has the workload, or the note of how it ended.
                await self._copies.note(attempt)
                await context.runtime(attempt).remove(context.link(attempt.host), workload)
        except HostError as error:
            event = context.event("workload.not_removed", str(error), attempt, severity="warning")
            await context.tell(event)
        if attempt.gpus:
            context.look_soon(attempt.host)  # their memory has to be seen to come back


def _seen_to_run(attempt: Attempt, action: Record, now: float) -> Attempt | None:
    """A start that was interrupted, and has happened; None where the attempt has ended since."""
    if attempt.phase.is_final:
        return None
    return replace(
        attempt,
        phase=action.phase,
        cause=action.cause,
        detail=action.detail,
        ref=action.workload.ref if action.workload else attempt.ref,
        launched_at=attempt.launched_at or now,
        started_at=attempt.started_at or now,
    )


async def _drop(_points: Sequence[MetricPoint], _first: int) -> None:
    """Where points cannot be stored, the last values are wanted all the same."""


def duration_of(attempt: Attempt, workload: Workload, now: float) -> float | None:
    """Seconds that it ran by its host's clock; by the daemon's, where that was set back."""
    if workload.started_at is None or workload.finished_at is None:
        return None
    measured = workload.finished_at - workload.started_at
    if measured >= 0.0 or attempt.started_at is None:
        return max(0.0, measured)
    return max(0.0, now - attempt.started_at)  # its clock was set back: as long as it was seen
