"""Requests, failures and response times, as the agent counted them from a gateway's log. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from hostler_agent.gatewaylog import STEP
from hostler_agent.json_values import Message, integer, items, number, string, tables


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of a server, or of several: of a release, a service."""

    requests: int = 0
    failed: int = 0
    """Without an answer, or with one of 500 and above."""
    cut: int = 0
    """Answers that the server, or the end of a drain, did not let end."""
    steps: tuple[int, ...] = ()
    """Answers by the time until their first byte; see `hostler_agent.gatewaylog`."""

    def plus(self, other: Traffic) -> Traffic:
        """Both together."""
        return self._with(other, 1)

    def minus(self, earlier: Traffic) -> Traffic:
        """What came since."""
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


@dataclass(frozen=True, slots=True)
class Counted:
    """An answer of the agent."""

    since: float
    """When the agent began to count: another time means that all begins at nothing again."""
    left_out: int
    """Requests of more servers than are counted."""
    servers: Mapping[tuple[str, str], Traffic]
    """By service and replica. "<NOSRV>" is a request that met none."""


def read_counts(answer: Message) -> Counted:
    """The answer to `gateway.log`, whose form was checked."""
    servers = {
        (string(each["service"]) or "", string(each["server"]) or ""): _read(each)
        for each in tables(answer["servers"])
    }
    left_out = integer(answer["left_out"]) or 0
    return Counted(number(answer["since"]) or 0.0, left_out, servers)


def _read(each: Message) -> Traffic:
    requests, failed, cut = (integer(each[name]) or 0 for name in ("requests", "failed", "cut"))
    return Traffic(requests, failed, cut, tuple(integer(n) or 0 for n in items(each["steps"])))


def together(found: Iterable[Traffic]) -> Traffic:
    """The sum."""
    total = Traffic()
    for each in found:
        total = total.plus(each)
    return total
