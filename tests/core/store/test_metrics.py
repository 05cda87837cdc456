from __future__ import annotations

import math
from pathlib import Path

import pytest

from hostler.base.units import GIB, MIB
from hostler.model.records import FleetSeries, GpuSample, GpuSeries, MetricPoint
from hostler.store.database import Store
from hostler.store.metrics_migrations import METRICS
from hostler.store.opening import open_for_writing
from hostler.store.schema import Schema

_T = 1_700_000_040.0  # a whole minute
assert _T % 60 == 0


def _sample(at: float, utilization: float | None = 50.0, gpu: str = "GPU-1") -> GpuSample:
    return GpuSample("gpu1", gpu, at, utilization, 2 * GIB, 100.4, 60.0)


async def series_of(
    store: Store, host: str, gpu: str, since: float, until: float, step: int = 60
) -> GpuSeries:
    """What one GPU did."""
    return (await store.metrics.gpu_series_of(host, [gpu], since, until, step))[gpu]


async def test_a_minute_is_rolled_up_once_it_is_over(store: Store) -> None:
    for second in range(0, 200, 2):
        await store.metrics.add_gpu_samples([_sample(_T + second, second % 4 * 25.0)])
    series = await series_of(store, "gpu1", "GPU-1", _T, _T + 200)
    assert [at - _T for at in series.at] == [0, 60, 120, 180]
    assert series.samples == (30, 30, 30, 10)
    assert series.utilization == pytest.approx((25.0,) * 4)
    assert series.memory_used == series.memory_peak == (2 * GIB,) * 4
    assert series.power == pytest.approx((100.0,) * 4)
    assert series.temperature == (60,) * 4
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
    series = await series_of(store, "gpu1", "GPU-1", _T, _T + 8000)
    assert ([at - _T for at in series.at], series.samples) == ([0, 7200], (2, 1))
    assert await series_of(store, "gpu1", "GPU-9", _T, _T + 8000) == GpuSeries()
    await store.close()


async def test_what_was_not_measured_stays_unknown(store: Store) -> None:
    unknown = GpuSample("gpu1", "GPU-1", _T, None, None, math.nan, None)
    await store.metrics.add_gpu_samples([unknown])
    await store.metrics.add_gpu_samples([])
    series = await series_of(store, "gpu1", "GPU-1", _T, _T + 60)
    assert series == GpuSeries((_T,), (None,), (None,), (None,), (None,), (None,), (1,))
    (sample,) = await store.metrics.gpu_samples("gpu1", "GPU-1", _T, _T + 60)
    assert (sample.utilization, sample.memory_used, sample.power) == (None, None, None)


async def test_the_fleet_is_the_mean_of_its_gpus(store: Store) -> None:
    for second in range(0, 80, 2):
        at = _T + second
        await store.metrics.add_gpu_samples(
            [_sample(at, 0.0, "GPU-1"), _sample(at, 100.0, "GPU-2")]
        )
    rolled = await store.metrics._readers.run(
        lambda db: [tuple(row) for row in db.execute("SELECT * FROM fleet_minutes")]
    )
    assert [row[:4] for row in rolled] == [(_T, 2, 500, 2 * GIB // (8 * MIB))]


async def test_the_fleets_totals_hold_the_running_minute_too(store: Store) -> None:
    for second in range(0, 140, 2):
        silent = GpuSample("gpu1", "GPU-3", _T + second, 20.0)
        given = [_sample(_T + second, 0.0, "GPU-1"), _sample(_T + second, 100.0, "GPU-2"), silent]
        await store.metrics.add_gpu_samples(given)
    totals = await store.metrics.totals(_T, _T + 180)
    assert [at - _T for at in totals.at] == [0, 60, 120]
    assert totals.utilization == pytest.approx((40.0,) * 3)
    assert totals.power == pytest.approx((200.0,) * 3)
    assert await store.metrics.totals(_T + 6000, _T + 6060) == FleetSeries()
    assert await store.metrics.gpus_of("gpu1") == ["GPU-1", "GPU-2", "GPU-3"]


async def test_pruning_keeps_what_is_not_rolled_up(store: Store) -> None:
    for second in range(0, 200, 2):
        await store.metrics.add_gpu_samples([_sample(_T + second)])
    await store.metrics.prune(_T + 10_000, _T + 60)
    series = await series_of(store, "gpu1", "GPU-1", _T, _T + 200)
    assert [at - _T for at in series.at] == [60, 120, 180]
    assert len(await store.metrics.gpu_samples("gpu1", "GPU-1", _T, _T + 200)) == 10


async def test_memory_is_kept_in_steps_of_8_mib(store: Store) -> None:
    await store.metrics.add_gpu_samples([GpuSample("gpu1", "GPU-1", _T, memory_used=MIB * 25)])
    (sample,) = await store.metrics.gpu_samples("gpu1", "GPU-1", _T, _T + 1)
    assert sample.memory_used == 24 * MIB


@pytest.mark.parametrize("step", [60, 120, 300, 3600])
async def test_wider_steps_say_the_same_of_all_their_minutes(store: Store, step: int) -> None:
    begin = _T // 3600 * 3600
    for second in range(0, 1200, 10):
        await store.metrics.add_gpu_samples([_sample(begin + second, second // 60 * 5.0)])
    series = await series_of(store, "gpu1", "GPU-1", begin, begin + 3600, step)
    assert series.at == tuple(begin + at for at in range(0, 1200, step))
    assert sum(series.samples) == 120
    minutes = min(step, 1200) // 60
    means = [sum(range(first, first + minutes)) * 5.0 / minutes for first in range(0, 20, minutes)]
    assert series.utilization == pytest.approx(means)


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
    rows, more = await store.metrics.page_of_metrics("r1-a-1", 0, 10)
    assert more is None
    losses = [row for row in rows if row.name == "loss"]
    assert [point.step for point in losses] == [1, 2, 3]
    assert losses[0].value == 2.0
    assert math.isnan(losses[1].value)
    assert losses[2].value == math.inf
    assert [point.name for point in rows] == ["loss", "acc", "loss", "loss"]
    assert {point.attempt_id for point in rows} == {"r1-a-1"}
    await store.put_stage_metrics("r1-a-1", points[:1], first=1)  # the file was written anew
    rows, _ = await store.metrics.page_of_metrics("r1-a-1", 0, 10)
    assert [point.name for point in rows] == ["loss", "loss"]


async def test_rows_come_in_pages_and_thinned(store: Store) -> None:
    points = [MetricPoint(name, n, n, n) for n in range(100) for name in ("a", "b", "c")]
    await store.put_stage_metrics("r1-a-1", points)
    first, more = await store.metrics.page_of_metrics("r1-a-1", 0, 200)
    rest, end = await store.metrics.page_of_metrics("r1-a-1", more or 0, 200)
    assert (len(first), more, len(rest), end) == (200, 200, 100, None)
    few = await store.metrics.thinned_metrics(["r1-a-1"], 50, rows=30)
    assert len(few) <= 33
    assert few[-1].value == 99.0


async def test_what_a_host_says_of_a_gpu_of_another_is_no_history_of_it(store: Store) -> None:
    evil = GpuSample("evil", "GPU-1", _T, 99.0, 2 * GIB, 1.0, 1.0)
    await store.metrics.add_gpu_samples([evil])
    await store.metrics.add_gpu_samples([_sample(_T), evil])
    series = await series_of(store, "gpu1", "GPU-1", _T, _T + 60)
    assert series.utilization == (50.0,)
    (sample,) = await store.metrics.gpu_samples("evil", "GPU-1", _T, _T + 60)
    assert sample.utilization == 99.0


async def test_history_of_before_gpus_had_hosts_is_kept(tmp_path: Path) -> None:
    old = Schema(METRICS.name, METRICS.steps[:1])
    connection = open_for_writing(tmp_path / "metrics.db", old, synchronous="NORMAL", backups=False)
    connection.execute("INSERT INTO gpus (id, uuid, host) VALUES (7, 'GPU-1', 'gpu1')")
    connection.execute("INSERT INTO gpu_samples VALUES (7, ?, 50, 1, 1, 1)", (int(_T),))
    connection.commit()
    connection.close()
    store = await Store.open(tmp_path)
    try:
        await store.metrics.add_gpu_samples([_sample(_T + 2)])
        assert len(await store.metrics.gpu_samples("gpu1", "GPU-1", _T, _T + 60)) == 2
    finally:
        await store.close()


@pytest.mark.parametrize("value", [1e18, -1e18, float(2**63 - 1), 1e300])
async def test_no_number_of_one_host_keeps_those_of_others_from_being_written(
    store: Store, value: float
) -> None:
    """Neither now, nor when its minute is rolled up: that would fail again and again."""
    evil = GpuSample("evil", "GPU-9", _T, value, int(value), value, value)
    await store.metrics.add_gpu_samples([evil, _sample(_T)])
    await store.metrics.add_gpu_samples([_sample(_T + 120)])
    series = await series_of(store, "gpu1", "GPU-1", _T, _T + 180)
    assert series.samples == (1, 1)
    assert series.utilization == (50.0, 50.0)
    seen = await series_of(store, "evil", "GPU-9", _T, _T + 180)
    assert (seen.utilization, seen.power, seen.temperature) == ((None,), (None,), (None,))
