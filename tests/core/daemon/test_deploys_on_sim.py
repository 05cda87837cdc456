"""Releases of a service through the whole daemon on a simulated lab, without a gateway."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from hostler.base.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from hostler.daemon.context import Context
from hostler.daemon.deploys import Deploys, Wanted, deploys_of
from hostler.daemon.releases import releases_of
from hostler.daemon.service_wishes import ServiceWishes
from hostler.daemon.services import list_stopped
from hostler.daemon.submit import Submission
from hostler.decide.plan import preview
from hostler.decide.releases.words import Said, of_step
from hostler.insight.deploys import told as lines
from hostler.model.calls import Caller
from hostler.model.gateway_config import GatewayConfig
from hostler.model.plans import Snapshot
from hostler.model.reasons import PreviewLine
from hostler.model.releases import NewStep, Release, ReleaseState, Strategy
from hostler.model.runs import Outcome, Run
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage

ANA, BO = Caller(1000, "ana"), Caller(1001, "bo")
FILE = """
name = "digits"
[stages.serve]
kind = "service"
command = "serve"
health = "/"
startup = "STARTUP"
resources = { gpus = GPUS }
env = { SIM = "SAYS", VERSION = "NUMBER" }
"""
SERVES = "seconds=3600 ready=0.1"


def submission(
    number: int, says: str = SERVES, *, gpus: int = 1, startup: str = "30s"
) -> Submission:
    text = FILE.replace("SAYS", says).replace("NUMBER", str(number)).replace("GPUS", str(gpus))
    return Submission(pipeline=text.replace("STARTUP", startup))


class Lab:
    """A daemon to which services are deployed."""

    def __init__(self, daemon: SimDaemon) -> None:
        self.daemon = daemon

    @property
    def deploys(self) -> Deploys:
        parts = self.daemon.daemon
        return deploys_of(parts.service)

    async def deploy(self, wanted: Submission, who: Caller = ANA) -> Release:
        return await self.deploys.deploy(Wanted(wanted), who)

    def state_of(self, number: int) -> ReleaseState | None:
        """None: its run has ended."""
        known = self.daemon.daemon.context.services["digits"].releases
        return next((r.state for r in known if r.number == number), None)

    async def until(self, number: int, state: ReleaseState) -> Release:
        await self.daemon.until(
            lambda: self.state_of(number) in (state, None), f"release {number} is {state}"
        )
        found = await self.deploys.releases("digits")
        release = next(r for r in found if r.number == number)
        assert release.state is state
        return release

    def running(self) -> list[str]:
        return [
            attempt_id
            for host in map(self.daemon.lab.host, self.daemon.lab.hosts)
            for attempt_id, work in host.works.items()
            if work.running
        ]


async def test_a_daemon_with_a_newer_generation_opens_no_release(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Lab(daemon)
        await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        daemon.daemon.context.standing.superseded_by = 7
        for call in (lab.deploy(submission(2)), lab.deploys.rollback("digits", 1, ANA)):
            with pytest.raises(ConflictError, match="a newer generation of this daemon"):
                await call
        assert [release.number for release in await lab.deploys.releases("digits")] == [1]


async def test_a_release_is_said_to_be_live_once_the_next_deploy_may_replace_it(
    tmp_path: Path,
) -> None:
    said: list[ReleaseState] = []

    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Lab(daemon)

        async def noted(context: Context, name: str) -> None:
            (stored,) = await releases_of(context).releases(name)
            if stored.state is ReleaseState.LIVE:
                said.extend(release.state for release in await lab.deploys.releases(name))

        await lab.deploy(submission(1))
        with patch("hostler.daemon.releases.note_service", noted):
            await lab.until(1, ReleaseState.LIVE)
    assert ReleaseState.LIVE not in said
    assert said


async def test_what_a_deploy_would_do_is_found_out_beside_the_daemons_work(tmp_path: Path) -> None:
    threads: list[threading.Thread] = []

    def watched(snapshot: Snapshot, run: Run) -> list[PreviewLine]:
        threads.append(threading.current_thread())
        return preview(snapshot, run)

    async with SimDaemon(small_lab(), tmp_path) as daemon:
        with patch("hostler.daemon.deploy_room.preview", watched):
            await Lab(daemon).deploys.plan(Wanted(submission(1)), ANA)
    assert threads
    assert threading.main_thread() not in threads


async def test_a_name_that_somebody_else_takes_meanwhile_is_theirs(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Lab(daemon)

        async def meanwhile(_context: object, run: Run, _of: object, who: Caller) -> Run:
            if who == BO:
                await lab.deploy(submission(1), ANA)
            return run

        with (
            patch("hostler.daemon.deploys.with_kept", meanwhile),
            pytest.raises(ForbiddenError, match="service digits belongs to ana"),
        ):
            await lab.deploy(submission(2), BO)
        (theirs,) = await lab.deploys.releases("digits")
        text = str(submission(1).pipeline).replace('"digits"', f'"{theirs.run_id}.serve"')
        with pytest.raises(ConflictError, match="could be confused with the id of run"):
            await lab.deploys.plan(Wanted(Submission(pipeline=text)), BO)


async def test_no_second_release_takes_the_address_of_a_service_that_runs(tmp_path: Path) -> None:
    def on(host: str) -> Submission:
        text = str(submission(1).pipeline).replace("gpus = 1", f'gpus = 1, host = "{host}"')
        return Submission(pipeline=text)

    async with SimDaemon(small_lab(2), tmp_path) as daemon:
        context, lab = daemon.daemon.context, Lab(daemon)
        here, other = context.config.hosts
        hosts = (here, replace(other, reach="none"))
        context.config = replace(context.config, gateway=GatewayConfig(host="gpu1"), hosts=hosts)
        plain = (
            str(on("gpu1").pipeline).replace('"digits"', '"plain"').replace(".serve]", ".digits]")
        )
        await daemon.daemon.service.submit(Submission(pipeline=plain), BO)
        # The first one is elsewhere, where the gateway reaches none of its replicas.
        await lab.deploy(on("gpu2"))
        await lab.until(1, ReleaseState.LIVE)
        with pytest.raises(ConflictError, match="has the address /digits at the gateway"):
            await lab.deploys.plan(Wanted(on("gpu1")), ANA)


async def test_nothing_starts_before_the_gateway_is_heard_and_a_release_can_be_given_up(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        context, lab = daemon.daemon.context, Lab(daemon)
        context.config = replace(context.config, gateway=GatewayConfig(host="gpu1"))
        release = await lab.deploy(submission(1))
        daemon.daemon.controller.step()
        assert "waits for the gateway to answer" in lab.deploys.view(release).reason
        run = context.run_cache.find(release.run_id)
        assert run is not None
        assert run.attempts == ()
        await lab.deploys.rollback("digits", None, ANA)
        await lab.until(1, ReleaseState.RESTORED)


async def test_a_release_takes_over_and_a_broken_one_is_undone(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Lab(daemon)
        first = await lab.deploy(submission(1))
        assert (first.number, first.strategy) == (1, Strategy.SURGE)
        await lab.until(1, ReleaseState.LIVE)
        second = await lab.deploy(submission(2))
        assert (second.number, second.strategy) == (2, Strategy.RECREATE)
        with pytest.raises(ConflictError, match="ana has been deploying release 2 of digits"):
            await lab.deploy(submission(3))
        await lab.until(2, ReleaseState.LIVE)
        assert (await daemon.finished(first.run_id)).outcome is Outcome.SUCCEEDED
        (running,) = lab.running()
        assert running.startswith(second.run_id)
        third = await lab.deploy(submission(3, "seconds=3600 ready=1000", startup="0.5s"))
        failed = await lab.until(3, ReleaseState.RESTORED)
        why = failed.reason.partition("; ")[2]
        assert failed.reason.startswith("release 2 serves again; replica 0 ")
        assert third.replaces == 2
        assert (await daemon.finished(third.run_id)).outcome is Outcome.FAILED
        (running,) = lab.running()
        assert running.startswith(second.run_id)
        events = await daemon.daemon.context.store.events(limit=5000)
        deploys = [e for e in events if e.kind.startswith("deploy.")]
        told = [e.message.replace(why, "WHY") for e in deploys]
        assert told == [
            "ana deploys release 1 of digits (surge)",
            "release 1 of digits gets requests",
            "release 1 of digits is live",
            "ana deploys release 2 of digits (recreate)",
            "release 2 of digits gets requests",
            "release 2 of digits is live",
            "ana deploys release 3 of digits (recreate)",
            "release 3 of digits failed: WHY",
            "release 3 of digits is undone: release 2 serves again; WHY",
        ]
        assert daemon.lab.referee.violations == []


@pytest.mark.parametrize("point", ["before_step", "after_step", "before_ready"])
async def test_a_daemon_that_is_killed_at_a_step_goes_on_from_there(
    tmp_path: Path, point: str
) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Lab(daemon)
        await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        second = await lab.deploy(submission(2))
        for _ in range(4):
            await reach(daemon, point)
            await daemon.kill()
            await daemon.begin()
            if lab.state_of(2) is ReleaseState.LIVE:
                break
        await lab.until(2, ReleaseState.LIVE)
        (running,) = lab.running()
        assert running.startswith(second.run_id)
        assert daemon.lab.referee.violations == []


async def reach(daemon: SimDaemon, point: str) -> None:
    """Until the daemon comes by a failpoint, or has nothing more to do there."""
    came: list[str] = []
    context = daemon.daemon.context

    def passed(name: str, *_: object) -> None:
        if name == point:
            came.append(name)

    with (
        patch("hostler.daemon.releases.failpoint", passed),
        patch("hostler.daemon.service_news.failpoint", passed),
    ):
        await daemon.until(
            lambda: bool(came) or context.services["digits"].opened is None, f"it is at {point}"
        )


async def test_on_a_full_pool_the_gpu_passes_to_the_release_and_back(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(hosts=1, gpus=1), tmp_path) as daemon:
        lab = Lab(daemon)
        first = await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        waits = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.01")))
        second = await lab.deploy(submission(2))
        await lab.until(2, ReleaseState.LIVE)
        third = await lab.deploy(submission(3, "seconds=3600 ready=1000", startup="0.5s"))
        await lab.until(3, ReleaseState.RESTORED)
        assert (await daemon.run(waits)).attempts == ()
        assert (first.replaces, second.replaces, third.replaces) == (None, 1, 2)
        assert daemon.lab.referee.violations == []
        await daemon.cancel(second.run_id)
        assert (await daemon.finished(waits)).outcome is Outcome.SUCCEEDED


async def test_what_a_deploy_would_do_is_said_before(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Lab(daemon)
        made = await lab.deploys.plan(Wanted(submission(1)), ANA)
        assert (made.replaces, made.changes) == (None, ())
        assert not daemon.daemon.context.services
        await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        made = await lab.deploys.plan(Wanted(submission(2)), ANA)
        assert lines(made.changes) == ["serve.env.VERSION: 1 -> 2"]
        assert made.how.startswith("recreate: new replicas take over slots and GPUs; digits does")
        # Nobody else may change it, and the same name is theirs.
        with pytest.raises(ForbiddenError, match="service digits belongs to ana"):
            await lab.deploy(submission(2), BO)
        with pytest.raises(ConflictError, match="needs more resources than one of digits has"):
            await lab.deploy(submission(2, gpus=4))


async def test_what_is_no_service_is_not_deployed(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Lab(daemon)
        with pytest.raises(InputError, match="needs one service in its pipeline; train has none"):
            await lab.deploy(Submission(pipeline='name = "train"\n[stages.a]\ncommand = "true"'))
        two = submission(1)
        text = (two.pipeline or "").replace("env = {", "replicas = 2\nenv = {")
        with pytest.raises(InputError, match="only one replica of it can be reached"):
            await lab.deploy(replace(two, pipeline=text))


async def test_a_rollback_undoes_an_open_release_or_brings_an_earlier_one_back(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Lab(daemon)
        with pytest.raises(NotFoundError, match="no service 'digits' was deployed"):
            await lab.deploys.rollback("digits", None, ANA)
        await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        with pytest.raises(NotFoundError, match="digits has no earlier release that was live"):
            await lab.deploys.rollback("digits", None, ANA)
        for name in ("1X", "A=B", ""):
            with pytest.raises(InputError, match="--env"):
                await lab.deploys.deploy(Wanted(submission(1), {name: "2"}), ANA)
        changed = Wanted(submission(1), {"VERSION": "2"})
        second = await lab.deploys.deploy(changed, ANA)
        assert (await daemon.run(second.run_id)).stages[0].env["VERSION"] == "2"
        await lab.until(2, ReleaseState.LIVE)
        with pytest.raises(ForbiddenError):
            await lab.deploys.rollback("digits", None, BO)
        with pytest.raises(ForbiddenError):
            await lab.deploys.plan_rollback("digits", None, BO)
        with pytest.raises(ForbiddenError):
            await lab.deploys.changes("digits", 2, 1, BO)
        assert await lab.deploys.changes("digits", 2, 1, ANA) == ["serve.env.VERSION: 1 -> 2"]
        with pytest.raises(NotFoundError, match="digits has no release 7"):
            await lab.deploys.changes("digits", 2, 7, ANA)
        plan = await lab.deploys.plan_rollback("digits", None, ANA)
        assert (plan.release, plan.replaces, plan.strategy) == (1, 2, "recreate")
        assert plan.changes == ("serve.env.VERSION: 2 -> 1",)
        assert "digits does not answer for about" in plan.gap
        assert plan.takes_s is not None
        third = await lab.deploys.rollback("digits", None, ANA)
        assert (third.number, third.replaces) == (3, 2)
        assert (await daemon.run(third.run_id)).stages[0].env["VERSION"] == "1"
        await lab.until(3, ReleaseState.LIVE)
        await lab.deploy(submission(4, "seconds=3600 ready=1000"))
        plan = await lab.deploys.plan_rollback("digits", None, ANA)
        assert (plan.release, plan.replaces, plan.strategy) == (3, 4, "")
        assert "is stopped and undone; release 3 keeps serving" in plan.how
        assert (await lab.deploys.rollback("digits", None, ANA)).number == 4
        undone = await lab.until(4, ReleaseState.RESTORED)
        assert undone.reason.startswith("release 3 serves again; ")
        states = [r.state.value for r in await lab.deploys.releases("digits")]
        assert states == ["restored", "live", "retired", "retired"]
        service = daemon.daemon.service
        with pytest.raises(NotFoundError, match="no release 3 that was live"):
            await lab.deploys.rollback("digits", 3, ANA)  # it serves
        assert await service.meant("digits") == third.run_id
        first, *_ = await lab.deploys.releases("digits")
        known, short = daemon.daemon.context.services, first.run_id[:6]
        assert await service.meant(short) == first.run_id
        with patch.dict(known, {short: known["digits"]}):  # a service whose name begins like it
            assert await service.meant(short) == third.run_id
            assert await service.meant(first.run_id) == first.run_id
        with pytest.raises(NotFoundError):
            await service.own_run("digits", ANA)  # a name is for reading
        assert (await list_stopped(daemon.daemon.context)).services == ()
        await ServiceWishes(daemon.daemon.context, service.audit).stop("digits", ANA)
        await daemon.finished(third.run_id)
        (view,) = (await list_stopped(daemon.daemon.context)).services
        assert (view.name, view.state, view.run_id) == ("digits", "stopped", third.run_id)
        assert view.since == (await daemon.run(third.run_id)).finished_at
        plan = await lab.deploys.plan_rollback("digits", 3, ANA)
        assert (plan.is_stopped, plan.gap) == (True, "")
        assert plan.how.startswith("no replica of it runs now")
        assert (await lab.deploys.rollback("digits", 3, ANA)).number == 5
        await lab.until(5, ReleaseState.LIVE)
        assert (await list_stopped(daemon.daemon.context)).services == ()


async def test_a_rollback_in_the_moment_in_which_a_release_goes_live_stops_no_service(
    tmp_path: Path,
) -> None:
    """It is not open any more: the earlier one comes back."""
    rollbacks: list[asyncio.Future[Release]] = []
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        lab = Lab(daemon)

        def at_step(step: NewStep) -> Said | None:
            if (step.number, step.state) == (2, ReleaseState.LIVE):
                undo = lab.deploys.rollback("digits", None, ANA)
                rollbacks.append(asyncio.ensure_future(undo))
            return of_step(step)

        await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        with patch("hostler.daemon.releases.of_step", at_step):
            second = await lab.deploy(submission(2))
            await lab.until(2, ReleaseState.LIVE)
        (undo,) = rollbacks
        assert ((await undo).number, (await undo).replaces) == (3, 2)
        assert (await daemon.run(second.run_id)).cancelled_by is None
        await lab.until(3, ReleaseState.LIVE)
