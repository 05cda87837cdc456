"""Deletes kept files on hosts after their time, or on request; when that is and when it is
announced is in `decide.expiry`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from hostler.base.errors import HostlerError, StateError
from hostler.daemon.alerts import Alerts
from hostler.daemon.context import Context
from hostler.daemon.kept_there import KeptThere
from hostler.decide.expiry import (
    Expiry,
    describe,
    is_held,
    longer,
    plan_expiry,
)
from hostler.insight.alerts import EXPIRY, RULES, Alert
from hostler.model.events import EventKind
from hostler.model.hosts import Workload
from hostler.model.records import NewEvent, Remainder

_log = logging.getLogger("hostler.daemon")


class Cleared(NamedTuple):
    """Files that a user had removed from a host."""

    gone: tuple[Remainder, ...]
    stays: tuple[str, ...]
    """What stays and why, in sentences."""


class Expirer:
    """Plans expiry, then announces and removes."""

    def __init__(self, context: Context, alerts: Alerts) -> None:
        self._context = context
        self._alerts = alerts
        self._there = KeptThere(context)
        self._asked_at: float | None = None
        self._fetching: Counter[str] = Counter()
        self._complained: set[str] = set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Check from time to time, until cancelled."""
        while True:
            try:
                await self.step()
            except StateError as error:
                _log.warning("files kept on hosts were not checked: %s", error)
            except Exception:
                _log.exception("expiry failed: this is a bug in Hostler, please report it")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._context.timings.expiry_every):
                    await self._news.wait()
            self._news.clear()

    def soon(self) -> None:
        """Check at once: a user has removed something."""
        self._news.set()

    async def step(self) -> Expiry:
        """Announce files that expire soon, and remove expired files on reachable hosts."""
        if self._context.standing.halted():
            return Expiry()
        store, now = self._context.store, self._context.clock.now()
        await self._there.check()
        async with self._context.removing:
            await self._extend()
            left = await store.remainders()
            standing = {a.key[-1]: _kind(a) for a in await self._alerts.standing(EXPIRY)}
            made = plan_expiry(left, self._open_runs(), standing, self._ran(now), now)
            if made.stood or made.notices or made.over:
                await store.note_standing(made.stood, self._events(made))
                self._context.hub.publish()
        for each in made.go:
            await self._remove(each.attempt_id)
        return made

    @contextlib.contextmanager
    def fetching(self, attempt_id: str) -> Iterator[None]:
        """Files of an attempt on a host are not removed while a user fetches them."""
        self._fetching[attempt_id] += 1
        try:
            yield
        finally:
            self._fetching[attempt_id] -= 1

    def _ran(self, now: float) -> float:
        """Seconds since the last call, while this daemon ran. Calls are frequent: if the time is
        longer, the daemon was suspended meanwhile, when no user could see an alert."""
        before, self._asked_at = self._asked_at, now
        return (
            0.0
            if before is None
            else min(max(0.0, now - before), 2 * self._context.timings.expiry_every)
        )

    async def _extend(self) -> None:
        store = self._context.store
        more = longer(await store.remainders(), self._context.config.limits.keep_jobs)
        if more:
            await store.extend_remainders(more)

    def _open_runs(self) -> set[str]:
        return {run.run_id for run in self._context.run_cache.runs()}

    def _events(self, made: Expiry) -> list[NewEvent]:
        context = self._context
        return [
            *(
                context.event(n.kind, n.message, run_id=n.run_id, severity=n.severity)
                for n in made.notices
            ),
            *(
                context.event(
                    EventKind.FILES_EXPIRY_OVER,
                    f"no files of run {r} are about to be removed",
                    run_id=r,
                )
                for r in made.over
            ),
        ]

    async def _remove(self, attempt_id: str) -> None:
        """Remove it from its host, unless the host is unreachable, or a user has since kept it or
        started to fetch it."""
        context = self._context
        async with self._context.removing:
            left = await self._known(attempt_id)
            if left is None or self._fetching[attempt_id]:
                return
            if not context.may_clean(left.host):
                return
            if context.standing.is_unmerged(left.host):
                return
            if left.given_up_by is None and is_held(left, self._open_runs(), context.clock.now()):
                return
            try:
                await self._remove_from_host(left)
            except (HostlerError, TimeoutError) as error:
                await self._complain(left, error)
                return
            await context.store.remove_remainder(attempt_id, self._removed(left))
            self._complained.discard(attempt_id)
            context.hub.publish()

    async def _known(self, attempt_id: str) -> Remainder | None:
        """The kept files of an attempt, as of now."""
        found = await self._context.store.remainders()
        return next((each for each in found if each.attempt_id == attempt_id), None)

    async def clear(
        self, host: str, by: str, *, dry_run: bool, shown_at: float | None = None
    ) -> Cleared:
        """Remove all kept files on a host, or only list them, at a user's request. Files that an
        open run or a user needs, that are being fetched, or that were not listed before, stay."""
        gone, stays, new = [], [], await self._ended_since(shown_at)
        for left in await self._context.store.remainders(host=host):
            if left.run_id in new or (shown_at is not None and left.since > shown_at):
                stays.append(
                    f"kept files of {left.attempt_id} not removed: not in the list that was "
                    "confirmed"
                )
            elif dry_run:
                why = self._needed(left)
                if why is None:
                    gone.append(left)
                else:
                    stays.append(f"kept files of {left.attempt_id} not removed: {why}")
            elif await self._clear(left.attempt_id, by, stays):
                gone.append(left)
        return Cleared(tuple(gone), tuple(stays))

    async def _ended_since(self, at: float | None) -> set[str]:
        if at is None:
            return set()
        return {run.run_id for run in await self._context.store.runs_needed_since(at, ())}

    def _needed(self, left: Remainder) -> str | None:
        """Why it may not be removed even if a user requests that."""
        if is_held(left, self._open_runs(), self._context.clock.now()):
            return f"kept by {left.kept_by}" if left.kept_by else "its run is open"
        return "being fetched" if self._fetching[left.attempt_id] else None

    async def _clear(self, attempt_id: str, by: str, stays: list[str]) -> bool:
        async with self._context.removing:
            # Each removal takes its time, and in that of others people keep and fetch runs.
            left = await self._known(attempt_id)
            if left is None:
                return False
            why = self._needed(left)
            if why is not None:
                stays.append(f"kept files of {attempt_id} not removed: {why}")
                return False
            left = replace(left, given_up_by=by)
            try:
                await self._remove_from_host(left)
            except (HostlerError, TimeoutError) as error:
                stays.append(f"kept files of {left.attempt_id} not removed: {error or 'no answer'}")
                return False
            said = f"{describe([left])} were removed: {left.given_up_by} cleaned {left.host}"
            event = self._context.event(
                EventKind.FILES_REMOVED,
                said,
                run_id=left.run_id,
                host=left.host,
                actor=left.given_up_by,
            )
            await self._context.store.remove_remainder(left.attempt_id, event)
        self._context.hub.publish()
        return True

    async def _remove_from_host(self, left: Remainder) -> None:
        context = self._context
        ended = Workload(
            left.attempt_id, context.daemon_id, left.runtime, left.ref, running=False, exit_code=0
        )
        async with asyncio.timeout(context.timings.expiry_timeout):
            await context.runtimes[left.runtime].remove(context.link(left.host), ended)

    def _removed(self, left: Remainder) -> NewEvent:
        why = "their retention time has passed"
        if left.given_up_by is not None:
            why = f"{left.given_up_by} removed the run"
        return self._context.event(
            EventKind.FILES_REMOVED,
            f"{describe([left])} were removed: {why}",
            # Of a run that is no more, no event is kept by its name.
            run_id=left.run_id if left.given_up_by is None else None,
            host=left.host,
            actor=left.given_up_by,
        )

    async def _complain(self, left: Remainder, error: Exception) -> None:
        """Report the failure, once for each: the removal is tried again."""
        _log.warning("%s is not removed from %s: %s", left.attempt_id, left.host, error)
        if left.attempt_id in self._complained or isinstance(error, StateError):
            return
        self._complained.add(left.attempt_id)
        said = f"{describe([left])} could not be removed: {error or 'the host did not answer'}"
        await self._context.tell(
            self._context.event(
                EventKind.FILES_NOT_REMOVED, said, severity="warning", host=left.host
            )
        )


def _kind(alert: Alert) -> str:
    """The kind of its event."""
    return (
        EventKind.FILES_EXPIRING_FETCHED
        if alert.rule == RULES[EventKind.FILES_EXPIRING_FETCHED]
        else EventKind.FILES_EXPIRING
    )
