"""After a restore from a backup: merges each host's notes since the backup into the database,
before work begins there; decisions: `decide.merging`.

Until a host's turn has come nothing is started, ended or removed there (see `Host.unmerged`). Every
step may be repeated; the host counts as merged once all of them are durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hostler.base.errors import ConflictError, HostlerError, NotFoundError
from hostler.daemon.after import add_to_cache
from hostler.daemon.context import Context
from hostler.daemon.copy_reading import read_copies, read_ends
from hostler.daemon.recover import artifacts_of, still_here
from hostler.daemon.recover_services import (
    LostService,
    known_services,
    lost_services,
    restore_service,
    wish_again,
)
from hostler.daemon.service_notes import read_services
from hostler.decide.merging import (
    End,
    RunNews,
    closed,
    in_the_way,
    merging_order,
    news_of,
)
from hostler.decide.recovery import Kept, as_followed, noted_artifacts
from hostler.decide.releases.notes import Told, choose
from hostler.model.events import EventKind
from hostler.model.hosts import HostCondition
from hostler.model.runs import Attempt, Outcome, what_changed
from hostler.store.copy_key import note_ended

_log = logging.getLogger("hostler.daemon")


@dataclass(slots=True)
class _Told:
    """The notes of one host, and the results of merging them."""

    host: str
    ends: Sequence[End]
    kept: Sequence[Kept]
    """Copies of runs that are completely signed by this daemon."""
    unsigned: int
    problems: list[str]
    noted: Sequence[Told]
    """Its signed notes about services."""
    found: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    def sentence(self) -> str:
        """The results, for users."""
        said = f"{self.host}: merged its notes since the backup: "
        said += f"{len(self.found)} runs recovered, {len(self.ended)} runs ended"
        if self.unsigned:
            said += f"; {self.unsigned} unsigned runs ignored (see hostler daemon recover)"
        return said + "".join(f"; {problem}" for problem in self.problems[:3])


class Merger:
    """Merges the notes of hosts that answer; hosts that come together are merged together."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def seen(self, host: str) -> None:
        """A host that is not merged yet has answered."""
        self._waiting[host] = None
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="merge what hosts have noted")

    async def close(self) -> None:
        """End the running work; the next start begins again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        try:
            await self._wait_for_others()
            hosts = self._context.standing.unmerged(self._waiting)
            self._waiting = {}
            told = await asyncio.gather(*(self._read(host) for host in hosts))
            await self._merge([one for one in told if one is not None])
        except HostlerError as error:
            _log.warning("the notes on hosts are not merged yet: %s", error)
        except Exception:
            _log.exception("merging the notes of hosts: this is a bug in Hostler")

    async def _wait_for_others(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._context.timings.merge_together
        while asyncio.get_running_loop().time() < deadline:
            monitors = self._context.monitors.values()
            if not any(k.host.condition is HostCondition.CONNECTING for k in monitors):
                return
            await asyncio.sleep(self._context.timings.merge_tick)

    async def _read(self, host: str) -> _Told | None:
        """All notes of a host; None if they cannot be read: the next look tries again."""
        context, problems = self._context, self._context.standing.problems
        try:
            async with asyncio.timeout(self._context.timings.merge_timeout):
                link = context.link(host)
                ends = await read_ends(link, context.signer)
                kept, unreadable = await read_copies(link, context.signer)
                noted, more = await read_services(link, context.signer)
        except TimeoutError:
            problems[host] = (
                f"its notes could not be read within {self._context.timings.merge_timeout:g} s"
            )
            return None
        except HostlerError as error:
            problems[host] = str(error)
            _log.info("the notes on %s are not merged yet: %s", host, error)
            return None
        signed = [item for item in kept if not item.spec_doubt and not item.notes_doubt]
        left = len(kept) - len(signed)
        trusted = [each for each in noted if not each.doubt]
        return _Told(host, ends, signed, left, [*unreadable, *more], trusted)

    async def _merge(self, told: Sequence[_Told]) -> None:
        """Merge first the ends on all of the hosts, then the starts."""
        for one in told:
            for end in one.ends:
                await self._end(end, one)
        for run_id in self._context.standing.ended & {
            r.run_id for r in self._context.run_cache.runs()
        }:
            await self._end_run(End(run_id, None, self._context.clock.now()), "this daemon's files")
        for one in told:
            for item in one.kept:
                await self._take(item, one)
        begun = [(a, one) for one in told for item in one.kept for a in self._added(item)]
        for attempt, one in sorted(begun, key=lambda pair: merging_order(pair[0])):
            await self._add(attempt, one)
        await self._take_services(told)
        for one in told:
            await self._keep_files(one)
            await self._finished(one)

    async def _take_services(self, told: Sequence[_Told]) -> None:
        """Add services that the database does not know, or knows less about; after all runs."""
        noted = [each for one in told for each in one.noted]
        if not noted:
            return
        from hostler.daemon.releases import show_recovered

        context, ended = self._context, self._context.standing.ended
        found, _ = choose(noted, await known_services(context.store))
        for service in lost_services(found, context.signer):
            try:
                for run_id in await restore_service(context.store, service, ended, None):
                    await self._came_back(run_id)
            except ConflictError as error:
                said = f"service {service.name} could not be merged: {error.message}"
                next(one for one in told if one.host in service.found.hosts).problems.append(said)
            await self._show_wishes(service)
            await show_recovered(context, service.name)

    async def _came_back(self, run_id: str) -> None:
        """Note a restored release's run that no host holds: it starts again once all hosts are
        merged."""
        context = self._context
        await context.store.generations.add_restored([run_id])
        context.standing.restored_runs.add(run_id)
        await add_to_cache(context, await context.store.get_run(run_id))

    async def _show_wishes(self, service: LostService) -> None:
        for run_id in service.runs:
            if self._context.run_cache.find(run_id) is not None:
                stored = await self._context.store.get_run(run_id)
                self._context.run_cache.change(run_id, services=stored.services)

    async def _finished(self, told: _Told) -> None:
        context, now = self._context, self._context.clock.now()
        severity = "warning" if told.problems or told.unsigned else "info"
        event = context.event(
            EventKind.HOST_MERGED, told.sentence(), host=told.host, severity=severity
        )
        await context.store.generations.mark_merged(told.host, now, event)
        context.standing.merged.add(told.host)
        context.standing.problems.pop(told.host, None)
        monitor = context.monitors.get(told.host)
        if monitor is not None:
            monitor.merged()
        context.look_soon(told.host)
        context.hub.publish()

    async def _end(self, end: End, told: _Told) -> None:
        standing = self._context.standing
        if end.run_id not in standing.ended:
            await asyncio.to_thread(note_ended, self._context.store.folder, end.run_id)
            standing.ended.add(end.run_id)
        if await self._end_run(end, told.host):
            told.ended.add(end.run_id)

    async def _end_run(self, end: End, whose: str) -> bool:
        """Store the end of a run that is open in the backup."""
        context = self._context
        run = context.run_cache.find(end.run_id)
        if run is None:
            return False
        for attempt in [a for a in run.attempts if not a.phase.is_final]:
            await self._change(attempt, closed(attempt, end.at))
        outcome = end.outcome or Outcome.CANCELLED
        how = end.outcome.value if end.outcome is not None else "ended"
        event = context.event(
            EventKind(f"run.{outcome}"),
            f"run {run.run_id} ({run.pipeline}) {how} after the backup, according to {whose}",
            run_id=run.run_id,
        )
        await context.store.end_run(run.run_id, outcome, end.at, event)
        context.run_cache.drop(run.run_id, outcome)
        await context.secrets.drop(run.run_id)
        return True

    async def _news(self, item: Kept) -> RunNews | None:
        """The news about a run; None if it has ended, or a user removed it."""
        context = self._context
        known = context.run_cache.find(item.run.run_id)
        if known is None and await context.is_over(item.run.run_id):
            return None
        return news_of(item, known, context.daemon_id)

    async def _take(self, item: Kept, told: _Told) -> None:
        """Store a run that the database does not know, and ends of attempts that are open there."""
        news = await self._news(item)
        if news is None:
            return
        if news.is_new:
            await self._create(news, told)
        for before, ended in news.ended:
            await self._change(before, ended)
        await self._wishes(news)

    async def _create(self, news: RunNews, told: _Told) -> None:
        context, run = self._context, news.run
        digest = run.source.digest
        lacks = digest is not None and not context.content.has(digest)
        where = told.host
        said = f"recovered run {run.run_id} ({run.pipeline}), newer than the backup, from {where}"
        if lacks:
            said += "; its source is missing in content: stages that have not started will fail"
        event = context.event(
            EventKind.RUN_RECOVERED,
            said,
            run_id=run.run_id,
            severity="warning" if lacks else "info",
        )
        await context.store.generations.add_restored([run.run_id])
        context.standing.restored_runs.add(run.run_id)
        try:
            await context.store.create_run(run, news.pipeline_text, [event])
        except ConflictError as error:
            told.problems.append(f"run {run.run_id} could not be merged: {error.message}")
            return
        told.found.add(run.run_id)
        await add_to_cache(context, run)

    async def _wishes(self, news: RunNews) -> None:
        context, run_id = self._context, news.run.run_id
        if context.run_cache.find(run_id) is None:
            return
        if (by := news.cancelled_by) is not None:
            context.run_cache.change(run_id, **await context.store.request_cancel(run_id, by))
        if (priority := news.priority) is not None:
            lowered = await context.store.lower_priority(run_id, priority)
            context.run_cache.change(run_id, **lowered)
        for base, wish in news.services.items():
            context.run_cache.change(run_id, **await wish_again(context.store, run_id, base, wish))

    def _added(self, item: Kept) -> Iterable[Attempt]:
        known = self._context.run_cache.find(item.run.run_id)
        return news_of(item, known, self._context.daemon_id).added if known is not None else ()

    async def _add(self, attempt: Attempt, told: _Told) -> None:
        """Store an attempt that started after the backup."""
        context = self._context
        run = context.run_cache.find(attempt.run_id)
        attempt = as_followed(attempt, run.attempts if run is not None else ())
        for before, ended in in_the_way(attempt, context.run_cache.open_attempts()):
            await self._change(before, ended)
        try:
            await context.store.add_attempt(attempt)
        except (ConflictError, NotFoundError) as error:
            told.problems.append(f"{attempt.attempt_id} could not be merged: {error.message}")
            return
        context.earlier.add(attempt.attempt_id)
        context.run_cache.add_attempt(attempt)
        context.run_cache.sort_attempts(attempt.run_id)
        await self._keep_outputs(attempt)

    async def _change(self, before: Attempt, ended: Attempt) -> None:
        """Store the end of an attempt that is open in the database, as it was `before`."""
        context = self._context
        changes = what_changed(before, ended)
        said = f"{ended.stage} {ended.phase.value} on {ended.host} after the backup"
        await context.change_attempt(
            ended.attempt_id,
            lambda now: None if now.phase.is_final else changes,
            context.event(EventKind.ATTEMPT_RECOVERED, said, ended),
        )
        await self._keep_outputs(ended)

    async def _keep_files(self, told: _Told) -> None:
        """Store what was saved after the backup, if its bytes are in the content store."""
        context = self._context
        noted = (artifact for item in told.kept for artifact in noted_artifacts(item))
        for artifact in still_here(noted, context.content):
            with contextlib.suppress(NotFoundError):  # of an attempt that was not taken
                await context.store.add_artifact(artifact)

    async def _keep_outputs(self, attempt: Attempt) -> None:
        for artifact in artifacts_of(attempt, self._context.content):
            await self._context.store.add_artifact(artifact)
