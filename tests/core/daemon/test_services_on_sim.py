"""Services through the whole daemon on a simulated lab."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import ForbiddenError, InputError, NotFoundError
from hostler.daemon.audit import Audit
from hostler.daemon.service_wishes import ServiceWishes, called
from hostler.daemon.services import list_services
from hostler.decide.lifecycle import unfolded
from hostler.decide.progress import progress_of
from hostler.decide.services import service_ends
from hostler.model.calls import Caller
from hostler.model.config import Config
from hostler.model.events import EventKind
from hostler.model.pipelines import Cause, OnLost, Stage
from hostler.model.runs import Attempt, Outcome, Phase
from hostler.model.services import HealthCheck, Service
from hostler.model.views.services import ServiceView
from tests.support.daemons.simdaemon import ANA, SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import run, stage

SERVES = "seconds=3600 lines=3600"


def service(
    text: str = SERVES, *, replicas: int = 1, startup: float = 600.0, patience: float = 30.0,
    **keys: object,
) -> tuple[Stage, ...]:  # fmt: skip
    """The replicas of a service that does this."""
    asked = Service(HealthCheck("/", patience=patience), replicas, startup=startup)
    made = stage("serve", kind="service", env=sim(text), keep=(), on_lost=OnLost.RESTART, **keys)  # type: ignore[arg-type]
    return unfolded([replace(made, service=asked)])


def _ready(attempt: Attempt) -> bool:
    return attempt.phase is Phase.RUNNING and attempt.ready_at is not None


def _shown(daemon: SimDaemon) -> ServiceView:
    parts = daemon.daemon
    (found,) = list_services(parts.context, parts.controller.plan.reasons).services
    return found


async def _first_alert(daemon: SimDaemon) -> str:
    """The first event about a service that fails; it comes right after the end that it is about."""
    while True:
        events = await daemon.daemon.context.store.events()
        if found := [event for event in events if event.kind == EventKind.SERVICE_FAILING]:
            return found[0].message
        await daemon.next_plan()


async def test_a_service_is_ready_once_it_answered_and_runs_until_it_is_cancelled(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        load = stage("load", needs=("serve.0", "serve.1"), env=sim("seconds=0.05"))
        replicas = service(f"{SERVES} ready=0.3", replicas=2, gpus=1)
        run_id = await daemon.submit(*replicas, load)
        await daemon.attempt(run_id, lambda a: a.stage == "serve.0" and a.phase is Phase.RUNNING)
        early = _shown(daemon)
        if not any(a.ready_at for a in (await daemon.run(run_id)).attempts):
            assert early.state in ("starting", "waiting")
        done = await daemon.attempt(run_id, lambda a: a.stage == "load" and a.phase.is_final)
        assert done.phase is Phase.SUCCEEDED
        run = await daemon.run(run_id)
        assert run.outcome is None
        for attempt in (a for a in run.attempts if a.stage != "load"):
            assert attempt.ready_at is not None
            assert attempt.launched_at is not None
            assert attempt.ready_at <= done.placed_at
            assert attempt.port == daemon.lab.host(attempt.host).works[attempt.attempt_id].port
        shown = _shown(daemon)
        assert (shown.name, shown.state, shown.ready, shown.wanted) == ("serve", "ready", 2, 2)
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED, told(run)
        await daemon.clean()
        assert daemon.lab.referee.violations == []


async def test_a_replica_is_ready_soon_though_hosts_are_looked_at_seldom(tmp_path: Path) -> None:
    def seldom(config: Config) -> Config:
        return replace(config, daemon=replace(config.daemon, look_interval=600.0))

    async with SimDaemon(small_lab(), tmp_path, change=seldom) as daemon:
        run_id = await daemon.submit(*service(f"{SERVES} ready=0.3"))
        await daemon.attempt(run_id, _ready)


async def test_a_replica_that_ends_is_started_again_and_an_alert_shows_its_last_lines(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(speed=20.0), tmp_path) as daemon:
        run_id = await daemon.submit(*service("seconds=0.4 lines=2"))
        third = await daemon.attempt(run_id, lambda a: a.number == 3 and a.phase.is_final)
        assert (third.phase, third.cause) == (Phase.FAILED, Cause.USER_ERROR)
        assert third.detail == "it ended (exit code 0); a service runs until stopped"
        await daemon.until(lambda: _shown(daemon).state == "failing", "it fails")
        said = await _first_alert(daemon)
        assert "failed 3 times in a row" in said
        assert "last lines: " in said
        assert "step 2/2" in said
        await ServiceWishes(daemon.daemon.context, Audit(daemon.daemon.context)).stop(run_id, ANA)
        await daemon.finished(run_id)
        events = await daemon.daemon.context.store.events()
        assert not any(e.kind == EventKind.REMOVE_FAILED for e in events)
        told_of = [e.message for e in events if e.kind == EventKind.SERVICE_FAILING]
        assert not any("stopped by" in message for message in told_of)


async def test_a_replica_that_is_never_ready_or_fails_its_checks_is_restarted(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        late = await daemon.submit(*service(f"{SERVES} ready=1000", startup=0.2))
        sick = await daemon.submit(*service(f"{SERVES} sick=1.5", patience=0.2))
        first = await daemon.attempt(late, lambda a: a.phase.is_final)
        assert (first.phase, first.cause) == (Phase.FAILED, Cause.UNHEALTHY)
        assert first.detail.startswith("it was not ready after 0.2s (`startup`): nothing listens")
        first = await daemon.attempt(sick, lambda a: a.phase.is_final)
        assert (first.phase, first.cause) == (Phase.FAILED, Cause.UNHEALTHY)
        assert "failed its health checks" in first.detail
        assert "HTTP status 500" in first.detail
        for run_id in (late, sick):
            await daemon.attempt(run_id, lambda a: a.number == 2)
            await daemon.cancel(run_id)
            await daemon.finished(run_id)


async def test_a_replica_of_a_silent_host_moves_and_the_old_one_is_stopped_when_it_returns(
    tmp_path: Path,
) -> None:
    lab = small_lab(hosts=2)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*service(gpus=1, lost_after=0.3))
        first = await daemon.attempt(run_id, _ready)
        daemon.config = replace(daemon.config, policy=replace(daemon.config.policy, fresh_for=0.2))
        daemon.daemon.context.config = daemon.config
        faults_on(lab, first.host).cut()
        await daemon.attempt(run_id, lambda a: a.number == 2)
        # From now on a machine that is busy must not pass for a second silent host.
        daemon.config = replace(daemon.config, policy=replace(daemon.config.policy, fresh_for=30.0))
        daemon.daemon.context.config = daemon.config
        second = await daemon.attempt(run_id, lambda a: a.number == 2 and _ready(a))
        assert second.host != first.host
        faults_on(lab, first.host).heal()
        old = lab.host(first.host)
        await daemon.until(
            lambda: not any(w.running for w in old.works.values()) and not old.leases,
            "the surplus replica is stopped",
        )
        assert _ready((await daemon.run(run_id)).attempts[-1])
        assert len((await daemon.run(run_id)).attempts) == 2
        await daemon.cancel(run_id)
        await daemon.finished(run_id)
        assert lab.referee.violations == []


async def test_a_killed_daemon_finds_its_replicas_again_and_starts_no_other(
    tmp_path: Path,
) -> None:
    lab = small_lab()
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*service(replicas=2, gpus=1))
        for name in ("serve.0", "serve.1"):
            await daemon.attempt(run_id, lambda a, name=name: a.stage == name and _ready(a))  # type: ignore[misc]
        await daemon.kill()
        await daemon.begin()
        await daemon.until(lambda: _shown(daemon).state == "ready", "all is seen again")
        run = await daemon.run(run_id)
        assert {(a.stage, a.number) for a in run.attempts} == {("serve.0", 1), ("serve.1", 1)}
        assert len(run.attempts) == 2
        await daemon.cancel(run_id)
        await daemon.finished(run_id)


async def test_a_replica_keeps_its_gpu_over_a_crash_though_others_wait_for_it(
    tmp_path: Path,
) -> None:
    lab = small_lab(hosts=1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*service(gpus=1))
        first = await daemon.attempt(run_id, _ready)
        waits = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.05")))
        host = lab.host("gpu1")
        lease = next(iter(host.leases))
        host.end(host.works[first.attempt_id], host.clock.now(), 1)
        second = await daemon.attempt(run_id, lambda a: a.number == 2 and _ready(a))
        assert second.gpus == first.gpus
        assert {x: y.attempt_id for x, y in host.leases.items()} == {lease: second.attempt_id}
        events = await daemon.daemon.context.store.events()
        said = [e.message for e in events if e.attempt_id == second.attempt_id]
        assert said[0] == "serve.0 placed on gpu1: its GPUs on gpu1 were kept for it"
        assert (await daemon.run(waits)).attempts == (), told(await daemon.run(run_id))
        await daemon.cancel(run_id)
        await daemon.finished(run_id)
        await daemon.finished(waits)
        assert lab.referee.violations == []


async def test_a_replica_whose_host_rebooted_goes_first_in_the_queue(tmp_path: Path) -> None:
    lab = small_lab(hosts=1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*service(gpus=1))
        await daemon.attempt(run_id, _ready)
        waits = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.05")))
        faults_on(lab, "gpu1").reboot()
        second = await daemon.attempt(run_id, lambda a: a.number >= 2 and _ready(a))
        assert second.phase is Phase.RUNNING, told(await daemon.run(run_id))
        assert (await daemon.run(waits)).attempts == (), told(await daemon.run(run_id))
        await daemon.cancel(run_id)
        await daemon.finished(run_id)
        await daemon.finished(waits)
        assert lab.referee.violations == []


async def test_a_service_is_scaled_up_and_down_and_stopped(tmp_path: Path) -> None:
    lab = small_lab()
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(*service(gpus=1, replicas=2))

        async def ready(*numbers: int) -> None:
            names = {f"serve.{number}" for number in numbers}
            await daemon.until(
                lambda: {r.name for r in _shown(daemon).replicas if r.state == "ready"} == names,
                f"{names} are ready, and no other",
            )

        def wishes() -> ServiceWishes:
            return ServiceWishes(daemon.daemon.context, Audit(daemon.daemon.context))

        await ready(0, 1)
        with pytest.raises(ForbiddenError):
            await wishes().scale("serve", 3, Caller(4321, "mallory"))
        for count in (0, 65, -1):
            with pytest.raises(InputError):
                await wishes().scale("serve", count, ANA)
        with pytest.raises(NotFoundError, match="no service 'other' runs"):
            await wishes().stop("other", ANA)
        with pytest.raises(InputError, match="has no end time"):
            await wishes().extend("serve", 60.0, ANA)
        await wishes().scale("serve", 4, ANA)
        await ready(0, 1, 2, 3)
        await daemon.kill()
        await daemon.begin()
        await ready(0, 1, 2, 3)
        await wishes().scale(run_id, 1, ANA)
        await ready(0)
        assert (_shown(daemon).wanted, _shown(daemon).state) == (1, "ready")
        await wishes().scale(f"{run_id}.serve", 2, ANA)
        await ready(0, 1)
        attempts = (await daemon.run(run_id)).attempts
        stopped = next(a for a in attempts if a.stage == "serve.1" and a.number == 1)
        assert stopped.detail == "scaled to 1 replica by ana"
        await wishes().stop((await daemon.run(run_id)).pipeline, ANA)  # its name does, too
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED, told(run)
        assert {a.detail for a in run.attempts if a.phase.is_final} >= {"stopped by ana"}
        await daemon.clean()
        assert lab.referee.violations == []


def test_a_pipeline_that_is_called_like_a_run_is_not_taken_for_it() -> None:
    meant, other = run("r1"), replace(run("r2"), pipeline="r1.serve", uid=1001)
    third = replace(run("r3"), pipeline="r1", uid=1001)
    every = [(third, "serve"), (other, "serve"), (meant, "serve")]
    assert called("r1.serve", every) == called("r1", every) == [(meant, "serve")]
    assert called("serve", every) == every


async def test_a_service_ends_at_its_time_unless_it_is_extended(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        replicas = service()
        asked = replicas[0].service
        assert asked is not None
        run_id = await daemon.submit(replace(replicas[0], service=replace(asked, until=3000.0)))
        other = await daemon.submit(replace(replicas[0], service=replace(asked, until=0.5)))
        await daemon.attempt(run_id, _ready)
        wishes = ServiceWishes(daemon.daemon.context, Audit(daemon.daemon.context))
        run, _ = await wishes.extend(run_id, 60.0, ANA)
        ends = service_ends(progress_of(await daemon.run(run_id)))
        assert ends == {"serve": run.submitted_at + 3060.0}
        ended = await daemon.finished(other)
        assert ended.outcome is Outcome.CANCELLED, told(ended)
        assert (await daemon.run(run_id)).outcome is None
        await wishes.stop(run_id, ANA)
        await daemon.finished(run_id)
