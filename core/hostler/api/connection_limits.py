"""Limits of open connections: how many per user, before and after access is allowed, and which
are dropped as idle, stuck or too many (times: model/timings.py). Pure."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from hostler.model.timings import DEFAULT, ApiTimings

CONNECTIONS_A_USER = 200
"""Most connections of one user: far more than screens and scripts need."""
WAITING = 64
"""Connections of one user without an allowed request so far: many clients may start at once."""
ALL_WAITING = 128
"""The same for all such users together."""


@dataclass(slots=True)
class Peer:
    """The state of one connection. Times are of one monotonic clock."""

    uid: int
    since: float
    let_in: bool = False
    """Its user may use the daemon and is within the limit."""
    is_over: bool = False
    """Its user has too many other connections: it gets an error and is closed."""
    asked_before: bool = False
    is_asking: bool = False
    """A request is under way, until it is answered in full."""
    is_streaming: bool = False
    """Its answer may be endless: the reader may pause, as a pager does."""
    moved: float = 0.0
    """When the peer last sent data, or read part of an answer."""
    is_stuck: bool = False
    """The daemon waits for the peer: to read, or to send the rest of its request."""


class Holder(Protocol):
    """An object that holds one connection."""

    @property
    def peer(self) -> Peer:
        """The state of that connection."""


S = TypeVar("S", bound=Holder)


def admit(
    peer: Peer,
    known: Container[int],
    others: Sequence[S],
    now: float,
    times: ApiTimings = DEFAULT.api,
) -> list[S]:
    """Admit a new connection; returns the connections to close for it.

    A user is `known` once a request of theirs was allowed: a new connection of theirs is admitted,
    and one without a request under way is closed for it. Connections of other users wait for their
    first answer; the oldest of them is closed, so that idle connections do not block others.
    """
    own = [other for other in others if other.peer.uid == peer.uid]
    if peer.uid in known:
        holding = [other for other in own if other.peer.let_in]
        idle = [other for other in holding if _is_idle(other.peer, now, times)]
        if len(holding) < CONNECTIONS_A_USER or idle:
            peer.let_in = True
            return [] if len(holding) < CONNECTIONS_A_USER else [min(idle, key=_age)]
        peer.is_over = True
    waiting = [other for other in others if not other.peer.let_in]
    own = [other for other in waiting if other.peer.uid == peer.uid]
    if len(own) >= WAITING:
        return [min(own, key=_age)]
    return [min(waiting, key=_age)] if len(waiting) >= ALL_WAITING else []


def is_late(peer: Peer, now: float, times: ApiTimings = DEFAULT.api) -> bool:
    """Whether a connection must be closed for its own delay."""
    if not peer.let_in and now - peer.since > times.first_answer:
        return True
    if not peer.is_asking:
        return now - peer.moved > (times.next_request if peer.asked_before else times.first_request)
    return _is_stuck(peer, now, times) and not peer.is_streaming


def _is_idle(peer: Peer, now: float, times: ApiTimings) -> bool:
    return not peer.is_asking or _is_stuck(peer, now, times)


def _is_stuck(peer: Peer, now: float, times: ApiTimings) -> bool:
    return peer.is_stuck and now - peer.moved > times.stuck


def _age(holding: Holder) -> tuple[bool, float]:
    """Idle connections are closed first, the oldest of them before the others."""
    return holding.peer.is_asking, holding.peer.since
