"""When an attempt on an unreachable host counts as lost (`lost_after`), and when a replica there is
replaced elsewhere.

A replica is replaced only if neither daemon nor gateway reaches it: that a host is unreachable does
not mean that its replica has ended. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hostler.decide.index import OpenAttempt
from hostler.model.hosts import Host
from hostler.model.pipelines import OnLost
from hostler.model.plans import Policy, Snapshot
from hostler.model.releases import Server


class Verdict(StrEnum):
    """The decision about a replica."""

    NORMAL = "normal"
    """Its host reports its state, and the gateway reaches it."""
    PROBE = "probe"
    """The gateway does not reach it: its host's own checks decide whether it is restarted."""
    KEEP = "keep"
    """It serves, although its host is unreachable: it keeps its requests and is not replaced."""
    WAIT = "wait"
    """Neither daemon nor gateway reaches it, but not yet for long enough."""
    REPLACE = "replace"
    """Neither daemon nor gateway has reached it for long: another one starts elsewhere. When its
    host answers, the old one is stopped if it still runs; the gateway has removed it by then."""
    PAUSE = "pause"
    """The gateway does not answer: releases pause, and nothing is stopped or replaced."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One replica behind a gateway, with the current state of its host and its gateway."""

    now: float
    silent_since: float | None
    """When its host last answered, if that is too long ago; None: the host answers."""
    is_gateway_silent: bool
    server: Server | None
    """Its server at the gateway; None: the gateway does not have it."""
    lost_after: float = 600.0


def judge(sight: Sight) -> Verdict:
    """The verdict on a replica."""
    if sight.is_gateway_silent:
        return Verdict.PAUSE
    is_up = sight.server is not None and sight.server.is_up
    if sight.silent_since is None:
        return Verdict.NORMAL if is_up else Verdict.PROBE
    if is_up:
        return Verdict.KEEP
    return Verdict.REPLACE if sight.now >= _gone_at(sight) else Verdict.WAIT


def replaced_at(sight: Sight) -> float | None:
    """When the verdict becomes REPLACE if nothing changes; None: never."""
    verdict = judge(sight)
    return _gone_at(sight) if verdict in (Verdict.WAIT, Verdict.REPLACE) else None


def _gone_at(sight: Sight) -> float:
    """When a replica counts as gone. Daemon and gateway must both have missed it for `lost_after`
    seconds: a gateway that has just begun to check it proves nothing."""
    assert sight.silent_since is not None
    down_since = sight.server.since if sight.server is not None else sight.silent_since
    return max(sight.silent_since, down_since) + sight.lost_after


def lost_at(item: OpenAttempt, host: Host | None, snapshot: Snapshot) -> float | None:
    """When the attempt of a silent host is recorded as lost; None: never, as far as known now.

    The wait is never shorter than the time for which a look is fresh, because a look may still be
    on its way.
    """
    if item.stage.on_lost is not OnLost.RESTART:
        return None
    heard, patience = heard_at(item, host), _patience(item, snapshot.policy)
    if item.stage.service is None:
        return heard + patience
    server = snapshot.at_gateway.get(item.attempt.attempt_id)
    is_silent = item.run.run_id in snapshot.unheard
    if server is None and not is_silent:
        return heard + patience
    return replaced_at(Sight(snapshot.now, heard, is_silent, server, patience))


def _patience(item: OpenAttempt, policy: Policy) -> float:
    return max(item.stage.lost_after, policy.fresh_for)


def since(item: OpenAttempt) -> float:
    """When it was launched, or else placed; for work that is being collected, when it ended. On
    this daemon's clock."""
    attempt = item.attempt
    if item.since is not None:
        return item.since
    return attempt.placed_at if attempt.launched_at is None else attempt.launched_at


def heard_at(item: OpenAttempt, host: Host | None) -> float:
    """When the host last answered, or was last used for this attempt."""
    heard = since(item)
    if host is None:
        return heard
    return max(heard, host.look.asked_at if host.look is not None else host.since)
