"""All inputs of a decision about one service: the stored and the observed state, its startup and
drain times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostler.model.releases import Deployment, GatewayLook, Release, Slot, Step


@dataclass(frozen=True, slots=True)
class Replica:
    """An attempt of a slot that was placed and has not ended, as far as is known."""

    slot: Slot
    attempt_id: str
    host: str
    launched_at: float | None
    has_answered: bool
    """A check newer than its launch was good."""
    is_healthy: bool
    """And so was the last one."""
    is_heard: bool
    """Its host has a fresh look."""
    is_silent: bool = False
    """Its host was asked, and does not answer. After a start of the daemon a host is neither."""
    said: str = ""
    """What its last check found wrong."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One service at one moment."""

    now: float
    deployment: Deployment
    live: Release | None
    """The release that serves, or did until it is restored."""
    opened: Release | None
    """The one that is to take over, or is being undone."""
    steps: tuple[Step, ...]
    """Of `opened`, or else of `live`, in order."""
    replicas: tuple[Replica, ...] = ()
    """Of all releases of the service."""
    gateway: GatewayLook | None = None
    """A fresh look; None: it is silent, or there is none."""
    was_unheard: bool = False
    """The gateway was asked in vain; else it is only about to be asked, or to be started."""
    is_direct: bool = False
    """It has no gateway: its one replica is reached directly."""
    is_routing: bool = False
    """The gateway is being changed, or its look is not newer than the last change."""
    unreached: Mapping[str, str] = field(default_factory=dict)
    """Host -> why the gateway does not reach its replicas."""
    verified: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Release -> the hosts on which its image was verified, or that need none."""
    not_delivered: str = ""
    """Why replicas of `opened` cannot be started yet; "": they can."""
    trouble: str = ""
    """Why `opened` cannot succeed: its build failed, a person stopped it; "": it may."""
    startups: Mapping[int, float] = field(default_factory=dict)
    """Release -> seconds in which its replicas have to answer."""
    drains: Mapping[int, float] = field(default_factory=dict)
    """Release -> seconds that sessions of its replicas have to end by themselves."""
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
        """Ten minutes where its run is not known any more."""
        return self.startups.get(release, 600.0)

    def drain_of(self, release: int) -> float:
        """Half a minute where its run is not known any more."""
        return self.drains.get(release, 30.0)

    def time_of(self, step: Step) -> float:
        """When it was written, on this daemon's clock at the latest."""
        return self.begun_at if step.seq <= self.earlier else step.at

    @property
    def is_silent(self) -> bool:
        """The gateway says nothing."""
        return self.gateway is None and not self.is_direct
