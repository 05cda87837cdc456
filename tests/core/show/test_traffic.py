"""Requests of services in tables."""

from __future__ import annotations

from hostler.model.views.traffic import TrafficView
from hostler.show.traffic import NOW, TOTAL, cells_now, cells_total, milliseconds


def test_cells() -> None:
    found = TrafficView(requests=90, failed=2, per_second=1.5, p50_ms=0.0, p95_ms=1234.0)
    assert cells_now(found) == ["1.5", "2", "<1ms", "1.2s"]
    assert cells_total(found) == ["90", "2", "<1ms", "1.2s"]
    assert cells_now(None) == cells_total(None) == ["-"] * len(NOW) == ["-"] * len(TOTAL)
    assert [milliseconds(value) for value in (None, 42.4, 999.0)] == ["-", "42ms", "999ms"]
