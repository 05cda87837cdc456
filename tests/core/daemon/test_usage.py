from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hostler.daemon.context import Context
from hostler.daemon.usage import Usage
from hostler.model.hosts import Gpu, Host, HostCondition, Look
from hostler.model.records import GpuSample
from hostler.model.runs import Attempt, Phase
from hostler.model.timings import DEFAULT

HOST = Host(name="gpu1", transport="ssh", condition=HostCondition.UP, since=0.0)


class _Clock:
    at = 0.0

    def now(self) -> float:
        return self.at


def attempt(phase: Phase = Phase.RUNNING, **more: Any) -> Attempt:
    return Attempt(
        attempt_id="r1-a-1",
        run_id="r1",
        stage="a",
        number=1,
        phase=phase,
        host="gpu1",
        gpus=("GPU-a", "GPU-b"),
        placed_at=0.0,
        runtime="docker",
        **more,
    )


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def usage(clock: _Clock) -> Usage:
    run_cache = SimpleNamespace(open_attempts=lambda: [attempt()])
    context = SimpleNamespace(run_cache=run_cache, clock=clock, timings=DEFAULT)
    return Usage(cast(Context, context))


def look(at: float, *gpus: Gpu) -> Look:
    return Look(asked_at=at, boot_id="b", gpus=gpus)


def gpu(uuid: str, **more: Any) -> Gpu:
    return Gpu(uuid=uuid, index=0, **more)


async def test_a_restart_of_the_daemon_loses_nothing_that_was_measured(clock: _Clock) -> None:
    def sample(uuid: str, at: float) -> GpuSample:
        return GpuSample("gpu1", uuid, at, utilization=50.0, memory_used=2**30, power=360.0)

    async def samples(_host: str, uuid: str, since: float, until: float) -> list[GpuSample]:
        return [sample(uuid, at) for at in (0.0, 10.0, 20.0) if since <= at <= until]

    clock.at = 40.0
    running = attempt(started_at=0.0)
    metrics = SimpleNamespace(gpu_samples=samples)
    run_cache = SimpleNamespace(open_attempts=lambda: [running])
    store = SimpleNamespace(metrics=metrics)
    usage = Usage(cast(Context, SimpleNamespace(run_cache=run_cache, clock=clock, store=store)))
    await usage.recall()
    for at, energy in ((40.0, 1000.0), (50.0, 4600.0)):
        cards = [gpu(u, utilization=50.0, energy=energy) for u in ("GPU-a", "GPU-b")]
        usage.saw(HOST, look(at, *cards))
    used = usage.summary(attempt(Phase.SUCCEEDED, started_at=0.0, finished_at=50.0))
    assert used["gpu_seconds_busy"] == pytest.approx(50.0)
    assert used["gpu_utilization_mean"] == pytest.approx(50.0)
    assert used["gpu_memory_peak"] == 2**30
    assert used["energy_wh"] == pytest.approx(2 * 50 * 360 / 3600)


def test_busy_seconds_peak_memory_and_energy_are_summed_over_the_attempts_gpus(
    usage: Usage,
) -> None:
    for at, busy, energy in ((0.0, 0.0, 100.0), (10.0, 50.0, 3700.0), (20.0, 100.0, 7300.0)):
        usage.saw(
            HOST,
            look(
                at,
                gpu("GPU-a", utilization=busy, memory_used=int(at) * 2**20, energy=energy),
                gpu("GPU-b", utilization=busy, memory_used=0),
                gpu("GPU-c", utilization=100.0, memory_used=2**40, energy=at),
            ),
        )
    used = usage.summary(attempt(Phase.SUCCEEDED, started_at=0.0, finished_at=20.0))
    assert used["gpu_seconds_allocated"] == 40.0
    assert used["gpu_seconds_busy"] == pytest.approx(30.0)
    assert used["gpu_utilization_mean"] == pytest.approx(75.0)
    assert used["gpu_memory_peak"] == 20 * 2**20
    assert used["energy_wh"] == pytest.approx(2.0)


def test_what_nvml_does_not_tell_is_absent_and_not_zero(usage: Usage) -> None:
    usage.saw(HOST, look(0.0, gpu("GPU-a"), gpu("GPU-b")))
    used = usage.summary(attempt(Phase.SUCCEEDED, started_at=0.0, finished_at=5.0))
    assert used["gpu_seconds_allocated"] == 10.0
    assert not {"gpu_seconds_busy", "gpu_memory_peak", "gpu_utilization_mean", "energy_wh"} & set(
        used
    )


def test_one_reading_of_a_counter_is_no_energy(usage: Usage) -> None:
    for at in (0.0, 2.0):
        usage.saw(HOST, look(at, gpu("GPU-a", energy=500.0), gpu("GPU-b")))
    assert "energy_wh" not in usage.summary(attempt(Phase.SUCCEEDED))


def test_a_gpu_is_idle_only_after_a_quarter_of_an_hour(usage: Usage, clock: _Clock) -> None:
    usage.saw(HOST, look(0.0, gpu("GPU-a", utilization=1.0), gpu("GPU-b", utilization=80.0)))
    clock.at = 899.0
    assert usage.history().idle_since == {}
    clock.at = 901.0
    assert usage.history().idle_since == {(HOST.name, "GPU-a"): 0.0}
    usage.saw(HOST, look(902.0, gpu("GPU-a", utilization=60.0)))
    assert usage.history().idle_since == {}


def test_no_host_makes_the_gpus_of_another_busy_or_idle(usage: Usage, clock: _Clock) -> None:
    usage.saw(HOST, look(0.0, gpu("GPU-a", utilization=1.0)))
    evil = replace(HOST, name="evil")
    usage.saw(evil, look(1.0, gpu("GPU-a", utilization=99.0), gpu("GPU-x", utilization=0.0)))
    clock.at = 950.0
    assert usage.history().idle_since == {(HOST.name, "GPU-a"): 0.0, ("evil", "GPU-x"): 1.0}
    usage.saw(evil, look(951.0))
    assert usage.history().idle_since == {(HOST.name, "GPU-a"): 0.0}  # nor fills the memory


def test_an_attempt_that_ended_lately_is_remembered_for_its_gpus_sake(
    usage: Usage, clock: _Clock
) -> None:
    clock.at = 50.0
    usage.summary(attempt(Phase.FAILED))
    assert usage.history().ended_at == {"r1-a-1": 50.0}


def test_what_runs_is_summed_without_ending_it(usage: Usage, clock: _Clock) -> None:
    running = attempt(started_at=0.0)
    for at in (0.0, 10.0):
        usage.saw(HOST, look(at, gpu("GPU-a", utilization=50.0, memory_used=7)))
    clock.at = 20.0
    so_far = {"gpu_seconds_allocated": 40.0, "gpu_memory_peak": 7.0, "gpu_seconds_busy": 5.0,
              "gpu_utilization_mean": 50.0}  # fmt: skip
    assert usage.so_far(running) == usage.so_far(running) == so_far
    ended = attempt(Phase.SUCCEEDED, started_at=0.0, finished_at=20.0)
    assert usage.summary(ended) == so_far
    assert usage.so_far(attempt(Phase.SUCCEEDED, usage={"energy_wh": 1.0})) == {"energy_wh": 1.0}
