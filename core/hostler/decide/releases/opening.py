"""Before a deploy starts: surge or recreate, how long it takes, whether requests fail meanwhile,
who holds the lock, and what is refused. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hostler.base.errors import ConflictError, InputError
from hostler.base.units import counted, format_duration
from hostler.model.releases import Release, Strategy


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to deploy a service."""

    service: str
    replicas: int
    startup: float
    strategy: Strategy | None = None
    """None: the best strategy for which there is room."""
    is_direct: bool = False
    """Whether no gateway serves it."""
    gateway: str | None = None
    """The host of the configured gateway; None: there is none."""


@dataclass(frozen=True, slots=True)
class Room:
    """The available capacity."""

    running: int
    """Number of wanted replicas of the live release."""
    free: int
    """Number of replicas of the new release for which there is room now beside all running work."""
    fits_slots: bool
    """Whether a new replica needs no more than an old one, on a host of the old ones."""
    last_start: float | None = None
    """Seconds until the replicas of the last release answered; None: unknown."""
    is_stopped: bool = False
    """Whether the live release was stopped."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen way to deploy."""

    strategy: Strategy
    surge: int
    gap: str
    """The interruption of the service and its length, for people; "": none."""


def choose(asked: Asked, room: Room) -> Choice:
    """Choose the strategy of a release. Raises InputError if the deploy is never possible,
    ConflictError if there is no room now."""
    check_direct(asked)
    if not room.running:
        return Choice(asked.strategy or Strategy.SURGE, 0, "")
    beside = min(room.free, asked.replicas)
    if asked.strategy is not Strategy.RECREATE and not asked.is_direct and beside:
        return Choice(Strategy.SURGE, beside, "")
    if asked.strategy is Strategy.SURGE:
        raise ConflictError(
            f"there is no room for a replica of the new release beside those of {asked.service}",
            remedy="wait for free GPUs, or use the GPUs of the old replicas: --strategy recreate",
        )
    if not room.fits_slots:
        raise ConflictError(
            f"a replica of the new release needs more resources than one of {asked.service} has, "
            "and no other host has room for it",
            remedy="wait until there is room, or ask for less in `resources`",
        )
    return Choice(Strategy.RECREATE, 0, _gap(asked, room))


def check_direct(asked: Asked) -> None:
    """Raises InputError if no gateway serves the release, and it needs one."""
    if not asked.is_direct:
        return
    there, or_else = f"{asked.service} has no gateway", ""
    if asked.gateway is not None:
        there = f"the gateway does not reach every host on which replicas of {asked.service} may be"
        or_else = f'write resources = {{ host = "{asked.gateway}" }}, or '
    if asked.replicas > 1:
        raise InputError(
            f"{there}: only one replica of it can be reached",
            remedy=f"{or_else}set replicas = 1, or start it without releases: hostler run FILE",
        )
    if asked.strategy is Strategy.SURGE:
        raise InputError(
            f"{there}: no program distributes requests to several replicas",
            remedy=f"{or_else}use --strategy recreate",
        )


def _gap(asked: Asked, room: Room) -> str:
    if room.running > 1:
        return "one replica fewer answers during the change"
    if asked.replicas > 1 and not asked.is_direct and room.free:
        return ""
    if room.last_start is None:
        limit = format_duration(asked.startup)
        return f"{asked.service} does not answer until the new replica does, at most {limit}"
    about = format_duration(max(1.0, float(round(room.last_start))))
    return f"{asked.service} does not answer for about {about}, like at the last start"


def locked(service: str, number: int, by: str, seconds: float, state: str) -> str:
    """Who holds the deploy lock and since when, in one sentence."""
    since = format_duration(max(0.0, float(int(seconds))))
    return f"{by} has been deploying release {number} of {service} for {since} ({state})"


def expected(replicas: int, choice: Choice, room: Room) -> float | None:
    """About how many seconds the deploy takes: the starts follow each other, each as long as the
    last one. None: unknown."""
    if room.last_start is None:
        return None
    return math.ceil(replicas / max(1, choice.surge)) * room.last_start


def undoing(opened: Release) -> str:
    """The effect of a rollback while a release is open, in one sentence."""
    stopped = f"release {opened.number} ({opened.state.value}) is stopped and undone"
    if opened.replaces is None:
        return f"{stopped}; nothing served before it"
    return f"{stopped}; release {opened.replaces} keeps serving, or serves again"


def summary(choice: Choice, room: Room) -> str:
    """How the deploy replaces the replicas, in one sentence."""
    if not room.running:
        when = "now" if room.is_stopped else "yet"
        return f"no replica of it runs {when}: it gets requests once all replicas answer"
    if choice.strategy is Strategy.SURGE:
        more = counted(choice.surge, "replica")
        return f"surge: {more} more at a time, and no request is lost"
    return f"recreate: new replicas take over slots and GPUs; {choice.gap or 'others answer'}"
