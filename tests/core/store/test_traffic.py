"""Requests of services in the metrics database."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.model.traffic import Traffic, TrafficRow
from hostler.store.database import Store
from hostler.store.traffic import TrafficStore

_T = 1_800_000_000
_DAY = 86_400
_HOUR = _T // 3600 * 3600


@pytest.fixture
def traffic(store: Store) -> TrafficStore:
    return TrafficStore(*store.metrics.connections)


def row(at: int, *steps: int, run_id: str = "raaaaaa", failed: int = 0) -> TrafficRow:
    return TrafficRow(run_id, "serve", at, Traffic(sum(steps) + failed, failed, 0, steps))


async def test_requests_add_up_in_their_minute_and_in_all(traffic: TrafficStore) -> None:
    await traffic.add([row(_T, 0, 2, failed=1)], {_T: 5.0})
    await traffic.add([row(_T, 0, 0, 3), row(_T, 1, run_id="rbbbbbb")], {_T: 5.0})
    await traffic.add([row(_T + 60, 0, 1)], {_T + 60: 4.0})
    rows, counted = await traffic.rows(["raaaaaa"], _T, _T + 120)
    assert rows == [
        TrafficRow("raaaaaa", "serve", _T, Traffic(6, 1, 0, (0, 2, 3))),
        TrafficRow("raaaaaa", "serve", _T + 60, Traffic(1, 0, 0, (0, 1))),
    ]
    assert counted == {_T: 10.0, _T + 60: 4.0}
    (total,) = await traffic.totals(["raaaaaa", "rcccccc"])
    assert (total.traffic, total.first, total.last) == (
        Traffic(7, 1, 0, (0, 3, 3)), _T, _T + 60,
    )  # fmt: skip


async def test_no_number_is_too_large_for_its_column(traffic: TrafficStore) -> None:
    huge = TrafficRow("raaaaaa", "serve", _T, Traffic(2**80, 2**80, 0, (2**80,)))
    await traffic.add([huge, huge], {})
    (total,) = await traffic.totals(["raaaaaa"])
    assert total.traffic.requests == 2**53


async def test_old_minutes_become_hours_and_then_go(traffic: TrafficStore) -> None:
    minutes = [row(_HOUR + 60 * n, 0, n + 1) for n in range(60)]
    await traffic.add(minutes, {each.at: 60.0 for each in minutes})
    later = _HOUR + 3 * _DAY
    await traffic.add([row(later, 1)], {later: 60.0})
    for _ in range(2):  # once more changes nothing
        await traffic.prune(later + 60, later - 30 * _DAY)
        rows, counted = await traffic.rows(["raaaaaa"], _HOUR, later + 60)
        whole = Traffic(1830, 0, 0, (0, 1830))
        assert [(each.at, each.traffic) for each in rows] == [
            (_HOUR, whole), (later, Traffic(1, 0, 0, (1,))),
        ]  # fmt: skip
        assert counted == {_HOUR: 3600.0, later: 60.0}
    await traffic.prune(later, later - _DAY)
    rows, counted = await traffic.rows(["raaaaaa"], 0, later + 60)
    assert ([each.at for each in rows], counted) == ([later], {later: 60.0})
    (total,) = await traffic.totals(["raaaaaa"])
    assert total.traffic.requests == 1831
    await traffic.prune(later + 400 * _DAY, later + 370 * _DAY)
    assert await traffic.totals(["raaaaaa"]) == []


async def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "again")
    await TrafficStore(*store.metrics.connections).add([row(_T, 1, 2)], {_T: 5.0})
    await store.close()
    store = await Store.open(tmp_path / "again")
    (total,) = await TrafficStore(*store.metrics.connections).totals(["raaaaaa"])
    assert total.traffic == Traffic(3, 0, 0, (1, 2))
    await store.close()
