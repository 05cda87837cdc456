"""Requests to simulated services: rates and response times, counted like those of a gateway's log.
Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hostler.model.traffic import NOBODY
from hostler.sim.behaviour import wobble
from hostler_agent.gatewaylog import STEPS, step_of
from hostler_agent.json_values import Outgoing

_STEP_S = 20.0
"""Seconds over which the rate of requests counts as constant."""
_MOST_STEPS = 400
_TIMES = (
    (0.10, 0.6), (0.25, 0.8), (0.30, 1.0), (0.20, 1.25), (0.08, 1.6), (0.05, 2.1), (0.02, 3.5),
)  # fmt: skip
"""Shares of the answers, and their times, in multiples of the usual time."""


@dataclass(frozen=True, slots=True)
class Load:
    """The service at a port of a host, and the rate of its requests."""

    answers: bool
    rate: float = 0.0
    """Requests per second that its service gets, on all replicas together."""
    latency_ms: float = 0.0
    errors: float = 0.0
    """Part of its answers that fail, 0 to 1."""


@dataclass(slots=True)
class _Count:
    """Of one server, with parts of requests that have not come yet."""

    requests: float = 0.0
    failed: float = 0.0
    steps: dict[int, float] = field(default_factory=dict)

    def add(self, count: float, load: Load, busy: float) -> None:
        """Add this many; if more arrive than usual, each takes longer."""
        self.requests += count
        self.failed += count * load.errors
        for part, times in _TIMES:
            step = step_of(round(load.latency_ms * times * (0.6 + 0.4 * busy)))
            self.steps[step] = self.steps.get(step, 0.0) + part * count

    def to_wire(self) -> Outgoing:
        """Whole requests, without the empty steps at the end."""
        last = min(STEPS - 1, max(self.steps, default=-1))
        return {
            "requests": int(self.requests), "failed": int(self.failed), "cut": 0,
            "steps": [int(self.steps.get(n, 0.0)) for n in range(last + 1)],
        }  # fmt: skip


Key = tuple[str, str]
"""Service and server."""


@dataclass(slots=True)
class Requests:
    """All requests to one gateway since its log is read."""

    since: float = 0.0
    _until: float = 0.0
    _rates: dict[str, float] = field(default_factory=dict)
    """The rate of each service, also while no server serves it."""
    _counts: dict[Key, _Count] = field(default_factory=dict)

    def of(self, key: Key) -> int:
        """The number of requests that a server got."""
        count = self._counts.get(key)
        return int(count.requests) if count is not None else 0

    def pass_until(self, now: float, services: Sequence[str], serving: Mapping[Key, Load]) -> None:
        """Advance the time; only these servers get requests meanwhile."""
        if not self._until:
            self.since = self._until = now
        for (service, _), load in serving.items():
            self._rates[service] = load.rate
        self._rates = {name: rate for name, rate in self._rates.items() if name in services}
        for begin, seconds in _steps(self._until, now):
            for service, rate in self._rates.items():
                busy = max(0.0, 1 + 0.35 * wobble(service, begin / 60))
                self._share(service, rate * seconds * busy, serving, busy)
        self._until = max(self._until, now)

    def _share(self, service: str, count: float, serving: Mapping[Key, Load], busy: float) -> None:
        """In equal parts; without a server, all of them fail."""
        own = {key: load for key, load in serving.items() if key[0] == service}
        if not own:
            nobody = self._counts.setdefault((service, NOBODY), _Count())
            nobody.requests += count
            nobody.failed += count
        for key, load in own.items():
            self._counts.setdefault(key, _Count()).add(count / len(own), load, busy)

    def to_wire(self) -> Outgoing:
        """In the form of the agent's answer to `gateway.log`."""
        rows = [
            {"service": service, "server": server, **count.to_wire()}
            for (service, server), count in self._counts.items()
        ]
        return {"since": self.since, "left_out": 0, "servers": rows}


def _steps(begin: float, end: float) -> Iterator[tuple[float, float]]:
    """The time in between, in pieces: start and length of each."""
    length = max(_STEP_S, (end - begin) / _MOST_STEPS)
    while begin < end:
        step = min(length, end - begin)
        yield begin, step
        begin += step
