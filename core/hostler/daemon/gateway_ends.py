"""Stops gateways of this daemon that the config no longer names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from hostler.base.errors import HostError, Unreachable
from hostler.daemon.context import Context

_log = logging.getLogger("hostler.daemon")


class GatewayEnds:
    """Ends old gateways. One that does not answer must not block its successor: it is ended when it
    answers. A host that answers only looks, and reports a gateway, must not block callers of this
    either."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rests: dict[str, tuple[float, HostError]] = {}
        """Host that gave no answer in time -> time until it is asked again, and why."""
        self.silent: HostError | None = None
        """Why an old gateway may still run."""

    async def end(self, hosts: Iterable[str]) -> None:
        """End the gateways of these hosts, all at once."""
        known = [host for host in hosts if host in self._context.monitors]
        found = await asyncio.gather(*map(self._end, known))
        before, self.silent = self.silent, next(filter(None, found), None)
        if self.silent is not None and str(before) != str(self.silent):
            said = "a gateway that the config no longer names: %s"
            _log.warning(said, self.silent)

    async def _end(self, host: str) -> HostError | None:
        from hostler.gateway.control import Gateway

        now, timings = asyncio.get_running_loop().time(), self._context.timings
        until, why = self._rests.pop(host, (now, None))
        if why is not None and now < until:
            self._rests[host] = until, why
            return why
        try:
            async with asyncio.timeout(timings.gateway_ends):
                await Gateway(self._context.link(host), self._context.daemon_id).stop()
        except HostError as error:
            return error
        except TimeoutError:
            late = Unreachable(host, "its gateway does not end in time")
            self._rests[host] = asyncio.get_running_loop().time() + timings.gateway_rests, late
            return late
        return None
