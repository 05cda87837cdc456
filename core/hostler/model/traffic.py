"""Requests of a service: how many, how many failed, how long answers took, and that minutes are
kept for two days.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from hostler_agent.gatewaylog import STEP

NOBODY = "<NOSRV>"
"""In place of a replica: no replica got the request."""
MINUTES_FOR_S = 2 * 86400
"""How long minutes are kept as such; older ones are hours."""
TrafficKey = tuple[str, str]
"""A run, and its service: the name of the stage in the pipeline file."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of a server, or of several: of a release, a service."""

    requests: int = 0
    failed: int = 0
    """Without an answer, or with one of 500 and above."""
    cut: int = 0
    """Answers that the server, or the end of a drain, cut off."""
    steps: tuple[int, ...] = ()
    """Answers by the time until their first byte; see `hostler_agent.gatewaylog`."""

    def plus(self, other: Traffic) -> Traffic:
        """Both together."""
        return self._with(other, 1)

    def minus(self, earlier: Traffic) -> Traffic:
        """The requests since then."""
        return self._with(earlier, -1)

    def percentile(self, part: float) -> float | None:
        """Milliseconds within which this part (0.95) of the answers began, within 4 %. None: there
        was no answer."""
        total = sum(self.steps)
        seen = 0
        for step, count in enumerate(self.steps):
            seen += count
            if count and seen >= part * total:
                return 0.0 if step == 0 else STEP ** (step - 0.5)
        return None

    def _with(self, other: Traffic, sign: int) -> Traffic:
        pairs = zip_longest(self.steps, other.steps, fillvalue=0)
        return Traffic(
            max(0, self.requests + sign * other.requests),
            max(0, self.failed + sign * other.failed),
            max(0, self.cut + sign * other.cut),
            tuple(max(0, mine + sign * theirs) for mine, theirs in pairs),
        )


def together(found: Iterable[Traffic]) -> Traffic:
    """The sum."""
    parts = list(found)
    return Traffic(
        sum(each.requests for each in parts),
        sum(each.failed for each in parts),
        sum(each.cut for each in parts),
        tuple(map(sum, zip_longest(*(each.steps for each in parts), fillvalue=0))),
    )


@dataclass(frozen=True, slots=True)
class TrafficRow:
    """Requests of a service of a run, in the minute that begins then (or the hour, of old ones)."""

    run_id: str
    stage: str
    at: int
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class TrafficTotal:
    """All requests of a service of a run."""

    run_id: str
    stage: str
    traffic: Traffic
    first: float
    last: float
    """The minutes of the first and the last of them."""
