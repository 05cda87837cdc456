"""The messages by which feeds and workers tell the app what the daemon sent. Workers never touch
a widget."""

from __future__ import annotations

from collections.abc import Mapping

from textual.message import Message

from hostler.model.check import Check
from hostler.model.views.alerts import AlertView
from hostler.model.views.gpus import FleetView
from hostler.model.views.history import FleetHistory, HostHistory
from hostler.model.views.hosts import HostView
from hostler.model.views.runs import RunView
from hostler.model.views.traffic import TrafficHistory
from hostler_tui.services import Service


class FleetSeen(Message):
    """The daemon sent the state of the fleet."""

    def __init__(self, fleet: FleetView, at: float) -> None:
        super().__init__()
        self.fleet, self.at = fleet, at


class RunsSeen(Message):
    """The daemon sent the open runs; `are_more`: there are more than these newest ones."""

    def __init__(self, runs: tuple[RunView, ...], *, are_more: bool = False) -> None:
        super().__init__()
        self.runs, self.are_more = runs, are_more


class HourSeen(Message):
    """The daemon sent the fleet's last hour."""

    def __init__(self, history: FleetHistory) -> None:
        super().__init__()
        self.history = history


class AlertsSeen(Message):
    """The daemon sent its alerts, and how many are open."""

    def __init__(self, alerts: tuple[AlertView, ...], open_count: int) -> None:
        super().__init__()
        self.alerts, self.open_count = alerts, open_count


class ServicesSeen(Message):
    """The daemon sent the services, with their releases."""

    def __init__(self, services: tuple[Service, ...]) -> None:
        super().__init__()
        self.services = services


class TrafficSeen(Message):
    """The daemon sent the last hour of services, by their keys."""

    def __init__(self, traffic: Mapping[str, TrafficHistory]) -> None:
        super().__init__()
        self.traffic = traffic


class HostSeen(Message):
    """The daemon sent one host in full, with the last hour of its GPUs."""

    def __init__(self, name: str, host: HostView, hour: HostHistory, at: float) -> None:
        super().__init__()
        self.name, self.host, self.hour, self.at = name, host, hour, at


class DoctorEnded(Message):
    """The check of a host ended: its checks, or why there are none."""

    def __init__(self, checks: tuple[Check, ...], error: str) -> None:
        super().__init__()
        self.checks, self.error = checks, error


class DaemonMet(Message):
    """The daemon answered for the first time, or again."""


class DaemonLost(Message):
    """The daemon does not answer."""

    def __init__(self, why: str, at: float) -> None:
        super().__init__()
        self.why, self.at = why, at
