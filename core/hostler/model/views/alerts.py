"""Alerts and events in the API."""

from __future__ import annotations

from dataclasses import dataclass

from hostler.model.events import Event
from hostler.model.views.runs import RunView

EventView = Event


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertView:
    """One alert, open or resolved."""

    id: int
    severity: str = "info"
    """"info", "warning" or "critical"."""
    at: float = 0.0
    """When it was first reported."""
    count: int = 1
    last_at: float = 0.0
    where: str = ""
    """The run, the host, or the host and the index of a GPU."""
    what: str = ""
    remedy: str | None = None
    """The command that may help; None: unknown."""
    run_id: str | None = None
    host: str | None = None
    gpu: str | None = None
    """UUID of the GPU."""
    acknowledged_by: str | None = None
    acknowledged_at: float | None = None
    resolved_at: float | None = None
    """When it was resolved; None: it is not resolved."""

    @property
    def is_open(self) -> bool:
        """Whether it is neither resolved nor acknowledged."""
        return self.resolved_at is None and self.acknowledged_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertList:
    """Alerts, newest first, and the number of open ones without those of severity "info"."""

    alerts: tuple[AlertView, ...] = ()
    open: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLine:
    """A line of a stream: an event, a changed run, or neither, which shows that the daemon is
    alive."""

    event: EventView | None = None
    run: RunView | None = None
