from __future__ import annotations

import math
from pathlib import Path

import pytest

from hostler.model.records import GpuSample, MetricPoint
from hostler.store.database import Store
from hostler.units import GIB, MIB

_T = 1_700_000_040.0  # a whole minute
assert _T % 60 == 0


def _sample(at: float, utilization: float | None = 50.0, gpu: str = "GPU-1") -> GpuSample:
    return GpuSample("gpu1", gpu, at, utilization, 2 * GIB, 100.4, 60.0)


async def test_a_minute_is_rolled_up_once_it_is_over(store: Store) -> None:
    for second in range(0, 200, 2):
        await store.metrics.add_gpu_samples([_sample(_T + second, second % 4 * 25.0)])
    points = await store.metrics.gpu_series("GPU-1", _T, _T + 200)
    assert [point.at - _T for point in points] == [0, 60, 120, 180]
    assert [point.samples for point in points] == [30, 30, 30, 10]
    assert points[0].utilization == pytest.approx(25.0)
    assert points[0].memory_used == points[0].memory_peak == 2 * GIB
    assert points[0].power == pytest.approx(100.0)
    assert points[0].temperature == 60
    rolled = await store.metrics._readers.run(
        lambda db: [row[0] for row in db.execute("SELECT t FROM gpu_minutes ORDER BY t")]
    )
    assert rolled == [_T, _T + 60, _T + 120]


async def test_minutes_missed_while_the_daemon_was_down_are_made_up_for(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.metrics.add_gpu_samples([_sample(_T), _sample(_T + 2)])
    await store.close()
    store = await Store.open(tmp_path)
    await store.metrics.add_gpu_samples([_sample(_T + 7200)])
    points = await store.metrics.gpu_series("GPU-1", _T, _T + 8000)
    assert [(point.at - _T, point.samples) for point in points] == [(0, 2), (7200, 1)]
    await store.close()


async def test_what_was_not_measured_stays_unknown(store: Store) -> None:
    unknown = GpuSample("gpu1", "GPU-1", _T, None, None, math.nan, None)
    await store.metrics.add_gpu_samples([unknown])
    await store.metrics.add_gpu_samples([])
    (point,) = await store.metrics.gpu_series("GPU-1", _T, _T + 60)
    assert (point.utilization, point.memory_used, point.power, point.temperature) == (None,) * 4
    (sample,) = await store.metrics.gpu_samples("GPU-1", _T, _T + 60)
    assert (sample.utilization, sample.memory_used, sample.power) == (None, None, None)


async def test_the_fleet_is_the_mean_of_its_gpus(store: Store) -> None:
    for second in range(0, 80, 2):
        at = _T + second
        await store.metrics.add_gpu_samples(
            [_sample(at, 0.0, "GPU-1"), _sample(at, 100.0, "GPU-2")]
        )
    (point,) = await store.metrics.fleet_series(_T, _T + 60)
    assert (point.utilization, point.samples, point.memory_used) == (50.0, 2, 2 * GIB)


async def test_pruning_keeps_what_is_not_rolled_up(store: Store) -> None:
    for second in range(0, 200, 2):
        await store.metrics.add_gpu_samples([_sample(_T + second)])
    await store.metrics.prune(_T + 10_000, _T + 60)
    points = await store.metrics.gpu_series("GPU-1", _T, _T + 200)
    assert [point.at - _T for point in points] == [60, 120, 180]
    assert len(await store.metrics.gpu_samples("GPU-1", _T, _T + 200)) == 10


async def test_memory_is_whole_mebibytes(store: Store) -> None:
    await store.metrics.add_gpu_samples([GpuSample("gpu1", "GPU-1", _T, memory_used=MIB * 3 + 5)])
    (sample,) = await store.metrics.gpu_samples("GPU-1", _T, _T + 1)
    assert sample.memory_used == 3 * MIB


async def test_stage_metrics_keep_their_order_and_may_be_put_again(store: Store) -> None:
    points = [
        MetricPoint("loss", 2.0, 100.0, 1),
        MetricPoint("acc", 0.5, 100.0, 1),
        MetricPoint("loss", math.nan, 101.0, 2),
        MetricPoint("loss", math.inf, 102.0, 3),
    ]
    await store.put_stage_metrics("r1-a-1", points)
    await store.put_stage_metrics("r1-a-1", points[2:], first=2)
    await store.put_stage_metrics("r1-b-1", [MetricPoint("loss", 9, 100.0)])
    assert await store.metrics.count_stage_metrics("r1-a-1") == 4
    assert await store.metrics.count_stage_metrics("unknown") == 0
    losses = await store.stage_metrics(["r1-a-1"], ["loss"])
    assert [point.step for point in losses] == [1, 2, 3]
    assert losses[0].value == 2.0
    assert math.isnan(losses[1].value)
    assert losses[2].value == math.inf
    both = await store.stage_metrics(["r1-b-1", "r1-a-1"])
    assert [(point.attempt_id, point.name) for point in both] == [
        ("r1-b-1", "loss"),
        ("r1-a-1", "loss"),
        ("r1-a-1", "acc"),
        ("r1-a-1", "loss"),
        ("r1-a-1", "loss"),
    ]
