"""Requests of services over time steps."""

from __future__ import annotations

import pytest

from hostler.insight.traffic import release_traffic, steps_of, traffic_view
from hostler.model.traffic import Traffic, TrafficRow, TrafficTotal
from hostler_agent.gatewaylog import STEP

_NOW = 1_800_000_030.0
_T = 1_800_000_000


def test_steps_are_no_shorter_than_what_is_kept() -> None:
    assert (steps_of(_NOW, 5).step_s, steps_of(_NOW, 5).length) == (60.0, 6)
    assert steps_of(_NOW, 24 * 60).step_s == 600.0
    assert steps_of(_NOW, 47 * 60 + 1).step_s == 3600.0
    assert steps_of(_NOW, 30 * 24 * 60).step_s == 14_400.0


def test_a_gap_is_not_a_minute_without_requests() -> None:
    grid = steps_of(_NOW, 3)
    rows = [
        TrafficRow("r1", "serve", _T - 180, Traffic(60, 6, 0, (0, 54))),
        TrafficRow("r1", "serve", _T, Traffic(15, 0, 0, (0, 0, 15))),
    ]
    counted = {_T - 180: 60.0, _T - 60: 60.0, _T: 30.0}  # not the second minute
    total = TrafficTotal("r1", "serve", Traffic(75, 6, 0, (0, 54, 15)), _T - 180, _T)
    found = release_traffic(grid, rows, counted, total, 2)
    assert grid.begin == _T - 180
    assert found.requests == (1.0, None, 0.0, 0.5)
    assert found.failed == (0.1, None, 0.0, 0.0)
    assert [each is None for each in found.p95_ms] == [False, True, True, False]
    assert (found.number, found.total.requests, found.total.per_second) == (2, 75, None)


def test_the_numbers_of_a_minute() -> None:
    found = traffic_view(Traffic(10, 1, 0, (0, 5, 4)), 5.0, 20.0)
    assert (found.per_second, found.failed) == (0.5, 1)
    assert found.p50_ms == pytest.approx(1.04, rel=0.01)
    assert traffic_view(Traffic(), 5.0, 20.0).p50_ms is None


def test_each_percentile_is_of_its_own_part() -> None:
    found = traffic_view(Traffic(100, 0, 0, (0, 90, 5, 5)), 5.0, 0.0)
    one, two, three = (STEP ** (step - 0.5) for step in (1, 2, 3))
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (one, two, three)
    assert found.per_second is None
