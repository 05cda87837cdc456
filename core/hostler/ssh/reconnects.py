"""Limits connection attempts: at most 50 at once, 5 to one address, none after a refused login
until something changes; `model/timings` has the pauses.

sshd drops unauthenticated connections if many arrive at once. After failed logins, a host may block
the machine that they came from. So only a few connections are opened at a time, failures are
retried with pauses, and a refused login is not retried automatically.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from hostler.base.errors import HostlerError, Refused
from hostler.model.timings import DEFAULT, SshTimings

T = TypeVar("T")

JUMP_PREFIX = "jump host "
"""Prefix for the names of jump hosts; a `reset` of any host resets them too."""


def delay(failures: int, chance: float, timings: SshTimings = DEFAULT.ssh) -> float:
    """Seconds between the starts of two connects, after this many failures in a row.

    `chance` (0 to 1) varies the first pauses, so that hosts are not retried at the same moment.
    After these it is one connect in 5 s, even after a long outage, so that a host that answers
    again is found soon.
    """
    if failures <= 0:
        return 0.0
    if failures <= len(timings.first_steps):
        return timings.first_steps[failures - 1] * (1.0 + 0.5 * chance)
    return timings.steady


@dataclass(slots=True)
class _State:
    failures: int = 0
    started: float = 0.0
    connected_at: float | None = None
    next_at: float = 0.0
    refused: Refused | None = None
    evidence: object = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Connects:
    """Gives each connection attempt its turn. One object per process."""

    def __init__(
        self, total: int = 50, per_address: int = 5, timings: SshTimings = DEFAULT.ssh
    ) -> None:
        self._timings = timings
        self._total = asyncio.Semaphore(total)
        self._per_address = per_address
        self._addresses: dict[str, asyncio.Semaphore] = {}
        self._states: dict[str, _State] = {}
        self._random = random.Random()  # noqa: S311 (spreads load, guards nothing)

    async def attempt(
        self,
        host: str,
        connect: Callable[[], Awaitable[T]],
        evidence: Callable[[Refused], object] = lambda _: None,
    ) -> T:
        """Wait for this host's turn, then call `connect`, which enters `gate` before it opens a
        connection.

        After a Refused, the same error is raised without connecting, until `reset`, or until
        `evidence` (the facts behind the refusal, such as the state of known_hosts) has changed.
        """
        state = self._states.setdefault(host, _State())
        self._check_refused(state, evidence)
        self._count_short_life(state)
        await self._turn(state)
        state.started = self._now()
        try:
            result = await connect()
        except Refused as error:
            state.refused, state.evidence = error, evidence(error)
            raise
        except HostlerError:
            self._failed(state)
            raise
        state.connected_at = self._now()
        return result

    @asynccontextmanager
    async def gate(self, address: str) -> AsyncIterator[None]:
        """Held from the start of a connection until the end of its login. Waits while too many
        other connections, in all or to this address, are not logged in yet."""
        mine = self._addresses.setdefault(address, asyncio.Semaphore(self._per_address))
        async with mine, self._total:
            yield

    def reset(self, host: str | None = None) -> None:
        """Try again at once, since the config has changed, a key was trusted, or there is a new SSH
        agent."""
        for name, state in list(self._states.items()):
            if host is None or name == host or name.startswith(JUMP_PREFIX):
                state.wake.set()
                self._states[name] = _State()

    def refusal(self, host: str) -> Refused | None:
        """The error because of which a host is no longer tried."""
        state = self._states.get(host)
        return state.refused if state else None

    def _check_refused(self, state: _State, evidence: Callable[[Refused], object]) -> None:
        refused = state.refused
        if refused is None:
            return
        if evidence(refused) == state.evidence:
            raise Refused(refused.host, refused.message, remedy=refused.remedy)
        state.refused = None

    def _count_short_life(self, state: _State) -> None:
        if state.connected_at is None:
            return
        lived = self._now() - state.connected_at
        state.connected_at = None
        if lived >= self._timings.settled:
            state.failures, state.next_at = 0, 0.0
        else:
            self._failed(state)

    def _failed(self, state: _State) -> None:
        state.failures += 1
        state.next_at = state.started + delay(state.failures, self._random.random(), self._timings)

    async def _turn(self, state: _State) -> None:
        left = state.next_at - self._now()
        if left <= 0:
            return
        try:
            async with asyncio.timeout(left):
                await state.wake.wait()
        except TimeoutError:
            return

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
