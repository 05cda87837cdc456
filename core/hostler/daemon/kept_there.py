"""Compares the lists of kept files on hosts with the database: adopts unknown ones for at most 90
days, and gives up those that no host has.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import NamedTuple

from hostler.base.errors import HostError
from hostler.daemon.context import Context
from hostler.decide.expiry import DAY, describe
from hostler.model.codec import from_json
from hostler.model.events import EventKind
from hostler.model.files import KeptFolder
from hostler.model.records import AttemptFilter, Remainder
from hostler.model.runtimes import traits_of

_log = logging.getLogger("hostler.daemon")

_MOST_ADOPTED = 1000
_MOST_LISTED = 10_000
"""The agents' limit: a list of this length may be cut."""
_LONGEST_S = 90 * DAY


class Difference(NamedTuple):
    """Kept folders that only the database or only the host knows."""

    lost: tuple[Remainder, ...]
    """A user or program has removed them from the host."""
    unknown: tuple[KeptFolder, ...]
    """They are on the host, unknown to the database, and would never be removed."""
    missing: tuple[Remainder, ...]
    """The host does not list them: they may be gone, or unreadable for now."""


def compare(left: Collection[Remainder], told: Collection[KeptFolder]) -> Difference:
    """Compare the database with a host's list."""
    gone = {folder.attempt_id for folder in told if not folder.exists}
    known = {each.attempt_id for each in left}
    named = {folder.attempt_id for folder in told}
    is_whole = len(told) < _MOST_LISTED
    return Difference(
        tuple(each for each in left if each.attempt_id in gone),
        tuple(f for f in told if f.exists and f.attempt_id not in known)[:_MOST_ADOPTED],
        tuple(each for each in left if is_whole and each.attempt_id not in named),
    )


class KeptThere:
    """Queries a host if its looks report another number than the database, and from time to
    time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._asked: dict[str, float] = {}
        self._missing: dict[str, float] = {}
        """Attempt -> since when its host has not listed it."""

    async def check(self) -> None:
        """Compare with every host that is connected. Raises StateError."""
        for name, monitor in list(self._context.monitors.items()):
            if not self._context.may_clean(name) or monitor.host.look is None:
                continue
            if self._context.standing.is_unmerged(name):
                continue
            left = await self._context.store.remainders(host=name)
            if len(left) == monitor.host.look.kept.count and not self._is_due(name, left):
                continue
            try:
                await self._compare(name, left)
            except HostError as error:
                _log.info("the kept files of %s are unknown: %s", name, error)

    def _is_due(self, host: str, left: Collection[Remainder]) -> bool:
        asked = self._asked.get(host)
        return bool(left) and (
            asked is None or self._context.clock.now() - asked > self._context.timings.kept_every
        )

    async def _compare(self, host: str, left: Collection[Remainder]) -> None:
        context = self._context
        answer = await context.link(host).call(
            "kept.list", {"daemon_id": context.daemon_id}, context.timings.kept_timeout
        )
        self._asked[host] = context.clock.now()
        found = compare(left, [from_json(KeptFolder, told) for told in answer["kept"]])
        missing = [each for each in found.missing if not self._may_be_there(host, each)]
        for each in (*found.lost, *self._given_up(left, missing)):
            said = f"{describe([each])} no longer exist: someone removed them on the host"
            event = context.event(
                EventKind.FILES_LOST, said, run_id=each.run_id, host=host, severity="warning"
            )
            await context.store.remove_remainder(
                each.attempt_id, event if each.given_up_by is None else None
            )
        for folder in found.unknown:
            await self._adopt(host, folder)
        context.hub.publish()

    def _may_be_there(self, host: str, left: Remainder) -> bool:
        """Whether it may exist, but is not marked as kept or cannot be seen: then `Stays.again`
        marks it."""
        look = self._context.monitors[host].host.look
        if look is None or traits_of(left.runtime).unseen(look) is not None:
            return True
        return any(work.attempt_id == left.attempt_id for work in look.workloads)

    def _given_up(
        self, left: Collection[Remainder], missing: Collection[Remainder]
    ) -> list[Remainder]:
        """Folders that have been missing for a while, and whose attempt is over: one that is just
        being kept is in the database first."""
        now, still = self._context.clock.now(), {each.attempt_id for each in missing}
        for each in left:
            if each.attempt_id not in still:
                self._missing.pop(each.attempt_id, None)
        since = {
            each.attempt_id: self._missing.setdefault(each.attempt_id, now) for each in missing
        }
        return [
            each
            for each in missing
            if now - since[each.attempt_id] >= self._context.timings.kept_missing
            and self._context.run_cache.attempt(each.attempt_id) is None
        ]

    async def _adopt(self, host: str, folder: KeptFolder) -> None:
        """Take over the kept files of an ended attempt that ran there."""
        context, now = self._context, self._context.clock.now()
        run_id = folder.attempt_id.partition("-")[0]
        there = await context.store.attempts(AttemptFilter(run_id=run_id, host=host))
        attempt = next((a for a in there if a.attempt_id == folder.attempt_id), None)
        if attempt is None or not attempt.phase.is_final:
            return
        least = now + context.config.limits.keep_jobs
        await context.store.add_remainder(
            Remainder(
                attempt_id=attempt.attempt_id,
                run_id=attempt.run_id,
                stage=attempt.stage,
                host=host,
                runtime=attempt.runtime,
                ref=folder.ref,
                path=folder.path,
                files=folder.files,
                size=folder.bytes,
                since=now,
                until=max(least, min(folder.until, now + _LONGEST_S)),
                why="found on its host",
            )
        )
