"""The daemon killed at each failpoint of services, releases and gateway: releases end as their
rules say, requests are answered meanwhile, and no replica is too many."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import hostler
from hostler.base.errors import HostlerError
from hostler.daemon.audit import Audit
from hostler.daemon.deploys import Wanted, deploys_of
from hostler.daemon.service_wishes import ServiceWishes
from hostler.daemon.submit import Submission
from hostler.model.calls import Caller
from hostler.model.gateway_config import GatewayConfig
from tests.core.daemon.test_services_on_sim import service
from tests.support.daemons.simdaemon import SimDaemon
from tests.support.daemons.simgateway import SimGateway
from tests.support.daemons.simlab import small_lab

ANA = Caller(1000, "ana")
SERVES = "seconds=3600 ready=0.05"
OPENING = ("before_opening", "after_opening", "after_submit")
STARTS = ("before_gateway_write", "before_gateway_start", "after_gateway_start")
STEPS = ("before_step", "after_step", "before_ready", "after_intent", "after_claim", "after_start")
NOTES = ("before_service_note", "after_service_note")
SERVERS = (
    "after_server_added", "after_server_drained", "after_server_ready", "after_server_removed",
)  # fmt: skip
LEAVING = ("after_gateway_stop",)
WISHES = ("before_wish", "after_wish", "after_revoke_noted", "after_token_removed")
RELOADS = ("after_gateway_write", "before_gateway_reload", "after_gateway_reload")


def submission(
    number: int, says: str = SERVES, *, name: str = "digits", startup: float = 30
) -> Submission:
    return Submission(
        pipeline=f"""
name = "{name}"
[stages.serve]
kind = "service"
command = "serve"
health = "/"
replicas = 2
startup = "{startup}s"
resources = {{ gpus = 1 }}
env = {{ SIM = "{says}", VERSION = "{number}" }}
"""
    )


@dataclass
class Lab:
    """A daemon with a gateway."""

    daemon: SimDaemon
    gateway: SimGateway

    async def deploy(self, wanted: Submission) -> bool:
        """Whether the daemon lived to say that it opened a release."""
        deploys = deploys_of(self.daemon.daemon.service)
        with contextlib.suppress(asyncio.CancelledError, HostlerError):
            await deploys.deploy(Wanted(wanted), ANA)
            return True
        return False

    async def settle(self, name: str = "digits") -> None:
        """Until no release is open, with a new daemon after each death."""
        while True:
            await self.daemon.until(
                lambda: self.gateway.died.is_set() or self._is_settled(name),
                f"{name} is settled",
                30,
            )
            if not self.gateway.died.is_set():
                return
            await self.gateway.revive(self.daemon)

    def _is_settled(self, name: str) -> bool:
        state = self.daemon.daemon.context.services.get(name)
        if state is None or state.opened is not None:
            return state is None
        return self.running(name) == state.deployment.replicas and self.gateway.answers(name)

    def live(self, name: str = "digits") -> int | None:
        return self.daemon.daemon.context.services[name].deployment.live

    def running(self, name: str) -> int:
        """Replicas of all releases of it."""
        ids = {r.run_id for r in self.daemon.daemon.context.services[name].releases}
        works = self.gateway.lab.host("gpu1").works.values()
        return sum(work.running and work.run_id in ids for work in works)

    async def serve_first(self) -> None:
        """Release 1 is live; from now on requests have to be answered."""
        await self.deploy(submission(1))
        await self.settle()
        self.gateway.is_promised = lambda: True

    def check(self, *points: str) -> None:
        """It was killed at all of these, and every rule was kept."""
        assert set(points) <= set(self.gateway.passed), self.gateway.passed
        assert self.gateway.violations == []
        assert self.gateway.lab.referee.violations == []


@contextlib.asynccontextmanager
async def begun(folder: Path, **keys: bool) -> AsyncIterator[Lab]:
    gateway = SimGateway(small_lab(1, gpus=6), "gpu1", **keys)  # type: ignore[arg-type]
    async with gateway.daemon(folder) as daemon:
        yield Lab(daemon, gateway)


async def test_a_release_survives_a_kill_at_each_of_its_steps(tmp_path: Path) -> None:
    async with begun(tmp_path) as lab:
        with lab.gateway.kill_at(lab.daemon, *STARTS):
            await lab.serve_first()
        notes = (f"{point}@2" for point in NOTES)  # the first one is of the opening
        with lab.gateway.kill_at(lab.daemon, *STEPS, *SERVERS, *notes):
            assert await lab.deploy(submission(2))
            await lab.settle()
        assert lab.live() == 2
        with lab.gateway.kill_at(lab.daemon, *(f"{point}@2" for point in (*STEPS, *SERVERS))):
            assert await lab.deploy(submission(3, "seconds=3600 ready=1000", startup=0.5))
            await lab.settle()
        assert lab.live() == 2
        lab.check(*STARTS, *STEPS, *SERVERS, *NOTES)


async def test_a_kill_at_the_opening_of_a_release_leaves_all_of_it_or_nothing(
    tmp_path: Path,
) -> None:
    async with begun(tmp_path) as lab:
        await lab.serve_first()
        for point, live in (("before_opening", 1), ("after_opening", 2), ("after_submit", 3)):
            with lab.gateway.kill_at(lab.daemon, point):
                assert not await lab.deploy(submission(live + 1))
                await lab.settle()
            assert lab.live() == live
        # What is new to the gateway is a reload, in which those that serve go on.
        with lab.gateway.kill_at(lab.daemon, *RELOADS):
            await lab.deploy(submission(1, name="other"))
            await lab.settle("other")
        lab.check(*OPENING, *RELOADS)


async def test_a_kill_while_the_gateway_is_left_leaves_nothing_of_it(tmp_path: Path) -> None:
    async with begun(tmp_path) as lab:
        await lab.serve_first()
        lab.gateway.is_promised = lambda: False
        with lab.gateway.kill_at(lab.daemon, *LEAVING):
            lab.daemon.config = replace(lab.daemon.config, gateway=GatewayConfig())
            lab.daemon.daemon.context.config = lab.daemon.config
            await asyncio.wait_for(lab.gateway.died.wait(), 30)
        await lab.gateway.revive(lab.daemon)
        await lab.daemon.until(lambda: not lab.gateway.job, "its process is removed, too")
        lab.check(*LEAVING)


def test_each_failpoint_of_services_is_passed_here() -> None:
    """And those of stages, which replicas are as well, in test_daemon_faults."""
    tried = {*OPENING, *STARTS, *STEPS, *NOTES, *SERVERS, *RELOADS, *LEAVING, *WISHES}
    core = Path(hostler.__file__).parent
    named = {
        point
        for room in ("gateway/*.py", "daemon/*rele*.py", "daemon/*serv*.py", "daemon/dep*.py",
                     "daemon/tok*.py", "daemon/note_*.py")
        for file in core.glob(room)
        for point in re.findall(r'failpoint(?:\(|=)"(\w+)"', file.read_text())
    }  # fmt: skip
    assert named - tried == set()


async def test_a_kill_at_a_persons_wish_leaves_it_whole(tmp_path: Path) -> None:
    """Scale, stop and revoke: what was stored is done, what was not is as if nobody had asked."""
    async with begun(tmp_path, asks_for_tokens=True) as lab:
        run_id = await lab.daemon.submit(*service(gpus=1, replicas=2))
        gateway = lab.gateway

        async def killed(point: str, ask: Callable[[], Awaitable[object]]) -> None:
            with (
                gateway.kill_at(lab.daemon, point),
                contextlib.suppress(asyncio.CancelledError, HostlerError),
            ):
                await ask()
            await asyncio.wait_for(gateway.died.wait(), 30)
            await gateway.revive(lab.daemon)

        def wishes() -> ServiceWishes:
            return ServiceWishes(lab.daemon.daemon.context, Audit(lab.daemon.daemon.context))

        async def serving(count: int) -> None:
            up = [False] * count
            await lab.daemon.until(
                lambda: [s.status != "UP" for s in gateway.servers.values()] == up,
                f"{count} replicas get requests",
            )
            assert sum(w.running for w in gateway.lab.host("gpu1").works.values()) == count

        await serving(2)
        for point, count in zip(WISHES, (2, 3), strict=False):
            await killed(point, lambda: wishes().scale(run_id, 3, ANA))
            await serving(count)
        made = await lab.daemon.daemon.service.tokens.new(ANA, ["serve"], 60.0)
        known = gateway.maps["/tmp/gateway/tokens.map"]
        for point in WISHES[2:]:
            made = await lab.daemon.daemon.service.tokens.new(ANA, ["serve"], 60.0)
            await lab.daemon.until(lambda: len(known) == 2, "the gateway knows both tokens")
            revoke = partial(lab.daemon.daemon.service.tokens.revoke, ANA, made.token_id)
            await killed(point, revoke)
            await lab.daemon.until(lambda: len(known) == 1, "one is gone")
        await killed("after_wish", lambda: wishes().stop(run_id, ANA))
        await lab.daemon.finished(run_id)
        await lab.daemon.clean()
        lab.check()
