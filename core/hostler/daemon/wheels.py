"""Fetches packages (wheels) for stages on hosts without a package index, two downloads at a time,
and sends them there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hostler.base.errors import AgentError
from hostler.base.failpoints import failpoint
from hostler.daemon.context import Context
from hostler.model.jobs import Job
from hostler.ports import HostLink, Progress
from hostler.runtimes.process.wheels import send, wanted
from hostler.wheels.fetch import Order, fetch_all
from hostler.wheels.shelf import Shelf, Wheel

_TOGETHER = 2
"""Downloads at a time, at most one per owner, so that no user waits for all downloads of
another."""


@dataclass(slots=True)
class _Turn:
    """The downloads of one owner."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Wheels:
    """Provides wheels in the folders of attempts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._shelf: Shelf | None = None
        self._opening = asyncio.Lock()
        self._together = asyncio.Semaphore(_TOGETHER)
        self._turns: dict[str, _Turn] = {}

    async def provide(self, link: HostLink, job: Job, progress: Progress) -> None:
        """Return when all wheels of a job are in its folder, or if it has started already. Raises
        InputError, HostError, StateError."""
        context = self._context
        timings = context.timings.runtimes
        needs = await wanted(link, job, timings)
        if needs is None:
            return
        shelf, packages = await self._opened(), context.config.packages
        order = Order(needs.requirements, needs.target, packages, timings.wheels_fetch)
        async with self._turn(job.owner, progress):
            wheels = await fetch_all(order, shelf, progress)
        with shelf.using(wheels):
            failpoint("before_wheels_sent")
            try:
                await send(link, job, wheels, shelf.path, progress, timings)
            except AgentError:
                await asyncio.to_thread(_drop_damaged, shelf, wheels)
                raise
            failpoint("after_wheels_sent")

    async def _opened(self) -> Shelf:
        async with self._opening:
            if self._shelf is None:
                self._shelf = await asyncio.to_thread(Shelf, self._context.store.folder)
            return self._shelf

    @asynccontextmanager
    async def _turn(self, owner: str, progress: Progress) -> AsyncIterator[None]:
        turn = self._turns.setdefault(owner, _Turn())
        turn.waiting += 1
        progress("waiting for other downloads of packages", 0, None)
        try:
            async with turn.lock, self._together:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(owner, None)


def _drop_damaged(shelf: Shelf, wheels: tuple[Wheel, ...]) -> None:
    for wheel in wheels:
        shelf.drop_damaged(wheel.digest)
