"""Counts requests of services from the gateway's log, and stores the counts per minute."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hostler.base.errors import HostError, NotFoundError, StateError
from hostler.daemon.context import Context
from hostler.decide.routes import Routes
from hostler.gateway.control import Gateway
from hostler.gateway.traffic import Counted, news
from hostler.insight.traffic import traffic_view
from hostler.model.runs import Run
from hostler.model.traffic import NOBODY, Traffic, TrafficKey, TrafficRow, together
from hostler.model.views.traffic import TrafficView
from hostler.store.traffic import TrafficStore

_log = logging.getLogger("hostler.daemon")
_RECENT_S = 60.0
_MINUTE = 60
_LONGEST_GAP_S = 3600.0
_MOST_ASKED = 20
"""Most runs looked up at a time: a host may report any names."""
_MOST_WAITING = 10_000
"""Most rows that wait to be written: if the disk is full, they must not fill the memory."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """The traffic between two answers."""

    at: float
    seconds: float
    traffic: Mapping[TrafficKey, Traffic]


class TrafficCounter:
    """Stores the counts of one gateway at a time, each count once: a reader's counts are identified
    by its start time, and it ends with its agent."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._gateway: Gateway | None = None
        self._before: Counted | None = None
        self._at: float | None = None
        self._gap = 0.0
        """Seconds before the reader's restart whose requests it may still report."""
        self._due = 0.0
        self._keys: dict[str, TrafficKey | None] = {}
        """Keys of the servers in the last answer; None: not an attempt of this daemon."""
        self._recent: deque[_Taken] = deque()
        self._rows: dict[tuple[TrafficKey, int], Traffic] = {}
        self._counted: dict[int, float] = {}
        self._trouble = ""

    async def take(self, gateway: Gateway, routes: Routes) -> None:
        """Ask for the counts of the gateway's log, if it is time, and store the new ones."""
        now = self._context.clock.now()
        if gateway is not self._gateway:
            self._gateway, self._before, self._due = gateway, None, now
        if now < self._due:
            return
        self._due = now + self._context.timings.traffic_every
        try:
            counted = await gateway.counts()
            await self._learn({server for _, server in counted.servers} - {NOBODY})
            if self._before is None or self._before.since != counted.since:
                await self._begin()
            self._add(counted, routes)
            await self._write()
            self._trouble = ""
        except (HostError, StateError) as error:
            self._tell(str(error))

    def recent(self, key: TrafficKey) -> TrafficView | None:
        """The traffic of the last minute. None: unknown."""
        begin = self._context.clock.now() - _RECENT_S
        taken = [each for each in self._recent if each.at > begin]
        seconds = sum(each.seconds for each in taken)
        if not seconds:
            return None
        found = together(each.traffic[key] for each in taken if key in each.traffic)
        return traffic_view(found, taken[0].at - taken[0].seconds, seconds)

    async def _begin(self) -> None:
        """Start with a new reader: note how long requests may not have been counted."""
        now, last = self._context.clock.now(), self._at
        if last is None:
            stored = await TrafficStore(*self._context.store.metrics.connections).last_counted()
            last = now - self._context.timings.traffic_every if stored is None else stored
        self._gap = min(_LONGEST_GAP_S, max(self._gap, now - last, 0.0))
        self._at = now

    def _add(self, counted: Counted, routes: Routes) -> None:
        now = self._context.clock.now()
        came = dict(self._by_key(counted, news(self._before, counted), routes))
        seconds = max(0.0, now - self._at) if self._at is not None else 0.0
        if came:
            seconds, self._gap = seconds + self._gap, 0.0
        self._before, self._at = counted, now
        self._recent.append(_Taken(now, seconds, came))
        while self._recent[0].at <= now - _RECENT_S:
            self._recent.popleft()
        if len(self._rows) > _MOST_WAITING:
            return
        minute = int(now) // _MINUTE * _MINUTE
        for key, traffic in came.items():
            self._rows[key, minute] = self._rows.get((key, minute), Traffic()).plus(traffic)
        if seconds:
            self._counted[minute] = self._counted.get(minute, 0.0) + seconds

    def _by_key(
        self, counted: Counted, came: Mapping[tuple[str, str], Traffic], routes: Routes
    ) -> Iterator[tuple[TrafficKey, Traffic]]:
        """Traffic by run and stage. A request that reached no replica counts for the live
        release."""
        served = {at.name: key for key, at in reversed(routes.served.items())}
        found: dict[TrafficKey, list[Traffic]] = {}
        for (service, server), traffic in came.items():
            key = served.get(service) if server == NOBODY else self._keys.get(server)
            if key is not None:
                found.setdefault(key, []).append(traffic)
        for key, parts in found.items():
            yield key, together(parts)

    async def _learn(self, servers: set[str]) -> None:
        """Learn which attempts the servers are, and forget servers that are gone. For an ended run,
        the database is read."""
        if servers - self._keys.keys():
            self._keys |= dict(_attempts(self._context.run_cache.runs()))
        unknown = sorted(servers - self._keys.keys())
        for run_id in list(dict.fromkeys(name.partition("-")[0] for name in unknown))[:_MOST_ASKED]:
            with contextlib.suppress(NotFoundError):
                self._keys |= dict(_attempts([await self._context.store.get_run(run_id)]))
        self._keys = {name: self._keys.get(name) for name in servers}

    async def _write(self) -> None:
        rows, counted = dict(self._rows), dict(self._counted)
        if not rows and not counted:
            return
        given = [TrafficRow(*key, minute, traffic) for (key, minute), traffic in rows.items()]
        await TrafficStore(*self._context.store.metrics.connections).add(given, counted)
        self._rows.clear()
        self._counted.clear()

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("requests were not counted: %s", trouble)
        self._trouble = trouble


def _attempts(runs: Iterable[Run]) -> Iterator[tuple[str, TrafficKey]]:
    for run in runs:
        bases = {stage.name: stage.base for stage in run.stages if stage.service is not None}
        for attempt in run.attempts:
            if attempt.stage in bases:
                yield attempt.attempt_id, (run.run_id, bases[attempt.stage])
