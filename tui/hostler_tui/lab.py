"""The model of the daemon's data that all screens draw from, without widgets; how many notices
are kept. Handlers put answers in; screens read.

Nothing here computes what the daemon knows: these are its answers, when they came, and a number
for each kind that grows when it changed, so that a screen redraws only for news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.model.views.alerts import AlertView
from hostler.model.views.gpus import FleetView
from hostler.model.views.history import FleetHistory
from hostler.model.views.runs import RunView
from hostler.model.views.traffic import TrafficHistory
from hostler_tui.services import Service

NOTICES_KEPT = 200
NOTHING: FleetView = {
    "schema": "hostler.gpus/1", "at": 0.0, "source": "daemon", "summary": {"total": 0, "free": 0},
    "hosts": [],
}  # fmt: skip
"""The fleet before the first answer."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A stored notice that was shown in a toast."""

    at: float
    """Wall clock, s."""
    severity: str
    """ "information", "warning" or "error"."""
    text: str
    count: int = 1


@dataclass
class Lab:
    """All data that screens show."""

    fleet: FleetView | None = None
    fleet_version: int = 0
    fleet_seen_at: float | None = None
    """Wall clock, s, of the last answer (of the stored one before the first)."""
    runs: tuple[RunView, ...] = ()
    """Whole run objects of all open runs, the oldest first."""
    runs_version: int = 0
    are_runs_known: bool = False
    """Whether the daemon has answered with the open runs: an empty list is an answer, too."""
    are_more_runs: bool = False
    """More runs are open than those in `runs`, which are the newest."""
    services: tuple[Service, ...] = ()
    """Services that were not stopped."""
    services_version: int = 0
    are_services_known: bool = False
    traffic: Mapping[str, TrafficHistory] = field(default_factory=dict)
    """The last hour of services, by their keys."""
    traffic_version: int = 0
    history: FleetHistory = field(default_factory=FleetHistory)
    """The fleet's last hour: `step_s`, `utilization`, `power`."""
    alerts: tuple[AlertView, ...] = ()
    """Open and resolved alerts, the newest first."""
    alerts_open: int = 0
    alerts_version: int = 0
    lost_since: float | None = None
    """Wall clock, s, at which the daemon stopped answering; None while it answers."""
    lost_why: str = ""
    tries: int = 0
    connected: bool = False
    """Whether the daemon has answered at all."""
    notices: tuple[Notice, ...] = ()

    def see_fleet(self, fleet: FleetView, at: float) -> None:
        """Take the daemon's answer."""
        self.fleet, self.fleet_seen_at = fleet, at
        self.fleet_version += 1
        self.connected = True
        self.lost_since, self.lost_why, self.tries = None, "", 0

    def see_runs(self, runs: tuple[RunView, ...], *, are_more: bool = False) -> None:
        """Take the open runs."""
        self.are_runs_known, self.are_more_runs = True, are_more
        if runs != self.runs:
            self.runs = runs
            self.runs_version += 1

    def see_alerts(self, alerts: tuple[AlertView, ...], open_count: int) -> None:
        """Take the alerts."""
        if alerts != self.alerts:
            self.alerts = alerts
            self.alerts_version += 1
        self.alerts_open = open_count

    def see_services(self, services: tuple[Service, ...]) -> None:
        """Take the services."""
        if services != self.services or not self.are_services_known:
            self.services = services
            self.services_version += 1
        self.are_services_known = True

    def see_traffic(self, traffic: Mapping[str, TrafficHistory]) -> None:
        """Take the gateway's counts."""
        self.traffic = traffic
        self.traffic_version += 1

    def lose(self, why: str, at: float) -> None:
        """The daemon does not answer. Known values stay, with their age."""
        self.tries += 1
        self.lost_why = why
        if self.lost_since is None:
            self.lost_since = at
        self.fleet_version += 1

    def note(self, severity: str, text: str, at: float) -> None:
        """Store a notice; the same text again only increases its count."""
        last = self.notices[0] if self.notices else None
        if last is not None and last.text == text:
            again = Notice(at, severity, text, last.count + 1)
            self.notices = (again, *self.notices[1:])
        else:
            self.notices = (Notice(at, severity, text), *self.notices[: NOTICES_KEPT - 1])

    @property
    def told(self) -> FleetView:
        """The latest fleet; an empty one before the first."""
        return self.fleet or NOTHING

    @property
    def is_sim(self) -> bool:
        """Whether any host is simulated."""
        return any(host["transport"] == "sim" for host in self.told["hosts"])

    def age(self, now: float) -> float:
        """Seconds since the last data of the fleet; 0 while it is live."""
        seen = self.fleet_seen_at
        return 0.0 if self.is_live or seen is None else max(0.0, now - seen)

    @property
    def is_live(self) -> bool:
        """Whether the daemon answers now: actions are possible."""
        return self.connected and self.lost_since is None
