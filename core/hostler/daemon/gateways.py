"""Keeps the gateway (HAProxy) running and configured as services, replicas and tokens change; what
it serves is in `decide.routes`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from hostler.base.errors import ConflictError, HostError, HostlerError
from hostler.daemon.context import Context
from hostler.model.config import Config
from hostler.model.gateway_config import job_id_of
from hostler.model.plans import Snapshot
from hostler.model.runs import Run
from hostler.model.views.services import ServiceList, ServiceView

if TYPE_CHECKING:
    from hostler.daemon.gateway_ends import GatewayEnds
    from hostler.daemon.traffic import TrafficCounter
    from hostler.decide.reach import Reach
    from hostler.decide.routes import Deployed, Routes
    from hostler.gateway.control import Gateway
    from hostler.gateway.forwards import Way
    from hostler.model.addresses import ServiceAddress
    from hostler.model.tokens import StoredToken

_log = logging.getLogger("hostler.daemon")


class Gateways:
    """Manages one gateway at most. Its config is decided and sent under a lock: a token that is
    revoked meanwhile is not restored."""

    def __init__(self, context: Context, snapshot: Callable[[], Snapshot]) -> None:
        self._context, self._snapshot = context, snapshot
        self._job = job_id_of(context.daemon_id)
        self._acting = asyncio.Lock()
        self._gateway: Gateway | None = None
        self._at: tuple[str, str | None] | None = None
        """The host and program of the gateway that was reached last."""
        self.problem: str | None = None
        """Why it does not serve all that it should, for users."""
        self.routes: Routes | None = None
        self.traffic: TrafficCounter | None = None
        """Counts requests, once a gateway has run."""
        self._reaches: dict[str, Reach] = {}
        """How hosts are reached; also hosts that left the config, while work runs there."""
        self._held: dict[str, int] | None = None
        """The owners of the names; None: the gateway was not asked yet."""
        self._held_at: Mapping[ServiceAddress, int] = {}
        self._noted: tuple[str, ...] | None = None
        """The host with the note about tokens, and the tokens in it."""
        self._wanted, self._next = asyncio.Event(), asyncio.Event()
        """A caller asks for a turn now; the next turn has ended."""

    @cached_property
    def _ends(self) -> GatewayEnds:
        """Ends gateways that the config no longer names."""
        from hostler.daemon.gateway_ends import GatewayEnds  # few have a gateway

        return GatewayEnds(self._context)

    async def run(self) -> None:
        """Run until cancelled."""
        timings = self._context.timings
        while True:
            is_used = self._at is not None or self._context.config.gateway.host is not None
            await self._rest(self._pause() if is_used else timings.no_gateway)
            left, turn, self._next = self._left_behind(), self._next, asyncio.Event()
            try:
                if is_used or left:
                    async with self._acting:
                        await self._turn(left)
            except Exception:
                self._unheard()
                _log.exception("the gateway: this is a bug in Hostler, please report it")
            finally:
                turn.set()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        self._wanted.clear()

    async def catch_up(self) -> None:
        """Wait until the gateway has the state that is stored now; only briefly if it does not
        answer."""
        turn = self._next
        self._wanted.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._context.timings.gateway_catches_up):
                await turn.wait()

    def _pause(self) -> float:
        """Seconds until the next turn: fewer while releases change what the gateway serves, or will
        do so soon."""
        timings, services = self._context.timings, self._context.services.values()
        if any(state.is_routing for state in services):
            return timings.gateway.poll
        if any(state.opened is not None for state in services):
            return min(timings.gateway_release, timings.gateway_every)
        return timings.gateway_every

    def _unheard(self) -> None:
        """Forget the gateway's last answer, so that no release takes a step because of it."""
        self._context.at_gateway = {}
        if self._context.services:
            from hostler.daemon.gateway_looks import note

            note(self._context, None, self._context.clock.now(), was_unheard=True)

    def with_urls(self, found: ServiceList) -> ServiceList:
        """The services, each with its URL at the gateway, or why it has none."""
        return ServiceList(services=tuple(self.with_url(one) for one in found.services))

    def with_url(self, service: ServiceView) -> ServiceView:
        """The same of one."""
        if self._context.config.gateway.host is None:
            return service
        if self.problem is not None or self.routes is None:
            return replace(service, no_url=self.problem or "the gateway has not been asked yet")
        from hostler.daemon.gateway_urls import with_url

        key, config = (service.run_id, service.name), self._context.config
        recent = self.traffic.recent(key) if self.traffic is not None else None
        found = with_url(service, config, self.routes, self._reaches, self._ways(), self._why_shut)
        return replace(found, traffic=recent) if found.url is not None else found

    def urls_of(self, run: Run) -> dict[str, str]:
        """The services of a run, each with its URL at the gateway."""
        if self.routes is None or all(stage.service is None for stage in run.stages):
            return {}
        from hostler.daemon.services import list_services

        found = (self.with_url(one) for one in list_services(self._context, {}, [run]).services)
        return {one.name: one.url for one in found if one.url is not None}

    def urls_by_name(self, names: Iterable[str]) -> dict[str, str]:
        """URLs of the services that it serves, by their names there."""
        if self.problem is not None or self.routes is None:
            return {}
        from hostler.decide.routes import url_of

        config, wanted = self._context.config, set(names)
        found = {at.name: at.address for at in self.routes.served.values() if at.name in wanted}
        return {name: url_of(config, address) for name, address in found.items()}

    def _ways(self) -> Mapping[str, Way]:
        return self._gateway.ways if self._gateway is not None else {}

    def _why_shut(self, port: int) -> str | None:
        return self._gateway.why_shut(port) if self._gateway is not None else "it is new"

    async def revoke(self, token: StoredToken) -> None:
        """Have the gateway refuse a token from now on; it is stored as revoked already. Raises
        HostError if the gateway cannot confirm it, or an earlier gateway may still run: the token
        then still works."""
        async with self._acting:
            if self._context.config.gateway.host is not None:
                await self._reached(self._context.config).revoke(token.to_gateway())
            await self._ends.end(self._left_behind())
            if self._ends.silent is not None:
                raise self._ends.silent
            await self._context.store.tokens.remove(token.token_id)
            if self._context.config.gateway.host is not None:
                with suppress(HostError):  # else it is noted at the next turn
                    await self._noted_tokens(self._context.config)

    async def _turn(self, left: Iterable[str]) -> None:
        context = self._context
        if context.standing.halted() or self._may_be_old():
            return
        try:
            await self._leave(left)
            if context.config.gateway.host is not None:
                await self._bring(context.config)  # also while an earlier one is silent
            elif self._ends.silent is not None:
                raise self._ends.silent
            self._tell(None)
        except HostlerError as error:
            self._unheard()
            self._tell(str(error))

    async def _deployed(self, gateway: Gateway) -> tuple[Deployed, ...]:
        """Services with releases. Their state at the gateway is read first: the next decision about
        each is either a step of its release or a change here."""
        context = self._context
        if not context.services:
            return ()
        from hostler.daemon import gateway_looks
        from hostler.daemon.gateway_urls import troubles

        asked_at = context.clock.now()
        look = await gateway.look(tokens=False)
        gateway_looks.note(context, look, asked_at, troubles(gateway.ways))
        context.wake()
        return gateway_looks.decide(context, self._snapshot)

    async def _bring(self, config: Config) -> None:
        """Bring the gateway to the wanted state. It is started for the first service."""
        from hostler.daemon import gateway_looks
        from hostler.decide.addresses import rules_of
        from hostler.decide.holding import held_by, places_of
        from hostler.decide.reach import reaches
        from hostler.decide.routes import routes, unknown_ports

        context, gateway, runs = self._context, self._reached(config), self._context.run_cache.runs
        if self._held is None:  # an earlier daemon gave them away
            from hostler.daemon.token_notes import merge_tokens

            await merge_tokens(context, config.gateway.host or "")
            state = await gateway.look(tokens=False)
            servers = state.servers if state is not None else ()
            await self._check_known(servers)
            if self._is_young() and unknown_ports(servers, runs()):
                return  # it serves on as it does
            self._held, self._held_at = held_by(servers, runs()), places_of(servers, runs())
        stored = await self._noted_tokens(config)
        valid = [token.to_gateway() for token in stored if token.revoked_at is None]
        deployed = await self._deployed(gateway)
        named = {host.name for host in config.hosts}
        gone = {name: reach for name, reach in self._reaches.items() if name not in named}
        now, self._reaches = context.clock.now(), gone | reaches(config)
        found, foreign = self._reaches, gateway_looks.foreign(context)
        self.routes = routes(
            config.gateway, runs(), valid, now, self._held, deployed, found, foreign,
            rules_of(config, platform.node()), self._held_at,
        )  # fmt: skip
        self._held, wanted = self.routes.holders, self.routes.wanted
        self._held_at = self.routes.places
        if wanted.services or await gateway.look(tokens=False) is not None:
            asked_at = context.clock.now()
            await gateway.step(wanted)
            gateway_looks.note_servers(context, gateway.state, asked_at)
            await self._count(gateway, self.routes)
        for token in stored:
            if token.revoked_at is not None:
                await gateway.revoke(token.to_gateway())
                if self._ends.silent is None:
                    await context.store.tokens.remove(token.token_id)

    async def _count(self, gateway: Gateway, routes: Routes) -> None:
        from hostler.daemon.traffic import TrafficCounter

        self.traffic = self.traffic or TrafficCounter(self._context)
        await self.traffic.take(gateway, routes)

    async def _check_known(self, servers: Iterable[tuple[str, str]]) -> None:
        """Raises ConflictError if the gateway serves runs that are missing in the database: the
        database may have been lost, and these runs are served until an operator recovers it."""
        for name, attempt_id in servers:
            if await self._context.is_over(attempt_id.partition("-")[0]) is None:
                raise ConflictError(
                    f"it serves {name}, which is not in the database; it was left unchanged",
                    remedy="Recover it: hostler daemon stop; hostler daemon recover. To end this "
                    "gateway, temporarily remove `host` from [gateway] in config.toml",
                )

    async def _noted_tokens(self, config: Config) -> Sequence[StoredToken]:
        """The stored tokens; the valid ones are noted on the gateway's host before it gets them.
        Raises Unreachable."""
        from hostler.decide.routes import entry_of

        at, stored = self._context.clock.now(), await self._context.store.tokens.all()
        host = config.gateway.host or ""
        wanted = (host, *(t.token_id for t in stored if t.revoked_at is None))
        if wanted != self._noted and entry_of(config.gateway).tokens:
            from hostler.daemon.token_notes import note_tokens

            await note_tokens(self._context, host, stored, at)
            self._noted = wanted
        return stored

    def _may_be_old(self) -> bool:
        """Whether the database may be outdated: after a restore from a backup, what to serve is
        unknown until hosts were asked; the gateway's own host always, the others until they had
        time to answer."""
        context, host = self._context, self._context.config.gateway.host
        standing = context.standing
        if host is not None and standing.is_unmerged(host):
            return True
        return self._is_young() and bool(standing.unmerged([*context.monitors]))

    def _is_young(self) -> bool:
        """Whether there may be hosts without a look yet."""
        context = self._context
        return context.clock.now() < context.begun_at + context.timings.gateway_learns

    def _reached(self, config: Config) -> Gateway:
        from hostler.gateway.control import Gateway  # few have one

        context, host = self._context, config.gateway.host or ""
        link = context.link(host)  # raises Unreachable
        if self._gateway is None or self._gateway.link is not link:
            self._gateway = Gateway(
                link, context.daemon_id, config.gateway.haproxy, context.timings.gateway,
                _ssh_agent(config),
            )  # fmt: skip
            self._at = host, config.gateway.haproxy
        return self._gateway

    def _left_behind(self) -> list[str]:
        """Hosts with a gateway of this daemon that the config does not name, by their looks. One
        machine may have several names: a host counts as the gateway's while this is not known."""
        looks = {name: monitor.host.look for name, monitor in self._context.monitors.items()}
        named = self._context.config.gateway.host
        here = looks.get(named) if named is not None else None
        if named is not None and here is None:
            return []
        return [
            name
            for name, look in looks.items()
            if look is not None and name != named
            if here is None or look.boot_id != here.boot_id
            if any(each.attempt_id == self._job for each in look.workloads)
        ]

    async def _leave(self, left: Iterable[str]) -> None:
        """End gateways that the config no longer names."""
        wanted = self._context.config.gateway
        if self._at is not None and self._at != (wanted.host, wanted.haproxy):
            left = dict.fromkeys((*left, self._at[0]))
            self._gateway, self._at, self.routes, self._reaches = None, None, None, {}
            self._unheard()
        await self._ends.end(left)

    def _tell(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            _log.warning("the gateway: %s", problem)
        self.problem = problem


def _ssh_agent(config: Config) -> str | None:
    """The daemon's SSH agent, for a gateway on the daemon's own machine."""
    host = config.host(config.gateway.host or "")
    is_here = host is not None and host.transport == "local"
    return os.environ.get("SSH_AUTH_SOCK") if is_here else None


def unreached(error: HostError) -> str:
    """Why a revoked token still works."""
    return f"the gateway on {error.host} did not confirm it: {error.message}"
