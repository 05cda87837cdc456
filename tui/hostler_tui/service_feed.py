"""How often the screen asks for services, releases and requests, and of how many services
requests are asked for.

Services are asked for every few seconds while there are any. Releases of a service are asked for
again where something of it changed, while one is open, and now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from textual.message import Message

from hostler.base.errors import HostlerError, NotFoundError
from hostler.client import AsyncClient
from hostler.model.views.services import ReleaseView, ServiceView
from hostler.model.views.traffic import TrafficHistory
from hostler_tui.messages import ServicesSeen, TrafficSeen
from hostler_tui.services import Service, grouped

REST = 1.0
"""Seconds between two requests, at least."""
SERVICES_EVERY = 2.0
"""Seconds between two requests for services, if there are any."""
NO_SERVICES_EVERY = 15.0
"""Seconds until the next request if there is none, and nothing happens."""
RELEASES_EVERY = 10.0
"""Seconds for which fetched releases of a service stay valid while the service does not change."""
TRAFFIC_EVERY = 10.0
"""Seconds between two requests for the last hour of a gateway's services."""
MOST_COUNTED = 40
"""The most services whose last hour is requested."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The releases of a service as last fetched."""

    releases: Sequence[ReleaseView]
    of: object
    """The known state of its runs at that time."""
    at: float
    is_stopped: bool = False
    """None of it runs: a new release would be visible at once."""

    def is_fresh(self, of: object, now: float) -> bool:
        """Whether they need no new request."""
        changes = any(release.is_open for release in self.releases)
        return not changes and self.of == of and (self.is_stopped or now - self.at < RELEASES_EVERY)


class ServiceFeed:
    """Queries one daemon and passes on its answers."""

    def __init__(self, client: AsyncClient, tell: Callable[[Message], object]) -> None:
        self._client, self._tell = client, tell
        self._woken = asyncio.Event()
        self._plain: frozenset[str] = frozenset()
        """Runs with services that are not releases."""
        self._known: dict[str, _Known] = {}
        self._counted: dict[str, str] = {}
        """Services whose requests the gateway counts: key -> name in the request to the daemon."""

    def wake(self) -> None:
        """An event arrived: request soon."""
        self._woken.set()

    async def follow_services(self) -> None:
        """Endless: fetch services with their releases."""
        while True:
            pause = NO_SERVICES_EVERY
            with contextlib.suppress(HostlerError):  # the fleet's question tells of it
                views = await self._client.services(stopped=True)
                services = grouped(views, await self._releases(views))
                self._tell(ServicesSeen(services))
                self._counted = _counted(services)
                pause = SERVICES_EVERY if services else NO_SERVICES_EVERY
            await asyncio.sleep(REST)
            await self._pause(pause - REST)

    async def follow_traffic(self) -> None:
        """Endless: fetch the last hour of services behind the gateway."""
        while True:
            found: dict[str, TrafficHistory] = {}
            for key, name in tuple(self._counted.items()):
                with contextlib.suppress(HostlerError):  # stopped meanwhile; or the daemon is away
                    found[key] = await self._client.traffic(name)
            if found:
                self._tell(TrafficSeen(found))
            await asyncio.sleep(TRAFFIC_EVERY if found else REST)

    async def _releases(self, views: Sequence[ServiceView]) -> dict[str, Sequence[ReleaseView]]:
        """The releases of each deployed service. Whether a run is a release does not change."""
        names = dict.fromkeys(v.pipeline for v in views if v.run_id not in self._plain)
        before, self._known = self._known, {}
        for name in names:
            own = [replace(v, traffic=None) for v in views if v.pipeline == name]
            known, now = before.get(name), time.monotonic()
            if known is None or not known.is_fresh(own, now):
                known = _Known(
                    await self._ask(name), own, now, all(v.state == "stopped" for v in own)
                )
            self._known[name] = known
        releases = {name: each.releases for name, each in self._known.items() if each.releases}
        runs = {release.run_id for each in releases.values() for release in each}
        self._plain = frozenset(view.run_id for view in views if view.run_id not in runs)
        return releases

    async def _ask(self, name: str) -> Sequence[ReleaseView]:
        try:
            return await self._client.releases(name)
        except NotFoundError:  # nothing was deployed under that name
            return ()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()


def _counted(services: Sequence[Service]) -> dict[str, str]:
    found = [one for one in services if any(part.traffic is not None for part in one.parts)]
    return {one.key: one.name if one.is_deployed else one.names[0] for one in found[:MOST_COUNTED]}
