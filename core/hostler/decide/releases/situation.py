"""All inputs of a decision about one service: the stored and the observed state, its startup and
drain times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.model.releases import Deployment, GatewayLook, Release, Slot, Step


@dataclass(frozen=True, slots=True)
class Replica:
    """An attempt of a slot that was placed and, as far as known, has not ended."""

    slot: Slot
    attempt_id: str
    host: str
    launched_at: float | None
    has_answered: bool
    """A check after its launch was good."""
    is_healthy: bool
    """The last check was good, too."""
    is_heard: bool
    """Its host has a fresh look."""
    is_silent: bool = False
    """The daemon asked its host, and the host does not answer. Shortly after the daemon's start,
    both `is_heard` and `is_silent` may be false."""
    said: str = ""
    """The problem that its last check found."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One service at one moment."""

    now: float
    deployment: Deployment
    live: Release | None
    """The release that serves, or that served and is being restored."""
    opened: Release | None
    """The release that takes over, or is being undone."""
    steps: tuple[Step, ...]
    """The steps of `opened`, or else of `live`, in order."""
    replicas: tuple[Replica, ...] = ()
    """The replicas of all releases of the service."""
    gateway: GatewayLook | None = None
    """A fresh look at the gateway; None: the gateway is silent, or there is none."""
    was_unheard: bool = False
    """Whether the gateway has not answered the daemon. If false, the daemon is about to ask or
    start it."""
    is_direct: bool = False
    """Whether the service has no gateway: clients reach its one replica directly."""
    is_routing: bool = False
    """Whether the daemon is changing the gateway, or has no look since its last change."""
    unreached: Mapping[str, str] = field(default_factory=dict)
    """Host -> why the gateway does not reach its replicas."""
    verified: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Release -> the hosts that have a verified image of it, or need none."""
    not_delivered: str = ""
    """Why replicas of `opened` cannot be started yet; "": they can."""
    trouble: str = ""
    """Why `opened` cannot succeed: its build failed, a person stopped it; "": it may."""
    startups: Mapping[int, float] = field(default_factory=dict)
    """Release -> seconds in which its replicas have to answer."""
    drains: Mapping[int, float] = field(default_factory=dict)
    """Release -> seconds after which sessions of drained replicas are closed."""
    draining: Mapping[str, float] = field(default_factory=dict)
    """Attempt -> since when every look of this daemon at the gateway showed it in drain."""
    waits: Mapping[Slot, float] = field(default_factory=dict)
    """Slot -> when it was first launched, or last answered, on this daemon's clock."""
    ended: Mapping[Slot, float] = field(default_factory=dict)
    """Slot -> when its last attempt ended, on this daemon's clock."""
    begun_at: float = 0.0
    """When this daemon began."""
    earlier: int = 0
    """Steps up to this number were written by an earlier daemon, with a clock of its own."""

    def startup_of(self, release: int) -> float:
        """Seconds in which replicas of a release have to answer: ten minutes if its run is no
        longer known."""
        return self.startups.get(release, 600.0)

    def drain_of(self, release: int) -> float:
        """Seconds after which sessions of drained replicas are closed: thirty if its run is no
        longer known."""
        return self.drains.get(release, 30.0)

    def time_of(self, step: Step) -> float:
        """The latest time, on this daemon's clock, at which the step was written."""
        return self.begun_at if step.seq <= self.earlier else step.at

    @property
    def is_silent(self) -> bool:
        """Whether the gateway does not answer."""
        return self.gateway is None and not self.is_direct
