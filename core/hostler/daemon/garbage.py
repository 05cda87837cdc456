"""Deletes expired logs, snapshots, outputs and old runs a few times a day: how long measurements
and partial uploads stay; the rules are in `store.retention`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from hostler.base.errors import ConflictError, HostError, HostlerError
from hostler.daemon.alerts import Alerts
from hostler.daemon.context import Context
from hostler.daemon.host_copies import HostCopies
from hostler.daemon.images import ImageDelivery
from hostler.daemon.jobs import checkpoint_key
from hostler.decide.expiry import AHEAD, goes_at, plan_saved_expiry
from hostler.insight.alerts import OUTPUTS
from hostler.model.calls import AuditEntry
from hostler.model.events import EventKind
from hostler.model.files import Artifact
from hostler.model.runs import Run
from hostler.model.views.kept import (
    FreedBlobs,
    FreedFiles,
    FreedImages,
    FreedLogs,
    GcView,
    KeptRuns,
    StayingFiles,
    SweptHost,
    UnfetchedView,
    UnsweptHost,
    YoungBlobs,
)
from hostler.store.retention import Blob, GcPlan, RetentionLimits, RunUse, plan_gc, without_unknown

_log = logging.getLogger("hostler.daemon")

_SAMPLES_FOR_S = 24 * 3600.0
_MINUTES_FOR_S = 30 * 24 * 3600.0
_PARTIALS_FOR_S = 24 * 3600.0
_MOST_NAMED = 20


class GarbageCollector:
    """Plans first, then deletes. A run that has not ended loses nothing."""

    def __init__(
        self, context: Context, copies: HostCopies, alerts: Alerts, images: ImageDelivery
    ) -> None:
        self._context = context
        self._images = images
        self._copies = copies
        self._alerts = alerts
        self._asked_at = context.clock.now()

    async def run(self) -> None:
        """Collect a few times a day, until cancelled."""
        while True:
            await asyncio.sleep(self._context.timings.gc_every)
            await self._images.keep_built()
            try:
                freed = (await self.collect_unasked()).freed
                _log.info("gc freed %d bytes", freed)
            except HostlerError as error:
                _log.warning("gc: %s", error)
            except Exception:
                _log.exception("gc failed: this is a bug in Hostler, please report it")

    async def remove_run(self, run_id: str, by: str, asked: AuditEntry) -> None:
        """Forget a finished run: rows, metrics, logs. The next `collect` deletes its blobs."""
        # Of no run, since the events of that run are removed with it.
        event = self._context.event(EventKind.RUN_REMOVED, f"run {run_id} removed", actor=by)
        await self._context.store.delete_run(run_id, event, asked=asked)
        await self._alerts.forget_run(run_id)
        self._context.hub.publish()

    async def collect(self, dry_run: bool) -> GcView:
        """Delete expired data; returns what was (or with `dry_run` would be) deleted."""
        if dry_run:
            return await self._collect(dry_run=True)
        _check_may(self._context)
        async with self._context.removing:
            told = await self._collect(dry_run=False)
        return replace(told, hosts=await self._sweep_hosts())

    async def collect_unasked(self) -> GcView:
        """The same, except that unfetched outputs are removed only a day after their alert (see
        `plan_saved_expiry`)."""
        _check_may(self._context)
        async with self._context.removing:
            told = await self._collect(dry_run=False, held=await self._announce(), unasked=True)
        return replace(told, hosts=await self._sweep_hosts())

    async def _announce(self) -> frozenset[str]:
        """Announce the outputs that will be removed soon; returns the runs whose outputs stay for
        now."""
        context, now = self._context, self._context.clock.now()
        ran, self._asked_at = min(now - self._asked_at, 1.5 * self._context.timings.gc_every), now
        standing = bool(await self._alerts.standing(OUTPUTS))
        made = plan_saved_expiry(
            await self._soon_gone(now + AHEAD), await context.store.announced(),
            standing=standing, ran=ran, now=now,
        )  # fmt: skip
        event = None
        if made.notice is not None:
            event = context.event(EventKind.OUTPUTS_EXPIRING, made.notice)
        elif made.is_over:
            event = context.event(
                EventKind.OUTPUTS_EXPIRY_OVER, "no outputs are about to be removed"
            )
        if made.stood or event is not None:
            await context.store.note_announced(made.stood, event)
            context.hub.publish()
        return made.held

    async def _soon_gone(self, at: float) -> dict[str, int]:
        """Run -> bytes of its unfetched outputs that would be deleted by then."""
        plan = await self._plan(frozenset(await self._old_runs(at)), at)
        sizes: Counter[str] = Counter()
        for artifact in await self._unfetched_of(plan):
            sizes[artifact.run_id] += artifact.size
        return dict(sizes)

    async def _collect(
        self, dry_run: bool, held: Collection[str] = frozenset(), *, unasked: bool = False
    ) -> GcView:
        context, now = self._context, self._context.clock.now()
        forgotten = [run_id for run_id in await self._old_runs(now) if run_id not in held]
        images, image_bytes = await self._images.drop_surplus(dry_run=dry_run)
        stay = await self._images.pins.staying()
        plan = await self._plan(frozenset(forgotten), now, held, unasked=unasked)
        unfetched = await self._unfetched(plan)
        if not dry_run:
            for run_id in forgotten:
                await context.store.delete_run(run_id, now=context.clock.now())
        before = context.clock.now() - _PARTIALS_FOR_S
        partial = await asyncio.to_thread(context.content.abandoned, before)
        if not dry_run:
            for run_id in plan.logs:
                await asyncio.to_thread(context.store.logs.remove_run, run_id)
            await asyncio.to_thread(context.content.remove, plan.blobs)
            await asyncio.to_thread(context.content.remove_abandoned, before)
            await self._prune(now)
        keeps = (await context.store.keeps()).values()
        return GcView(
            dry_run=dry_run,
            freed=plan.freed + sum(partial.values()),
            runs=tuple(forgotten),
            logs=FreedLogs(runs=tuple(plan.logs), bytes=plan.log_bytes),
            content=FreedBlobs(blobs=len(plan.blobs), bytes=plan.blob_bytes),
            partial=FreedFiles(files=len(partial), bytes=sum(partial.values())),
            images=FreedImages(images=images, bytes=image_bytes, pinned=stay),
            young=YoungBlobs(blobs=plan.young, bytes=plan.young_bytes, until=plan.young_until),
            unfetched=unfetched,
            kept=KeptRuns(runs=sum(keep.holds(now) for keep in keeps)),
            staying=await self._staying(),
        )

    async def _prune(self, now: float) -> None:
        """Drop old measurements."""
        from hostler.store.traffic import TrafficStore

        metrics = self._context.store.metrics
        await metrics.prune(now - _SAMPLES_FOR_S, now - _MINUTES_FOR_S)
        await TrafficStore(*metrics.connections).prune(now, now - _MINUTES_FOR_S)

    async def _unfetched_of(self, plan: GcPlan) -> list[Artifact]:
        """Unfetched outputs, without files in a user's own folder: they stay there."""
        found = await self._context.store.unfetched(plan.blobs)
        return [artifact for artifact in found if artifact.kind != "here"]

    async def _unfetched(self, plan: GcPlan) -> UnfetchedView:
        """Unfetched outputs among those to be removed."""
        found = await self._unfetched_of(plan)
        runs = sorted({artifact.run_id for artifact in found})
        size = sum(artifact.size for artifact in found)
        return UnfetchedView(artifacts=len(found), bytes=size, runs=tuple(runs[:_MOST_NAMED]))

    async def _staying(self) -> StayingFiles:
        """Files on hosts that stay for now: they are removed automatically, after their alert was
        open for a day."""
        left, now = await self._context.store.remainders(), self._context.clock.now()
        return StayingFiles(
            attempts=len(left),
            runs=len({each.run_id for each in left}),
            bytes=sum(each.size for each in left),
            hosts=tuple(sorted({each.host for each in left})),
            goes_at=min((at for each in left if (at := goes_at(each, now))), default=None),
        )

    async def _old_runs(self, now: float) -> list[str]:
        limit = self._context.config.limits.keep_history
        if limit is None:
            return []
        store = self._context.store
        spared = {left.run_id for left in await store.remainders()}
        spared |= {run_id for run_id, keep in (await store.keeps()).items() if keep.holds(now)}
        spared |= await self._images.pins.runs()
        return [run_id for run_id in await store.ended_before(now - limit) if run_id not in spared]

    async def _plan(
        self,
        forgotten: Collection[str],
        now: float,
        held: Collection[str] = frozenset(),
        *,
        unasked: bool = False,
    ) -> GcPlan:
        """What may be removed at a time, except files of the held runs. If a restored database does
        not know the owner, files whose deletion no user requested stay as long as outputs do."""
        context, limits = self._context, self._context.config.limits
        logs, digests = await self._old_files(now)
        known = await context.store.run_uses(now, logs, digests)
        uses = {
            use.run_id: replace(use, is_kept=use.is_kept or use.run_id in held)
            for use in known
            if use.run_id not in forgotten
        }
        sizes = await asyncio.to_thread(context.store.logs.sizes, logs & uses.keys())
        found = await asyncio.to_thread(context.content.sizes_of, digests)
        blobs = {digest: Blob(size, taken_in) for digest, (size, taken_in) in found.items()}
        restored_at = context.standing.restored_at
        if unasked and restored_at is not None and now < restored_at + limits.keep_outputs:
            blobs = without_unknown(blobs, known, restored_at)
        sources_before, pinned = now - limits.keep_sources, await self._images.pins.runs()
        return plan_gc(
            [
                _with_sizes(use, sizes.get(use.run_id, 0), sources_before, pinned)
                for use in uses.values()
            ],
            blobs,
            RetentionLimits(logs_for=limits.keep_logs, outputs_for=limits.keep_outputs),
            now,
        )

    async def _old_files(self, now: float) -> tuple[set[str], set[str]]:
        """Runs with logs, and blobs, on the disk that are old enough to be removed. The database
        excludes what younger runs need; these are not checked further."""
        context, limits = self._context, self._context.config.limits
        # Where history is kept for less long, a run that is about to be forgotten needs nothing.
        most = math.inf if limits.keep_history is None else limits.keep_history
        outputs_before = now - min(most, limits.keep_outputs)
        sources_before = now - min(most, limits.keep_sources)
        logs = await asyncio.to_thread(context.store.logs.run_ids)
        digests = await asyncio.to_thread(context.content.names)
        return (
            await context.store.old_logs(logs, now - limits.keep_logs),
            await context.store.old_blobs(digests, outputs_before, sources_before),
        )

    async def _sweep_hosts(self) -> dict[str, SweptHost | UnsweptHost]:
        """Remove on every connected host cached archives over the limit, and checkpoints that no
        run needs."""
        context = self._context
        now, keeps = context.clock.now(), await context.store.keeps()
        before = now - context.config.limits.keep_outputs
        kept = {run_id for run_id, keep in keeps.items() if keep.holds(now)}
        kept |= await self._images.pins.runs()
        needed = await context.store.runs_needed_since(before, kept)
        keep = Needed(checkpoint_keys(context.daemon_id, needed), with_builds(needed))
        names = [name for name, monitor in context.monitors.items() if monitor.is_connected]
        swept = await asyncio.gather(*(self._sweep_host(name, keep) for name in names))
        return dict(zip(names, swept, strict=True))

    async def _sweep_host(self, name: str, keep: Needed) -> SweptHost | UnsweptHost:
        context = self._context
        host, link = context.monitors[name].host, context.link(name)
        in_use = {
            digest
            for run in context.run_cache.runs()
            for digest in [run.source.digest, *_outputs(run)]
            if digest is not None
        }
        try:
            cache = {"keep": sorted(in_use), "max_bytes": context.config.limits.host_cache}
            freed = (await link.call("gc", cache, context.timings.gc_timeout))["freed"]
            checkpoints = 0
            # Where runs may still be recovered, nobody knows which checkpoints are needed.
            unsure = await self._copies.sweep(name)
            sweeps: set[str] = set() if unsure else set(host.runtimes)
            for runtime in context.runtimes.keys() & sweeps:
                checkpoints += await context.runtimes[runtime].sweep(
                    link, context.daemon_id, keep.checkpoints
                )
            images = await self._images.sweep(name, None if unsure else keep.builds)
        except HostError as error:
            return UnsweptHost(error=str(error))
        return SweptHost(freed=freed, checkpoints=checkpoints, images=images)


def _check_may(context: Context) -> None:
    """Raises ConflictError if not all runs are known: files that unknown runs need must stay."""
    context.standing.check_current()
    waiting = context.standing.unmerged([host.name for host in context.config.hosts])
    if waiting:
        raise ConflictError(
            f"the notes of {', '.join(waiting)} since the backup are not merged yet",
            remedy="reconnect the host, or remove it from the config if it is gone for good",
        )


def _with_sizes(
    use: RunUse, log_bytes: int, sources_before: float, pinned: Collection[str]
) -> RunUse:
    """The run, with the bytes of its logs, and without a snapshot that is no longer kept."""
    ended = use.finished_at
    old = ended is not None and ended < sources_before and not use.is_kept
    old = old and use.run_id not in pinned
    return replace(use, log_bytes=log_bytes, snapshot=None if old else use.snapshot)


class Needed(NamedTuple):
    """Data on hosts that runs may still need."""

    checkpoints: frozenset[str]
    """Their keys."""
    builds: frozenset[str]
    """Runs that may have built an image for these runs."""


def with_builds(runs: Collection[Run]) -> frozenset[str]:
    """These runs, and the runs whose attempts they keep."""
    kept = {attempt.run_id for run in runs for attempt in run.kept.values()}
    return frozenset({run.run_id for run in runs} | kept)


def checkpoint_keys(daemon_id: str, runs: Collection[Run]) -> frozenset[str]:
    """Keys of the checkpoints from which these runs may continue."""
    return frozenset(
        checkpoint_key(daemon_id, run, stage)
        for run in runs
        for stage in run.stages
        if stage.checkpoint is not None
    )


def _outputs(run: Run) -> list[str]:
    made = [*run.attempts, *run.kept.values()]
    return [digest for attempt in made for digest in attempt.outputs.values()]
