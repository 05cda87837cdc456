"""What must never end the daemon, leak a lease, or leave a run without an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, ConfigError, ConflictError, StateError, Unreachable
from hostler.daemon.config_file import ConfigFiles
from hostler.daemon.fleet import Reloader
from hostler.decide.plan import plan
from hostler.model.config import Config
from hostler.model.events import EventKind
from hostler.model.hosts import HostCondition, Workload
from hostler.model.pipelines import Cause
from hostler.model.runs import Outcome, Phase
from tests.support.daemons.simdaemon import FAST, OWNER, SimDaemon, sim, told
from tests.support.daemons.simlab import faults_on, small_lab
from tests.support.values.planning import stage
from tests.support.values.stored import last_events

FULL = StateError("the disk is full", remedy="free some space")


def running(attempt: object) -> bool:
    return getattr(attempt, "phase", None) is Phase.RUNNING


def without(config: Config, host: str) -> Config:
    return replace(config, hosts=tuple(h for h in config.hosts if h.name != host))


def relabelled(config: Config, label: str) -> Config:
    return replace(config, hosts=tuple(replace(h, labels={"x": label}) for h in config.hosts))


def drained(daemon: SimDaemon, host: str) -> str | None:
    return daemon.daemon.context.monitors[host].host.drained


def is_up(daemon: SimDaemon, host: str) -> bool:
    return daemon.daemon.context.monitors[host].host.condition is HostCondition.UP


def take_bugs(daemon: SimDaemon) -> list[str]:
    """What the daemon has called bugs, of which the test is the cause."""
    found, daemon.bugs.found = daemon.bugs.found, []
    return found


class Failing:
    """Stands in for a method and fails until it is mended; counts its calls."""

    def __init__(self, real: Callable[..., Any], error: Exception) -> None:
        self.calls, self._real, self._error, self.mended = 0, real, error, False

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.calls += 1
        if not self.mended:
            raise self._error
        return self._real(*args, **more)


async def test_a_host_put_back_into_the_config_takes_work_again(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.4")))
        await daemon.attempt(run_id, running)
        await daemon.daemon.fleet.apply(without(daemon.config, "gpu1"))
        assert drained(daemon, "gpu1") == "no longer in the config"
        await daemon.daemon.fleet.apply(daemon.config)
        assert drained(daemon, "gpu1") is None
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED


async def test_an_undrained_host_stays_so_when_its_config_changes(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        service, fleet = daemon.daemon.service, daemon.daemon.fleet
        await service.drain("gpu1", "a new fan", OWNER)
        await fleet.apply(relabelled(daemon.config, "a"))
        assert drained(daemon, "gpu1") == "a new fan"
        await service.undrain("gpu1", OWNER)
        await fleet.apply(relabelled(daemon.config, "b"))
        assert drained(daemon, "gpu1") is None


@pytest.mark.parametrize("runtime", ["docker", "process"])
async def test_a_log_is_followed_over_a_change_of_its_hosts_config(
    tmp_path: Path, runtime: str
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        image = "i" if runtime == "docker" else None
        env = sim("seconds=0.6 lines=20")
        run_id = await daemon.submit(stage("train", gpus=1, runtime=runtime, image=image, env=env))
        await daemon.attempt(run_id, running)
        store = daemon.daemon.context.store.logs
        name = f"{run_id}-train-1"
        await daemon.until(lambda: store.size(run_id, name) > 0, "nothing is followed")
        await daemon.daemon.fleet.apply(relabelled(daemon.config, "a"))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        log = store.tail(run_id, name, 100).decode().splitlines()
        assert log == [f"{name}: step {n}/20" for n in range(1, 21)]
        await daemon.clean()


async def test_reloads_while_starts_are_in_flight_lose_nothing(tmp_path: Path) -> None:
    lab = small_lab(2, gpus=2)
    async with SimDaemon(lab, tmp_path) as daemon:
        runs = []
        for turn in range(8):
            runs.append(await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02"))))
            await daemon.daemon.fleet.apply(relabelled(daemon.config, str(turn)))
        for run_id in runs:
            run = await daemon.finished(run_id)
            assert run.outcome is Outcome.SUCCEEDED, told(run)
        await daemon.clean()
        assert lab.referee.violations == []


async def test_what_ran_on_a_host_that_the_config_lost_can_be_cancelled(tmp_path: Path) -> None:
    lab = small_lab(2, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, grace=0.05, env=sim("seconds=60")))
        attempt = await daemon.attempt(run_id, running)
        await daemon.stop()
        whole, daemon.config = daemon.config, without(daemon.config, attempt.host)
        await daemon.begin()
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert (run.outcome, run.attempts[0].cause) == (Outcome.CANCELLED, Cause.STOPPED)
        assert "no longer in the config" in run.attempts[0].detail
        await daemon.daemon.fleet.apply(whole)
        await daemon.clean()


async def test_a_reload_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[hosts.a]\n")
    short = replace(FAST, reload_every=0.01)
    async with SimDaemon(small_lab(1), tmp_path / "state", timings=short) as daemon:
        context, files = daemon.daemon.context, ConfigFiles(str(file))
        files.load()
        monkeypatch.setattr(files, "load", lambda: daemon.config)
        monkeypatch.setattr(files, "has_changed", iter([True, *[False] * 10_000]).__next__)
        faults = Failing(context.store.gpu_faults, FULL)
        monkeypatch.setattr(context.store, "gpu_faults", faults)
        following = asyncio.create_task(Reloader(context, daemon.daemon.fleet, files).run())
        try:
            await daemon.until(lambda: faults.calls >= 3, "it is not tried again")
            faults.mended = True

            async def loaded() -> bool:
                return any(e.kind == "config.loaded" for e in await last_events(context.store))

            async with asyncio.timeout(30):
                while not await loaded():
                    await asyncio.sleep(0.01)
            assert not following.done()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def test_a_config_that_no_link_can_be_made_from_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        context, fleet = daemon.daemon.context, daemon.daemon.fleet
        before = context.monitors["gpu1"]
        outside = replace(fleet._outside, link=Failing(fleet.load, ConfigError("bad python")))
        monkeypatch.setattr(fleet, "_outside", outside)
        with pytest.raises(ConfigError):
            await fleet.apply(relabelled(daemon.config, "a"))
        assert context.monitors["gpu1"] is before
        assert context.config == daemon.config


async def test_a_monitor_that_fails_oddly_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(
        small_lab(1), tmp_path, timings=replace(FAST, refused_pause=0.05)
    ) as daemon:
        await daemon.until(lambda: is_up(daemon, "gpu1"), "not up")
        kept = daemon.daemon.context.monitors["gpu1"]
        odd = Failing(kept._on_look, KeyError("a bug"))
        kept._on_look = odd
        await daemon.until(lambda: not is_up(daemon, "gpu1"), "not noticed")
        assert "a bug" in str(kept.host.problem)
        odd.mended = True
        await daemon.until(lambda: is_up(daemon, "gpu1"), "it does not come back")
        assert take_bugs(daemon)


async def test_a_log_that_cannot_be_opened_stops_no_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        env = sim("seconds=1 lines=20")
        run_id = await daemon.submit(stage("train", gpus=1, env=env))
        attempt = await daemon.attempt(run_id, running)
        await daemon.kill()
        await daemon.begin()
        store = daemon.daemon.context.store
        opening = Failing(store.open_log, FULL)
        monkeypatch.setattr(store, "open_log", opening)
        await daemon.until(lambda: opening.calls >= 3, "the next look does not try again")
        assert is_up(daemon, "gpu1")
        opening.mended = True
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        log = store.logs.tail(run_id, attempt.attempt_id, 100).decode().splitlines()
        assert log == [f"{attempt.attempt_id}: step {n}/20" for n in range(1, 21)]


@pytest.mark.parametrize("until_the_end", [False, True])
async def test_a_full_disk_delays_a_log_and_the_end_and_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until_the_end: bool
) -> None:
    from hostler.store.logs import LogFile

    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        store = daemon.daemon.context.store
        real = LogFile.append
        full, refused = True, 0

        def append(log: LogFile, *args: Any) -> None:
            nonlocal refused
            if full:
                refused += 1
                raise FULL
            real(log, *args)

        monkeypatch.setattr(LogFile, "append", append)
        telling = Failing(store.add_event, FULL)
        monkeypatch.setattr(store, "add_event", telling)
        env = sim("seconds=0.5 lines=20")
        run_id = await daemon.submit(stage("train", gpus=1, runtime="docker", image="i", env=env))
        attempt = await daemon.attempt(run_id, running)
        await daemon.until(lambda: refused > 0, "nothing is written")
        if until_the_end:
            await daemon.until(lambda: not lab.running(), "it does not end")
            await daemon.until(lambda: telling.calls >= 3, "the end is not tried again")
            assert daemon.daemon.context.run_cache.find(run_id) is not None
        full, telling.mended = False, True
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        log = store.logs.tail(run_id, attempt.attempt_id, 100).decode().splitlines()
        assert log == [f"{attempt.attempt_id}: step {n}/20" for n in range(1, 21)]
        await daemon.clean()


async def test_a_broken_database_of_metrics_keeps_no_stage_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        store = daemon.daemon.context.store
        monkeypatch.setattr(store.metrics, "put_stage_metrics", Failing(store.drains, FULL))
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02 metric.loss=1")))
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert "attempt.metrics_lost" in await daemon.kinds(run_id)


@pytest.mark.parametrize("error", [FULL, ConflictError("held"), KeyError("a bug")])
async def test_an_intent_that_cannot_be_written_is_never_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        store = daemon.daemon.context.store
        adding = Failing(store.add_attempt, error)
        monkeypatch.setattr(store, "add_attempt", adding)
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02")))
        await daemon.until(lambda: adding.calls >= 3, "it is not tried again")
        assert lab.referee.creates == {}
        adding.mended = True
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert len(run.attempts) == 1
        take_bugs(daemon)
        await daemon.clean()


async def test_a_start_without_an_answer_is_not_repeated_in_a_hot_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        runtime = daemon.daemon.context.runtimes["process"]
        creating = Failing(runtime.create, Unreachable("gpu1", "no answer"))
        monkeypatch.setattr(runtime, "create", creating)
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02")))
        await daemon.until(lambda: creating.calls >= 2, "it is not tried again")
        begun, calls = asyncio.get_running_loop().time(), creating.calls
        await daemon.until(lambda: creating.calls >= calls + 4, "it is not tried again")
        # Four pauses of 0.05 s lie between them.
        assert asyncio.get_running_loop().time() - begun > 0.15
        creating.mended = True
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED
        await daemon.clean()


async def test_a_start_whose_answer_was_an_error_keeps_its_lease_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        runtime = daemon.daemon.context.runtimes["process"]
        real = runtime.start

        async def start(*args: Any) -> Workload:
            await real(*args)
            raise AgentError("gpu1", "the lease lock is held by somebody for too long")

        monkeypatch.setattr(runtime, "start", start)
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.3")))
        attempt = await daemon.attempt(run_id, running)
        assert lab.running() == [attempt.attempt_id]
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.SUCCEEDED, told(run)
        assert lab.referee.violations == []
        await daemon.clean()


async def test_a_cancel_in_the_middle_of_a_start_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker goes on with a start whose client has gone away: the GPUs are given back only when
    what was started has ended."""
    lab = small_lab(1, gpus=1)
    async with SimDaemon(lab, tmp_path) as daemon:
        runtime = daemon.daemon.context.runtimes["docker"]
        real, begun, late = runtime.start, asyncio.Event(), []

        async def start(*args: Any) -> Workload:
            late.append(asyncio.create_task(slowly(*args)))
            return await asyncio.shield(late[0])

        async def slowly(*args: Any) -> Workload:
            begun.set()
            await asyncio.sleep(0.3)
            return await real(*args)

        removing = runtime.remove

        async def remove(*args: Any) -> None:
            await asyncio.gather(*late, return_exceptions=True)  # Docker locks a container
            await removing(*args)

        monkeypatch.setattr(runtime, "start", start)
        monkeypatch.setattr(runtime, "remove", remove)
        first = await daemon.submit(
            stage("train", gpus=1, runtime="docker", image="i", grace=0.05, env=sim("seconds=60"))
        )
        await begun.wait()
        await daemon.cancel(first)
        monkeypatch.setattr(runtime, "start", real)
        second = await daemon.submit(stage("next", gpus=1, env=sim("seconds=0.3")))
        run = await daemon.finished(first)
        assert (run.outcome, run.attempts[0].phase) == (Outcome.CANCELLED, Phase.CANCELLED)
        assert (await daemon.finished(second)).outcome is Outcome.SUCCEEDED
        assert lab.referee.violations == []
        await daemon.clean()
        await asyncio.gather(*late, return_exceptions=True)


async def test_a_look_in_the_middle_of_a_removal_does_not_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = small_lab(1)
    async with SimDaemon(lab, tmp_path) as daemon:
        runtime, monitor = (
            daemon.daemon.context.runtimes["docker"],
            daemon.daemon.context.monitors["gpu1"],
        )
        removing, removed = runtime.remove, []

        async def remove(link: Any, workload: Workload) -> None:
            removed.append(workload.ref)
            before = monitor.host.look
            monitor.look_soon()
            while monitor.host.look is before:  # one that still shows it
                await asyncio.sleep(0.01)
            await removing(link, workload)

        monkeypatch.setattr(runtime, "remove", remove)
        run_id = await daemon.submit(
            stage("train", gpus=1, runtime="docker", image="i", env=sim("seconds=0.1"))
        )
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED
        await daemon.clean()
        assert len(removed) == 1


async def test_a_cancel_between_claim_and_create_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = small_lab(1)
    faults_on(lab, "gpu1").slow(0.05)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=60")))
        await daemon.attempt(run_id)
        await daemon.cancel(run_id)
        run = await daemon.finished(run_id)
        assert run.outcome is Outcome.CANCELLED
        assert lab.referee.starts == {}
        await daemon.clean()


async def test_a_plan_that_fails_does_not_end_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hostler.daemon import controller

    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        planning = Failing(plan, KeyError("a bug"))
        monkeypatch.setattr(controller, "plan", planning)
        run_id = await daemon.submit(stage("train", gpus=1, env=sim("seconds=0.02")))
        await daemon.until(lambda: planning.calls >= 3, "it does not plan again")
        planning.mended = True
        assert (await daemon.finished(run_id)).outcome is Outcome.SUCCEEDED
        assert take_bugs(daemon)


async def test_events_of_hosts_wait_for_space_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        store = daemon.daemon.context.store
        adding = Failing(store.add_event, FULL)
        monkeypatch.setattr(store, "add_event", adding)
        daemon.daemon.recorder.host_event("gpu1", EventKind.GPU_FAULT, "gpu1: XID 79", "error")
        await daemon.until(lambda: adding.calls >= 2, "it is not tried again")
        adding.mended = True

        async def written() -> bool:
            return any(e.kind == "gpu.fault" for e in await last_events(store))

        async with asyncio.timeout(30):
            while not await written():
                await asyncio.sleep(0.01)


async def test_garbage_that_cannot_be_collected_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=replace(FAST, gc_every=0.01)) as daemon:
        collector = daemon.daemon.service.garbage
        failing = Failing(collector.collect_unasked, OSError("the disk is gone"))
        monkeypatch.setattr(collector, "collect_unasked", failing)
        task = asyncio.create_task(collector.run())
        await daemon.until(lambda: failing.calls >= 3, "it has ended")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert take_bugs(daemon)


async def test_a_lost_database_ends_nobodys_work(tmp_path: Path) -> None:
    lab = small_lab(1, gpus=2)
    async with SimDaemon(lab, tmp_path) as daemon:
        run_id = await daemon.submit(stage("train", gpus=1, grace=0.01, env=sim("seconds=60")))
        attempt = await daemon.attempt(run_id, running)
        await daemon.stop()
        for path in tmp_path.glob("hostler.db*"):
            path.unlink()
        await daemon.begin()
        store = daemon.daemon.context.store

        async def told_so() -> bool:
            return any(e.kind == "workload.unknown" for e in await last_events(store))

        async with asyncio.timeout(30):
            while not await told_so():
                await asyncio.sleep(0.01)
        second = await daemon.submit(stage("next", gpus=1, env=sim("seconds=0.05")))
        assert (await daemon.finished(second)).outcome is Outcome.SUCCEEDED
        assert lab.running() == [attempt.attempt_id]
        events = [e.kind for e in await last_events(store)]
        assert events.count("workload.unknown") == 1
        assert lab.referee.violations == []
