"""What goes wrong on hosts, one fault at a time, and what the daemon makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.daemon import drains
from hostler.model.hosts import GpuState, HostCondition, Workload
from hostler.model.pipelines import Cause, OnLost, Retries
from hostler.model.runs import Outcome, Phase
from tests.support.daemons.simdaemon import FAST, OWNER, SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage
from tests.support.values.stored import last_events


def running(attempt: object) -> bool:
    return getattr(attempt, "phase", None) is Phase.RUNNING


async def connected(daemon: SimDaemon) -> None:
    """Until every host is up, so that placing is by choice and not by who was heard first."""
    monitors = daemon.daemon.context.monitors.values()
    await daemon.until(
        lambda: all(k.host.condition is HostCondition.UP for k in monitors), "hosts are not up"
    )


async def test_a_refused_claim_is_tried_elsewhere_and_not_counted(tmp_path: Path) -> None:
    lab = small_lab(2, gpus=1)
    faults_on(lab, "gpu1").take_at_claim("bob")
    async with SimDaemon(lab, tmp_path) as daemon:
        await connected(daemon)
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02")))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        first, second = run.attempts
        assert (first.phase, first.cause) == (Phase.FAILED, Cause.NOT_STARTED)
        assert "bob's python train.py" in first.detail
        assert (first.host, second.host) == ("gpu1", "gpu2")
        assert lab.referee.creates[first.attempt_id] == 0


async def test_a_lost_card_and_a_restart_of_docker_are_causes_to_retry_by(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=2)
    async with SimDaemon(lab, tmp_path) as daemon:
        await connected(daemon)
        again = Retries(max=1, on=(Cause.GPU_LOST, Cause.ENGINE_RESTARTED), backoff=0.01)
        run_id = await daemon.submit(
            stage("card", gpus=1, retries=again, env=sim("seconds=30")),
            stage("box", runtime="docker", image="a:1", retries=again, env=sim("seconds=30")),
        )
        card = await daemon.attempt(run_id, lambda a: a.stage == "card" and running(a))
        await daemon.attempt(run_id, lambda a: a.stage == "box" and running(a))
        faults_on(lab, "gpu1").lose_gpu([g.uuid for g in lab.host("gpu1").gpus].index(card.gpus[0]))
        faults_on(lab, "gpu1").restart_docker()
        await daemon.attempt(run_id, lambda a: a.stage == "card" and a.number == 2)
        await daemon.attempt(run_id, lambda a: a.stage == "box" and a.phase.is_final)
        ended = {a.stage: a for a in (await daemon.run(run_id)).attempts if a.number == 1}
        assert ended["card"].cause is Cause.GPU_LOST, ended["card"].detail
        assert ended["box"].cause is Cause.ENGINE_RESTARTED, ended["box"].detail


async def test_a_slow_pull_is_left_alone_and_shown(tmp_path: Path) -> None:
    lab = small_lab(1)
    faults_on(lab, "gpu1").slow_pull(0.3)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, runtime="docker", image="big:1", env=sim("seconds=0.02"))
        )
        progress = daemon.daemon.context.progress
        name = f"{run_id}-train-1"
        await daemon.until(lambda: progress.get(name, ("", 0, 0))[1] > 0, "no progress")
        assert progress[name][0] == "pulling big:1"
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert len(run.attempts) == 1
        assert lab.referee.creates == {name: 1}


async def test_cancelling_does_not_wait_for_a_slow_pull(tmp_path: Path) -> None:
    lab = small_lab(1)
    faults_on(lab, "gpu1").slow_pull(60)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, runtime="docker", image="big:1"))
        progress = daemon.daemon.context.progress
        await daemon.until(lambda: bool(progress), "no progress")
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED
        assert [a.cause for a in run.attempts] == [Cause.STOPPED]
        await daemon.clean()


async def test_cancelling_stops_what_runs_and_leaves_nothing(tmp_path: Path) -> None:
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("polite", gpus=1, grace=5.0, env=sim("seconds=60")),
            stage("deaf", gpus=1, grace=0.05, env=sim("seconds=60 ignore_term=1")),
            stage("later", needs=("polite",)),
        )
        await daemon.attempt(run_id, lambda a: a.stage == "polite" and running(a))
        await daemon.attempt(run_id, lambda a: a.stage == "deaf" and running(a))
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED
        ends = {a.stage: (a.phase, a.cause, a.detail, a.signal) for a in run.attempts}
        assert ends == {
            "polite": (Phase.CANCELLED, Cause.STOPPED, "by ana", 15),
            "deaf": (Phase.CANCELLED, Cause.STOPPED, "by ana", 9),
        }
        await daemon.clean()


async def test_a_cut_host_is_waited_for_and_its_work_goes_on(tmp_path: Path) -> None:
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.25 lines=20")))
        await daemon.attempt(run_id, running)
        faults_on(lab, "gpu1").cut()
        monitor = daemon.daemon.context.monitors["gpu1"]
        await daemon.until(
            lambda: monitor.host.condition is HostCondition.UNREACHABLE, "the cut is not noticed"
        )
        await daemon.until(lambda: not lab.running(), "it ends in silence")
        assert (await daemon.attempt(run_id)).phase is Phase.RUNNING
        faults_on(lab, "gpu1").heal()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert len(run.attempts) == 1
        # The log has neither gap nor repetition.
        name = run.attempts[0].attempt_id
        log = daemon.daemon.context.store.logs.tail(run_id, name, 100).decode().splitlines()
        assert log == [f"{name}: step {n}/20" for n in range(1, 21)]


async def test_on_lost_restart_gives_a_silent_host_up_and_ends_its_ghost(tmp_path: Path) -> None:
    lab = small_lab(2, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        await connected(daemon)
        run_id = await daemon.submit(
            stage(
                "train",
                gpus=1,
                on_lost=OnLost.RESTART,
                lost_after=0.1,
                grace=0.05,
                retries=Retries(max=1, backoff=0.0),
                env=sim("seconds=600"),
            )
        )
        first = await daemon.attempt(run_id, running)
        await daemon.wait_silent(first.host)
        second = await daemon.attempt(run_id, lambda a: a.number == 2 and a.phase is Phase.RUNNING)
        assert second.host != first.host
        faults_on(lab, first.host).heal()
        await daemon.until(lambda: lab.running() == [second.attempt_id], "the ghost goes on")
        assert lab.referee.stops[first.attempt_id] > 0
        host = lab.host(second.host)
        host.end(host.works[second.attempt_id], lab.clock.now(), 0)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert (run.attempts[0].phase, run.attempts[0].cause) == (Phase.LOST, Cause.HOST_LOST)
        await daemon.clean()
        assert lab.referee.violations == []


@pytest.mark.parametrize("runtime", ["docker", "process"])
async def test_a_reboot_is_named_and_the_stage_tried_again(tmp_path: Path, runtime: str) -> None:
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage(
                "train",
                gpus=1,
                runtime=runtime,
                image="i" if runtime == "docker" else None,
                retries=Retries(max=1, backoff=0.0),
                env=sim("seconds=0.4"),
            )
        )
        await daemon.attempt(run_id, running)
        faults_on(lab, "gpu1").power_off()
        monitor = daemon.daemon.context.monitors["gpu1"]
        await daemon.until(
            lambda: monitor.host.condition is HostCondition.UNREACHABLE, "it is not noticed"
        )
        faults_on(lab, "gpu1").power_on()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert [a.cause for a in run.attempts] == [Cause.HOST_REBOOTED, None]
        await daemon.clean()
        assert lab.referee.violations == []


async def test_a_container_removed_by_hand_has_vanished(tmp_path: Path) -> None:
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, runtime="docker", image="i", env=sim("seconds=60"))
        )
        attempt = await daemon.attempt(run_id, running)
        faults_on(lab, "gpu1").vanish(attempt.attempt_id)
        run = await daemon.finished(run_id)
        assert [(a.phase, a.cause) for a in run.attempts] == [(Phase.FAILED, Cause.VANISHED)]
        await daemon.clean()


async def test_docker_that_does_not_answer_proves_nothing(tmp_path: Path) -> None:
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, runtime="docker", image="i", env=sim("seconds=0.3"))
        )
        attempt = await daemon.attempt(run_id, running)
        faults_on(lab, "gpu1").docker_down()
        monitor = daemon.daemon.context.monitors["gpu1"]

        def unseen() -> bool:
            look = monitor.host.look
            return look is not None and bool(look.docker_problem) and not look.workloads

        await daemon.until(unseen, "Docker is not seen to be down")
        await daemon.until(lambda: not lab.running(), "it goes on, and ends")
        assert daemon.daemon.context.run_cache.attempt(attempt.attempt_id) == attempt
        faults_on(lab, "gpu1").docker_up()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)


async def test_docker_that_answers_only_after_the_greeting_gets_work(tmp_path: Path) -> None:
    lab = small_lab(1)
    faults_on(lab, "gpu1").docker_down()
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, runtime="docker", image="i", env=sim("seconds=0.02"))
        )
        monitor = daemon.daemon.context.monitors["gpu1"]

        def unseen() -> bool:
            look = monitor.host.look
            return look is not None and bool(look.docker_problem)

        await daemon.until(unseen, "Docker is not seen to be down")
        faults_on(lab, "gpu1").docker_up()
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert len(run.attempts) == 1


async def test_the_time_limit_ends_a_stage(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, timeout=0.1, grace=1.0, env=sim("seconds=60"))
        )
        run = await daemon.finished(run_id)
        attempt = run.attempts[0]
        assert (attempt.phase, attempt.cause) == (Phase.FAILED, Cause.TIME_LIMIT)
        assert attempt.duration is not None
        assert attempt.duration >= 0.09
        await daemon.clean()


@pytest.mark.parametrize("verb", ["claim", "job.create", "job.start", "bind", "job.remove"])
async def test_a_lost_reply_changes_nothing_in_the_end(tmp_path: Path, verb: str) -> None:
    lab = small_lab(1)
    faults_on(lab, "gpu1").lose_reply(verb)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02")))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert len(run.attempts) == 1
        await daemon.clean()
        assert lab.referee.creates == {f"{run_id}-train-1": 1}
        assert lab.referee.starts == {f"{run_id}-train-1": 1}
        assert lab.referee.violations == []


async def test_a_refused_login_waits_for_a_person(tmp_path: Path) -> None:
    lab = small_lab(1)
    faults = faults_on(lab, "gpu1")
    faults.refuse_login()
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02")))
        monitor = daemon.daemon.context.monitors["gpu1"]
        await daemon.until(lambda: monitor.host.condition is HostCondition.REFUSED, "not refused")
        assert "Permission denied" in str(monitor.host.problem)
        faults.accept_login()
        daemon.daemon.service.retry_host("gpu1", OWNER)
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED


async def test_an_agent_that_talks_nonsense_is_no_crash(tmp_path: Path) -> None:
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        await connected(daemon)
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.1")))
        await daemon.attempt(run_id, running)
        faults_on(lab, "gpu1").garbage()
        monitor = daemon.daemon.context.monitors["gpu1"]
        await daemon.until(lambda: "cannot be read" in str(monitor.host.problem), "not noticed")
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED


async def test_a_lost_gpu_is_the_cause_and_is_avoided(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=2)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(
            stage("train", gpus=1, retries=Retries(max=1, backoff=0.0), env=sim("seconds=0.2"))
        )
        attempt = await daemon.attempt(run_id, running)
        index = [gpu.uuid for gpu in lab.host("gpu1").gpus].index(attempt.gpus[0])
        faults_on(lab, "gpu1").lose_gpu(index)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        first, second = run.attempts
        assert first.cause is Cause.GPU_LOST
        assert first.gpus != second.gpus


async def test_memory_that_does_not_come_back_keeps_the_gpu(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=1)
    faults_on(lab, "gpu1").keep_memory(0)
    async with SimDaemon(lab, tmp_path) as daemon:
        first = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02 memory=0.5")))
        await daemon.finished(first)
        second = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02")))
        reasons = daemon.daemon.controller
        await daemon.until(lambda: (second, "train") in reasons.plan.reasons, "it does not wait")
        assert "memory" in str(reasons.plan.reasons[(second, "train")])
        assert lab.left() != []

        def state() -> str:
            [shown] = daemon.daemon.service.gpus()["hosts"][0]["gpus"]
            return shown["state"]

        quarantined = GpuState.UNHEALTHY.value
        await daemon.until(lambda: state() == quarantined, "it is not quarantined")
        faults_on(lab, "gpu1").give_memory_back(0)
        assert (await daemon.finished(second)).outcome is Outcome.SUCCEEDED
        await daemon.clean()


async def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    lab = small_lab(1)
    faults_on(lab, "gpu1").no_image("nosuch:*")
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, runtime="docker", image="nosuch:1"))
        run = await daemon.finished(run_id)
        assert run.attempts[0].cause is Cause.START_FAILED
        assert "nosuch:1" in run.attempts[0].detail
        await daemon.clean()


async def test_a_hung_gpu_holds_its_stage_closes_its_host_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, failed = list[str](), drains.Unkillables.failed

    async def counted(self: drains.Unkillables, host: str, workload: Workload) -> None:
        failures.append(host)
        await failed(self, host, workload)

    monkeypatch.setattr(drains.Unkillables, "failed", counted)
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path, timings=replace(FAST, unkillable_after=3600.0)) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, grace=0.02, env=sim("seconds=60")))
        attempt = await daemon.attempt(run_id, running)
        index = [gpu.uuid for gpu in lab.host("gpu1").gpus].index(attempt.gpus[0])
        faults_on(lab, "gpu1").hang_gpu(index)
        await daemon.cancel(run_id)
        store = daemon.daemon.context.store

        async def complained() -> bool:
            return any(e.kind == "stop.failed" for e in await last_events(store))

        async with asyncio.timeout(30):
            while not await complained():
                await asyncio.sleep(0.02)
        assert lab.running() == [attempt.attempt_id]
        monitor = daemon.daemon.context.monitors["gpu1"]
        assert monitor.host.drained is None, "what dies slowly closes no host"
        daemon.set_timings(unkillable_after=0.01)
        await daemon.until(lambda: monitor.host.drained is not None, "its host takes no new work")
        assert "does not end after SIGKILL" in str(monitor.host.drained)
        assert "hostler undrain gpu1" in str(monitor.host.drained)
        await daemon.daemon.service.undrain("gpu1", OWNER)
        before = len(failures)
        await daemon.until(lambda: len(failures) > before + 1, "it is tried again")
        assert monitor.host.drained is None, "a person has the last word"
        faults_on(lab, "gpu1").mend_gpu(index)
        assert (await daemon.finished(run_id)).outcome is Outcome.CANCELLED
        await daemon.clean()
        told = [event.kind for event in await last_events(store)]
        assert told.count("stop.failed") == 1, "the same words again are no news"


async def test_a_slow_host_is_only_slow(tmp_path: Path) -> None:
    lab = small_lab(1)
    faults_on(lab, "gpu1").slow(0.05)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.05")))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert len(run.attempts) == 1


async def test_a_drained_host_takes_nothing(tmp_path: Path) -> None:
    lab = small_lab(2, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        await connected(daemon)
        await daemon.daemon.service.drain("gpu1", "a new fan", OWNER)
        runs = [
            await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.01"))) for _ in range(3)
        ]
        for run_id in runs:
            run = await daemon.finished(run_id)
            assert [a.host for a in run.attempts] == ["gpu2"], told(run)
