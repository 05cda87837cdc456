"""Deployed services, their releases and the steps of a release, as stored; which state may follow
which, and valid names of services. A release is a run of its own, each replica a slot of the run's
one stage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,61}[a-z0-9])?", re.ASCII)


class Strategy(StrEnum):
    """How a release takes over from the previous one."""

    SURGE = "surge"
    """Replicas of both run for a while: needs free capacity, and every request is answered."""
    RECREATE = "recreate"
    """Replicas take over the slots and GPUs of the previous ones, one after the other. A service of
    one replica does not answer in between."""


class ReleaseState(StrEnum):
    """The state of a release."""

    DELIVERING = "delivering"
    """Its image is built, or brought to the hosts. No replica of it runs."""
    STARTING = "starting"
    """Its first replicas are started. None gets a request yet."""
    READY = "ready"
    """They have answered."""
    SHIFTING = "shifting"
    """Its replicas get requests; those of the previous release are drained and stopped."""
    LIVE = "live"
    """It serves, alone."""
    RETIRED = "retired"
    """A later release took over."""
    FAILED = "failed"
    """It is being undone: the previous release takes over again."""
    RESTORED = "restored"
    """It failed, nothing of it is left, and the previous release serves."""

    @property
    def is_open(self) -> bool:
        """It changes its service, and holds its deploy lock."""
        return self not in (self.LIVE, self.RETIRED, self.RESTORED)

    def may_become(self, other: ReleaseState) -> bool:
        """Whether a step leads from this state to another one."""
        return other in _NEXT.get(self, ())


_NEXT: Mapping[ReleaseState, tuple[ReleaseState, ...]] = {
    ReleaseState.DELIVERING: (ReleaseState.STARTING, ReleaseState.FAILED),
    ReleaseState.STARTING: (ReleaseState.READY, ReleaseState.FAILED),
    ReleaseState.READY: (ReleaseState.SHIFTING, ReleaseState.FAILED),
    ReleaseState.SHIFTING: (ReleaseState.LIVE, ReleaseState.FAILED),
    ReleaseState.LIVE: (ReleaseState.RETIRED,),
    ReleaseState.FAILED: (ReleaseState.RESTORED,),
}


class StepKind(StrEnum):
    """What a step changes."""

    STATE = "state"
    """The release's state."""
    DRAIN = "drain"
    """A slot gets no new requests and is then stopped; its successor starts with its GPUs."""
    KEEP = "keep"
    """A slot that was drained is wanted again."""


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One of the places in which replicas of a release run, one attempt after the other."""

    release: int
    index: int
    """From 0."""


@dataclass(frozen=True, slots=True)
class NewStep:
    """A decision about a release. It is durable before anything that it allows is done."""

    service: str
    number: int
    """The number of the release that is opened, shifted or undone."""
    at: float
    kind: StepKind
    state: ReleaseState | None = None
    """The state, for a step of kind `STATE`."""
    slot: Slot | None = None
    """The slot, for other steps."""
    successor: Slot | None = None
    """For `DRAIN`: the slot that gets the GPUs; None: they are given back."""
    reason: str = ""
    """One sentence, for people."""


@dataclass(frozen=True, slots=True)
class Step(NewStep):
    """The same once it is stored."""

    seq: int = 0
    """Only grows, over all services."""


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a service."""

    service: str
    number: int
    """From 1, by service."""
    run_id: str
    image: str | None
    """Digest of the configuration; None: it runs as a process, or is not built yet."""
    strategy: Strategy
    state: ReleaseState
    replicas: int
    """How many are wanted once it is live."""
    by: str
    uid: int
    at: float
    """When it was opened."""
    surge: int = 0
    """How many replicas more than wanted may run meanwhile; 0 for `RECREATE`."""
    replaces: int | None = None
    """The release that was live when it was opened."""
    reason: str = ""
    """Why it is in its state, for people."""
    changed_at: float = 0.0
    """When it reached its state."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A release is open: until its end no other one may be opened."""

    number: int
    by: str
    uid: int
    since: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """A service of the lab under its name, with the release that serves now."""

    name: str
    uid: int
    owner: str
    """Who deployed it first. Only this person, and the daemon's owner, may change it."""
    replicas: int
    """How many are wanted; 0: it is stopped."""
    live: int | None = None
    """Number of the release that serves; None: none did yet."""
    lock: Lock | None = None
    revision: int = 0
    """Grows with each change: among notes on hosts the highest one counts."""


class ServerMode(StrEnum):
    """What the gateway does with a replica."""

    READY = "ready"
    """It gets requests, as long as the gateway's own check finds it up."""
    DRAIN = "drain"
    """It is checked, finishes its open requests, and gets no new ones."""
    MAINT = "maint"
    """It gets no requests, and may be removed."""


@dataclass(frozen=True, slots=True)
class Server:
    """One replica, as the gateway sees it."""

    mode: ServerMode
    is_up: bool
    """The gateway's own check finds it up."""
    sessions: int = 0
    """Open now."""
    since: float = 0.0
    """When it was found up, or down, for the first time."""


@dataclass(frozen=True, slots=True)
class GatewayLook:
    """The gateway's report at one moment."""

    asked_at: float
    servers: Mapping[str, Server]
    """Attempt -> its server."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service as stored, with the last look of its gateway."""

    deployment: Deployment
    releases: tuple[Release, ...]
    """The live one, the open one, and those whose runs have not ended."""
    steps: tuple[Step, ...] = ()
    """Of the open one, or else of the live one, in order."""
    earlier: int = 0
    """Steps up to this number were written by an earlier daemon."""
    gateway: GatewayLook | None = None
    """Its last look, where that is fresh."""
    was_unheard: bool = False
    """The gateway has not answered."""
    is_direct: bool = True
    """It has no gateway."""
    is_routing: bool = False
    """The gateway is being changed, or its look is not newer than the last change."""
    draining: Mapping[str, float] = field(default_factory=dict)
    """Attempt -> since when every look of this daemon at the gateway showed it in drain."""
    verified: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Release -> hosts on which its image was verified."""
    unreached: Mapping[str, str] = field(default_factory=dict)
    """Host -> why the gateway does not reach its replicas, for people."""

    @property
    def live(self) -> Release | None:
        """The release that serves."""
        live = self.deployment.live
        return next((r for r in self.releases if r.number == live), None)

    @property
    def opened(self) -> Release | None:
        """The release that changes the service."""
        return next((r for r in self.releases if r.state.is_open), None)


@dataclass(frozen=True, slots=True)
class ServiceNote:
    """The signed note that hosts keep about a service: a lost database recovers the service from
    it."""

    daemon_id: str
    generation: int
    """Of the daemon that wrote it."""
    deployment: Deployment
    releases: tuple[Release, ...]
    """The live one, the open one, the newest, and the last ones that it can go back to; the newest
    first."""
    steps: tuple[Step, ...] = ()
    """Of the open one, or else of the live one."""
    specs: Mapping[str, str] = field(default_factory=dict)
    """Run of a release -> its specification, packed and signed: hosts forget the copies of runs
    that have ended."""

    @property
    def order(self) -> tuple[int, int]:
        """Of two notes about one service the higher one counts. A daemon that was restored from a
        backup continues the count from there, so its numbers may be lower than earlier ones."""
        return self.generation, self.deployment.revision


def is_service_name(text: str) -> bool:
    """Whether a service may have this name."""
    return _NAME.fullmatch(text) is not None
