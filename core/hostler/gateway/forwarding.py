"""Starts and stops a gateway's forwarder on its host, which connects to replicas on other hosts."""

from __future__ import annotations

from collections.abc import Mapping

from hostler.gateway.forwards import Way, placed, read_ways, wanted_text
from hostler.gateway.job import end_job, job
from hostler.gateway.states import GatewayState
from hostler.model.gateway import GatewayFolder, WantedGateway
from hostler.model.gateway_config import forwards_id_of
from hostler.model.timings import GatewayTimings
from hostler.ports import HostLink
from hostler_agent.forwards import WANTED


class Forwarding:
    """A separate process, which its shim restarts when it fails, also while the daemon is away.
    Methods raise HostError, and may be repeated."""

    def __init__(
        self, link: HostLink, daemon_id: str, timings: GatewayTimings, ssh_agent: str | None
    ) -> None:
        self._link, self._daemon_id, self._timings = link, daemon_id, timings
        self._env = {"SSH_AUTH_SOCK": ssh_agent} if ssh_agent else {}
        self._job = forwards_id_of(daemon_id)
        self._is_used = True
        """Whether a forwarder may exist; an earlier daemon may have started it."""
        self.ways: Mapping[str, Way] = {}
        """Host -> how it is reached."""

    async def bring(
        self, wanted: WantedGateway, folder: GatewayFolder, state: GatewayState | None
    ) -> WantedGateway:
        """Have it forward to the replicas on other hosts. Returns the wanted state, with its
        sockets."""
        if self._is_used or _needs(wanted):
            payload = {"gateway": self._daemon_id}
            answer = await self._link.call("gateway.forwards", payload)
            text = wanted_text(wanted, answer["wanted"], state)
            if text != answer["wanted"]:
                await self._link.call("gateway.put", {**payload, "files": {WANTED: text}})
            await self._keep(answer["argv"], is_wanted=bool(text))
            self.ways = read_ways(answer) if text else {}
            self._is_used = bool(text)
        return placed(wanted, folder)

    async def stop(self) -> None:
        """End it, with all its connections."""
        await end_job(self._link, self._job, self._timings.start)
        self.ways = {}

    async def _keep(self, argv: list[str], *, is_wanted: bool) -> None:
        if not is_wanted:
            await self.stop()
            return
        found = (await self._link.call("job.inspect", {"attempt_id": self._job}))["workload"]
        if found is None or not found["running"]:
            await self._start(argv, is_new=found is None)

    async def _start(self, argv: list[str], *, is_new: bool) -> None:
        if not is_new:
            await self._link.call("job.remove", {"attempt_id": self._job})
        asked = job(self._daemon_id, self._job, argv, self._env, again=True)
        await self._link.call("job.start", asked, self._timings.start)


def _needs(wanted: WantedGateway) -> bool:
    return any(r.through is not None for service in wanted.services for r in service.replicas)
