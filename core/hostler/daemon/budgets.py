"""Measures what store and hosts keep against `kept_in_store` and `kept_on_host`, and raises the
alert; whether stages start then is in `decide.fullness`.
"""

from __future__ import annotations

import asyncio
import logging

from hostler.base.errors import StateError
from hostler.daemon.alerts import Alerts
from hostler.daemon.context import Context
from hostler.decide.fullness import host_over_budget, store_over_budget
from hostler.insight.alerts import KEPT
from hostler.model.events import EventKind

_log = logging.getLogger("hostler.daemon")


class Budgets:
    """Measures the content store; hosts report in their looks how much they keep."""

    def __init__(self, context: Context, alerts: Alerts) -> None:
        self._context = context
        self._alerts = alerts

    async def run(self) -> None:
        """Measure every minute, until cancelled."""
        while True:
            try:
                await self.measure()
            except StateError as error:
                _log.warning("the size of kept files was not measured: %s", error)
            except Exception:
                _log.exception("measuring failed: this is a bug in Hostler, please report it")
            await asyncio.sleep(self._context.timings.budgets_every)

    async def measure(self) -> None:
        """Measure how much is kept, and report when a budget is exceeded, or no longer exceeded."""
        context = self._context
        most = context.config.limits.kept_in_store
        if most is None:
            context.store_full = None
        else:
            # Images have a budget of their own, and go by themselves.
            images = {d for image in await context.store.images.all() for d in image.blobs}
            found = await asyncio.to_thread(context.content.sizes)
            blobs = {digest: each for digest, each in found.items() if digest not in images}
            size = sum(size for size, _ in blobs.values())
            owner = await context.store.stores_most(blobs) if size > most else None
            context.store_full = store_over_budget(size, most, owner)
        context.keeps_most = await context.store.keep_most()
        standing = {alert.host for alert in await self._alerts.standing(KEPT)}
        full = self._full()
        for where in full.keys() - standing:
            await self._tell(EventKind.FILES_OVER_BUDGET, full[where], where, "warning")
        for where in standing - full.keys():
            await self._tell(
                EventKind.FILES_WITHIN_BUDGET,
                "kept files are within their limit again",
                where,
                "info",
            )

    def _full(self) -> dict[str | None, str]:
        """Host over its budget (None: the store) -> what it keeps."""
        context, most = self._context, self._context.config.limits.kept_on_host
        found: dict[str | None, str] = {}
        if context.store_full is not None:
            found[None] = context.store_full
        for name, monitor in context.monitors.items():
            said = host_over_budget(monitor.host, most, context.keeps_most.get(name))
            if said is not None:
                found[name] = f"{name}: {said}"
        return found

    async def _tell(self, kind: EventKind, said: str, where: str | None, severity: str) -> None:
        event = self._context.event(kind, said, host=where, severity=severity)
        await self._context.tell(event)
