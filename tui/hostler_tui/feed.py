"""How often the screen asks the daemon for GPUs, open runs (and how many), alerts and the last
hour, and the pauses between reconnects.

The fleet is asked for once a second. Open runs are asked for when the event log says that
something happened, and at most once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from textual.message import Message

from hostler.base.errors import HostlerError, NotFoundError
from hostler.client import AsyncClient
from hostler.client.call import Decode
from hostler.client.calls import show
from hostler.model.views.runs import RunDetail
from hostler_tui.messages import (
    AlertsSeen,
    DaemonLost,
    DaemonMet,
    FleetSeen,
    HourSeen,
    RunsSeen,
)
from hostler_tui.service_feed import ServiceFeed

T = TypeVar("T")

FLEET_EVERY = 1.0
"""Seconds between two requests for the fleet."""
RUNS_EVERY = 1.0
"""Seconds between two requests for the open runs, at least."""
HOUR_EVERY = 15.0
"""Seconds between two requests for the fleet's last hour."""
ALERTS_EVERY = 15.0
"""Seconds between two requests for alerts while nothing happens."""
ALERTS_REST = 2.0
"""Seconds between two requests for alerts, at least."""
RETRIES = (1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds until the next try while the daemon does not answer; the last is repeated."""
MOST_RUNS = 60
"""The most open runs whose stages are followed."""


class Reader(Generic[T]):
    """Makes a value of an answer, and gives the same value again for an equal answer: to compare
    costs a fraction of making one, and most open runs are as they were a second ago."""

    def __init__(self, decode: Decode[T]) -> None:
        self._decode = decode
        self._known: tuple[object, T] | None = None

    def __call__(self, answer: object) -> T:
        if self._known is None or self._known[0] != answer:
            self._known = answer, self._decode(answer)
        return self._known[1]


class Feed:
    """Queries one daemon and passes on its answers."""

    def __init__(self, client: AsyncClient, tell: Callable[[Message], object]) -> None:
        self._client, self._tell = client, tell
        self._wake = asyncio.Event()
        self._happened = asyncio.Event()
        self._alarm = asyncio.Event()
        self.services = ServiceFeed(client, tell)
        self._is_met = False
        self._lost = 0
        self._seq = 0
        self._readers: dict[str, Reader[RunDetail]] = {}

    @property
    def newest_event(self) -> int:
        """The number of the latest event."""
        return self._seq

    def refresh(self) -> None:
        """Request everything now."""
        self._wake.set()
        self._wake_others()

    def _wake_others(self) -> None:
        self._happened.set()
        self._alarm.set()
        self.services.wake()

    async def follow_fleet(self) -> None:
        """Endless: fetch the fleet, and check whether the daemon answers."""
        while True:
            try:
                if not self._is_met:
                    await self._client.version()
                    self._is_met = True
                    self._wake_others()
                    self._tell(DaemonMet())
                fleet = await self._client.gpus()
                self._lost = 0
                self._tell(FleetSeen(fleet, time.time()))
                pause = FLEET_EVERY
            except HostlerError as error:
                self._is_met = False
                pause = RETRIES[min(self._lost, len(RETRIES) - 1)]
                self._lost += 1
                self._tell(DaemonLost(str(error), time.time()))
            await self._pause(self._wake, pause)

    async def follow_runs(self) -> None:
        """Endless: fetch the open runs, after each event and every few seconds."""
        while True:
            begun = time.monotonic()
            try:
                self._tell(await self._open_runs())
            except HostlerError:
                await self._pause(self._happened, RUNS_EVERY)  # the other one tells of it
                continue
            spent = time.monotonic() - begun
            await asyncio.sleep(max(0.0, RUNS_EVERY - spent))
            await self._pause(self._happened, 2 * RUNS_EVERY)

    async def follow_events(self) -> None:
        """Endless: wait for events."""
        while True:
            try:
                if not self._seq:
                    self._seq = await self._newest()
                async for line in self._client.events(after=self._seq, follow=True):
                    if line.event is not None:
                        self._seq = line.event.seq
                        self._wake_others()
            except HostlerError:
                pass  # the fleet's question tells of it
            await asyncio.sleep(RUNS_EVERY)

    async def follow_hour(self) -> None:
        """Endless: fetch the fleet's last hour."""
        while True:
            with contextlib.suppress(HostlerError):  # the fleet's question tells of it
                self._tell(HourSeen(await self._client.fleet_history()))
            await asyncio.sleep(HOUR_EVERY)

    async def follow_alerts(self) -> None:
        """Endless: fetch the alerts, soon after an event."""
        while True:
            with contextlib.suppress(HostlerError):  # the fleet's question tells of it
                told = await self._client.alerts()
                self._tell(AlertsSeen(told.alerts, told.open))
            await asyncio.sleep(ALERTS_REST)
            await self._pause(self._alarm, ALERTS_EVERY)

    async def _newest(self) -> int:
        """The number of the newest event; 0 if there is none."""
        found = 0
        async for line in self._client.events(limit=1):
            found = line.event.seq if line.event is not None else found
        return found

    async def _open_runs(self) -> RunsSeen:
        summaries = await self._client.runs(state="open", limit=MOST_RUNS + 1)
        readers, found = self._readers, []
        self._readers = {}
        for summary in reversed(summaries[:MOST_RUNS]):
            call = show(summary.run_id)
            reader = readers.get(summary.run_id) or Reader(call.decode)
            try:
                found.append(await self._client.request(replace(call, decode=reader)))
            except NotFoundError:
                continue  # removed between the two questions
            self._readers[summary.run_id] = reader
        return RunsSeen(tuple(found), are_more=len(summaries) > MOST_RUNS)

    async def _pause(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        event.clear()
