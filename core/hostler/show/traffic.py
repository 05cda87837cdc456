"""Requests, errors and response times (P50, P95) of services as cells of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.base.table import Column

if TYPE_CHECKING:
    from hostler.model.views.traffic import TrafficView

NOW = (
    Column("REQ/S", right=True), Column("ERRORS", right=True),
    Column("P50", right=True), Column("P95", right=True),
)  # fmt: skip
TOTAL = (Column("REQUESTS", right=True), *NOW[1:])


def cells_now(traffic: TrafficView | None) -> list[str]:
    """Cells for the columns `NOW`."""
    if traffic is None:
        return ["-"] * len(NOW)
    rate = traffic.per_second
    return ["-" if rate is None else f"{rate:.1f}", *_rest(traffic)]


def cells_total(traffic: TrafficView | None) -> list[str]:
    """Cells for the columns `TOTAL`."""
    return ["-"] * len(TOTAL) if traffic is None else [str(traffic.requests), *_rest(traffic)]


def milliseconds(value: float | None) -> str:
    """A response time."""
    if value is None:
        return "-"
    if value < 1:
        return "<1ms"
    return f"{value:.0f}ms" if value < 1000 else f"{value / 1000:.1f}s"


def _rest(traffic: TrafficView) -> list[str]:
    return [str(traffic.failed), milliseconds(traffic.p50_ms), milliseconds(traffic.p95_ms)]
