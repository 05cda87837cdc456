"""Follows running attempts: one task for each copies log and metrics until its end; and readers of
a log that still grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from hostler.base.errors import (
    AgentError,
    EngineError,
    HostError,
    HostlerError,
    NotFoundError,
    StateError,
    Unreachable,
)
from hostler.base.units import MIB
from hostler.daemon.context import Context
from hostler.model.events import EventKind
from hostler.model.hosts import Host, Look, Workload
from hostler.model.records import MetricPoint
from hostler.model.runs import Attempt, Phase, Run
from hostler.model.runtimes import traits_of
from hostler.ports import Left
from hostler.runtimes.metrics import MetricsReader, Save
from hostler.runtimes.process.logs import take_rest
from hostler.store.logs import LogFile

_log = logging.getLogger("hostler.daemon")

_METRICS_AT_ONCE = 3
"""Most files read in a tick, the longest due first: many stages must not keep the daemon busy."""
_METRICS_PIECES = 2
"""Most pieces read of a file at a time; the rest of a faster one is read later."""

_PAGE = MIB


@dataclass(slots=True)
class _Following:
    attempt_id: str
    ref: str
    task: asyncio.Task[None]
    log: LogFile
    metrics_at: float
    metrics_every: float
    make_metrics: Callable[[], MetricsReader]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _metrics: MetricsReader | None = None

    def metrics(self) -> MetricsReader:
        """Its only reader of metrics, made late: most attempts end before they have metrics."""
        if self._metrics is None:
            self._metrics = self.make_metrics()
        return self._metrics


class Followers:
    """Starts, finds and awaits the followers of attempts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._following: dict[str, _Following] = {}

    def follow(self, attempt: Attempt, workload: Workload) -> None:
        """Follow an attempt, unless it is followed already."""
        if attempt.attempt_id in self._following:
            return
        log, ended = self.log(attempt), asyncio.Event()
        task = asyncio.create_task(
            self._run(attempt, workload, log, ended), name=f"follow {attempt.attempt_id}"
        )
        self._following[attempt.attempt_id] = _Following(
            attempt.attempt_id,
            workload.ref,
            task,
            log,
            metrics_at=self._context.clock.now() + self._context.timings.metrics_first,
            metrics_every=self._context.timings.metrics_first,
            make_metrics=partial(self._reader, attempt, workload.ref),
            ended=ended,
        )

    def adopt(self, host: Host, look: Look) -> None:
        """Follow running attempts that are not followed yet: after a restart of the daemon."""
        for workload in look.workloads:
            if not workload.running or workload.daemon_id != self._context.daemon_id:
                continue
            attempt = self._context.run_cache.attempt(workload.attempt_id)
            if attempt is None or attempt.phase is not Phase.RUNNING or attempt.host != host.name:
                continue
            if attempt.attempt_id not in self._following:
                try:
                    self.follow(attempt, workload)
                except StateError as error:
                    # The next look tries again; a log that cannot be opened stops no look.
                    _log.error("%s is not followed yet: %s", attempt.attempt_id, error)

    def log(self, attempt: Attempt) -> LogFile:
        """The log file of an attempt; the live one while it is followed."""
        following = self._following.get(attempt.attempt_id)
        if following is not None:
            return following.log
        limits = self._context.config.limits
        has_secrets = self._context.has_secrets(attempt.run_id)
        values = self._context.secrets.known_values(attempt.run_id) if has_secrets else ()
        return self._context.store.open_log(
            attempt.run_id, attempt.attempt_id, limits.log_size, values
        )

    def _reader(self, attempt: Attempt, ref: str) -> MetricsReader:
        return MetricsReader(
            attempt.attempt_id,
            attempt.runtime,
            ref,
            lambda text: self._context.masked(attempt.run_id, text),
        )

    def note(self, attempt: Attempt, text: str) -> None:
        """Write a line by Hostler into the log of a followed attempt."""
        following = self._following.get(attempt.attempt_id)
        if following is None or following.log.is_closed:
            return  # an event tells it, too
        try:
            following.log.note(self._context.masked(attempt.run_id, text))
        except StateError as error:
            _log.error("the log of %s lacks a line: %s", attempt.attempt_id, error)

    def is_following(self, attempt_id: str) -> bool:
        """Whether output still comes in."""
        return attempt_id in self._following

    async def drained(self, attempt: Attempt, workload: Workload) -> None:
        """Wait until all output of an ended workload is in its file. Raises Unreachable if the
        connection is lost."""
        if workload.exit_code is None:
            # Docker may not know of its end, and then never ends what is followed: read it once.
            await self._begin_anew(attempt.attempt_id)
        log = self.log(attempt)
        left = self._context.monitors[attempt.host].left(workload.ref)
        if left is None:
            self.follow(attempt, workload)
            following = self._following[attempt.attempt_id]
            following.ended.set()
            try:
                await asyncio.shield(following.task)
            except Exception:
                if following.task.done():  # the next try begins anew
                    self._following.pop(attempt.attempt_id, None)
                raise
        else:
            await self._stop(attempt.attempt_id)
            await self._take(attempt, log, left)
        self._following.pop(attempt.attempt_id, None)
        log.finish()
        if not log.is_synced:
            await asyncio.to_thread(log.sync)
        log.close()

    async def _begin_anew(self, attempt_id: str) -> None:
        await self._stop(attempt_id)
        following = self._following.pop(attempt_id, None)
        if following is not None:
            following.log.close()

    async def _stop(self, attempt_id: str) -> None:
        following = self._following.get(attempt_id)
        if following is not None:
            following.task.cancel()
            await asyncio.gather(following.task, return_exceptions=True)

    async def _take(self, attempt: Attempt, log: LogFile, left: Left) -> None:
        if not left.log:
            return
        try:
            take_rest(log, left.log)
        except StateError as error:
            await self._explain(attempt, error)

    async def read_metrics(self) -> None:
        """Read what running stages write to their metrics files, until cancelled."""
        while True:
            await asyncio.sleep(self._context.timings.metrics_tick)
            now = self._context.clock.now()
            due = self._metrics_due(now)
            done = await asyncio.gather(
                *(self._read_metrics(following, now) for following in due), return_exceptions=True
            )
            for following, result in zip(due, done, strict=True):
                if isinstance(result, Exception):
                    following.metrics_at = now + self._context.timings.metrics_last
                    _log.error("metrics of %s: bug", following.attempt_id, exc_info=result)

    def _metrics_due(self, now: float) -> list[_Following]:
        due = [f for f in self._following.values() if f.metrics_at <= now and not f.task.done()]
        return heapq.nsmallest(_METRICS_AT_ONCE, due, key=lambda f: f.metrics_at)

    async def _read_metrics(self, following: _Following, now: float) -> None:
        """Read one attempt's file. If it does not exist or grow, it is requested less and less
        often."""
        context = self._context
        attempt = context.run_cache.attempt(following.attempt_id)
        monitor = context.monitors.get(attempt.host) if attempt is not None else None
        if attempt is None or monitor is None or not monitor.is_connected:
            return
        reader = following.metrics()
        try:
            before = reader.count
            save = self.saver(attempt)
            some = await reader.read(context.link(attempt.host), save, pieces=_METRICS_PIECES)
            if some:
                self._show_metrics(attempt.attempt_id, reader.last)
            grows = some and reader.count > before
            following.metrics_every = (
                self._context.timings.metrics_first
                if grows
                else min(self._context.timings.metrics_last, following.metrics_every * 2)
            )
        except (HostError, StateError):
            # Read again later, and once for all when the attempt has ended.
            following.metrics_every = self._context.timings.metrics_last
        following.metrics_at = now + following.metrics_every

    def saver(self, attempt: Attempt) -> Save:
        """The object that stores the points of an attempt."""

        async def save(points: Sequence[MetricPoint], first: int) -> None:
            await self._context.store.put_stage_metrics(attempt.attempt_id, points, first)

        return save

    def metrics(self, attempt: Attempt, workload: Workload) -> MetricsReader:
        """The reader of an attempt's metrics, at its current position."""
        following = self._following.get(attempt.attempt_id)
        if following is not None and following.ref == workload.ref:
            return following.metrics()
        return self._reader(attempt, workload.ref)

    def _show_metrics(self, attempt_id: str, values: Mapping[str, float]) -> None:
        """Show them in memory only: the end of the attempt makes the last values durable."""
        attempt = self._context.run_cache.attempt(attempt_id)
        if attempt is not None and attempt.phase.is_at_work:
            self._context.run_cache.change_attempt(attempt_id, metrics=dict(values))
            self._context.hub.publish()

    async def close(self) -> None:
        """Stop following; the files show how far they were written."""
        for following in self._following.values():
            following.task.cancel()
        tasks = [following.task for following in self._following.values()]
        await asyncio.gather(*tasks, return_exceptions=True)
        for following in self._following.values():
            following.log.close()
        self._following.clear()

    async def _run(
        self, attempt: Attempt, workload: Workload, log: LogFile, ended: asyncio.Event
    ) -> None:
        runtime, told = self._context.runtime(attempt), False
        if workload.running and not traits_of(workload.runtime).has_engine:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._context.timings.short_stage):
                    await ended.wait()
        while True:
            try:
                await runtime.follow(self._context.link(attempt.host), workload, log)
                return
            except Unreachable:
                await self._wait_connected(attempt.host)
            except (AgentError, EngineError) as error:
                await self._explain(attempt, error)
                return
            except StateError as error:
                # A full disk may have space again before the workload ends.
                if ended.is_set() or log.is_closed:
                    await self._explain(attempt, error)
                    return
                if not told:
                    _log.error("the log of %s waits: %s", attempt.attempt_id, error)
                told = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._context.timings.follow_again):
                        await ended.wait()

    async def _wait_connected(self, host: str) -> None:
        """Wait until the host's current monitor is connected: a change of the config replaces the
        monitor."""
        await asyncio.sleep(self._context.timings.follow_again)
        while True:
            monitor = self._context.monitors.get(host)
            if monitor is None:
                await asyncio.sleep(self._context.timings.follow_again)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._context.timings.follow_again):
                    await monitor.wait_connected()
                    return

    async def _explain(self, attempt: Attempt, error: HostlerError) -> None:
        message = f"the log of {attempt.attempt_id} ends early: {error}"
        event = self._context.event(
            EventKind.ATTEMPT_LOG_LOST, message, attempt, severity="warning"
        )
        await self._context.tell(event)


def find_attempt(run: Run, stage: str, number: int | None, wanted: str = "log") -> Attempt:
    """The attempt of that number, or the latest, of a stage. Raises NotFoundError, with the reason,
    if there is no such data."""
    tries = [a for a in run.attempts if a.stage == stage]
    if not tries and stage in run.kept:
        tries = [run.kept[stage]]
    if number is not None:
        tries = [a for a in tries if a.number == number]
    if tries:
        return tries[-1]
    if stage not in {s.name for s in run.stages}:
        raise NotFoundError(
            f"run {run.run_id} has no stage {stage!r}",
            remedy="its stages: " + ", ".join(s.name for s in run.stages[:20]),
        )
    what = f"attempt {number} of stage {stage}" if number is not None else f"stage {stage}"
    raise NotFoundError(
        f"{what} has not started, so it has no {wanted}",
        remedy=f"see why: hostler why {run.run_id}/{stage}",
    )


class LogReader:
    """Reads the log of one attempt."""

    def __init__(self, context: Context, followers: Followers, attempt: Attempt) -> None:
        self.attempt = attempt
        self._context = context
        self._followers = followers
        self._logs = context.store.logs
        self._name = (attempt.run_id, attempt.attempt_id)

    @property
    def size(self) -> int:
        """Bytes that can be read now."""
        return self._logs.size(*self._name)

    async def begin_of_tail(self, lines: int) -> int:
        """The position where the last lines begin."""
        return await asyncio.to_thread(self._logs.tail_offset, *self._name, lines)

    async def pages(self, begin: int, end: int) -> AsyncIterator[bytes]:
        """Raw bytes from `begin` to `end`, in large pages to keep the overhead low; read in a
        thread, since a disk may be slow. Fewer bytes if the log is removed meanwhile."""
        while begin < end:
            limit = min(_PAGE, end - begin)
            page = await asyncio.to_thread(self._logs.read, *self._name, begin, limit)
            if not page:
                return
            yield page
            begin += len(page)

    async def follow(self, begin: int, length: int | None) -> AsyncIterator[bytes]:
        """Raw bytes from `begin` to the end of the attempt or the daemon; `length` at most."""
        left = length
        async for _, data in self._logs.follow(*self._name, begin, self._is_over):
            if left is not None:
                data, left = data[:left], left - len(data)
            yield data
            if left is not None and left <= 0:
                return

    def _is_over(self) -> bool:
        if self._context.hub.is_closed:
            return True
        now = self._context.run_cache.attempt(self.attempt.attempt_id)
        ended = now is None or not now.phase.is_at_work
        return ended and not self._followers.is_following(self.attempt.attempt_id)
