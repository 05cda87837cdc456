"""Asks all hosts whether they have an image and for which machine, to copy it from there."""

from __future__ import annotations

import asyncio
import contextlib

from hostler.base.errors import HostError
from hostler.daemon.context import Context
from hostler.daemon.host_monitor import HostMonitor
from hostler.decide.image_source import Holder, is_pinned
from hostler.model.hosts import HostCondition
from hostler.ports import ImageLink
from hostler.runtimes.docker.images.ask import inspect_image, layers_of, platform_of
from hostler_agent.json_values import string

_AT_ONCE = 32
_ASK_AGAIN = 0.5


class ImageSources:
    """Looks for images on the hosts that answer."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def link(self, host: str) -> ImageLink | None:
        """The link to a host that images can be copied from and to."""
        link = self._context.link(host)
        return link if isinstance(link, ImageLink) else None

    async def holders(self, image: str, target: str) -> list[Holder]:
        """Hosts that have it, in the order of the config. A host that does not answer counts as
        having none. For a digest, one host is enough."""
        await self._all_tried()
        monitors = self._context.monitors.items()
        names = [name for name, monitor in monitors if monitor.is_connected and name != target]
        found: list[Holder] = []
        for start in range(0, len(names), _AT_ONCE):
            asked = (self._holder(name, image) for name in names[start : start + _AT_ONCE])
            found += [each for each in await asyncio.gather(*asked) if each is not None]
            if found and is_pinned(image):
                break
        return found

    async def platform(self, link: ImageLink) -> str:
        """The architecture of a host's Docker; "" if unknown."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._context.timings.image_holder):
                return await platform_of(link)
        return ""

    async def _all_tried(self) -> None:
        """After a start of the daemon, wait for the first connection to each host: only one of them
        may have the image."""
        context = self._context
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(context.timings.image_holder):
                while not context.hub.is_closed and any(
                    map(_is_untried, context.monitors.values())
                ):
                    await context.hub.wait(context.hub.version, _ASK_AGAIN)

    async def _holder(self, host: str, image: str) -> Holder | None:
        link = self.link(host)
        if link is None:
            return None
        try:
            async with asyncio.timeout(self._context.timings.image_holder):
                found = await inspect_image(link, image)
        except (HostError, TimeoutError):
            return None
        image_id = string((found or {}).get("Id"))
        if found is None or not image_id:
            return None
        kind = (string(found.get("Os")) or "linux", string(found.get("Architecture")) or "")
        created = string(found.get("Created")) or ""
        return Holder(host, image_id, layers_of(found), created, "/".join(kind))


def _is_untried(monitor: HostMonitor) -> bool:
    return monitor.host.condition is HostCondition.CONNECTING
