"""Which modules and conda environments a host has: asks its login shell through the agent, at most
50 for all open runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest

from hostler.base.errors import HostError
from hostler.base.text import clean_line
from hostler.model.environments import SEARCHED, Environment
from hostler.model.runs import Run
from hostler.model.timings import DEFAULT, Timings
from hostler.ports import HostLink

_AT_ONCE = 4
"""Most login shells on a host at the same time: each may read files of a slow file server."""
MOST_ENVIRONMENTS = 50
"""Most environments of all open runs together."""
_MOST_ASKED = 100
"""Most queries of submissions that wait for their turn: the result of further ones is "not
known"."""
_MOST_KNOWN = 500
_MAX_PROBLEM = 300
_log = logging.getLogger("hostler.daemon")

Tell = Callable[[Mapping[str, str | None]], None]


class WantedEnvironments:
    """Environments that stages of open runs need, one of each user in turn, and in the same way of
    each of their runs, so that one user's many environments do not block the others'."""

    def __init__(self, runs: Callable[[], Iterable[Run]]) -> None:
        self._runs = runs
        self._of: dict[str, tuple[Environment, ...]] = {}

    def __call__(self) -> tuple[Environment, ...]:
        """All of them, each once, up to the limit."""
        known, runs = self._of, {run.run_id: run for run in self._runs()}
        self._of = {run_id: known[run_id] for run_id in runs if run_id in known}
        self._of |= {i: run.environments for i, run in runs.items() if i not in known}
        people: dict[int, list[tuple[Environment, ...]]] = {}
        for run_id, environments in self._of.items():
            people.setdefault(runs[run_id].uid, []).append(environments)
        return _in_turns([_in_turns(each) for each in people.values()])[:MOST_ENVIRONMENTS]


def _in_turns(several: Iterable[Sequence[Environment]]) -> tuple[Environment, ...]:
    rounds = zip_longest(*several)
    return tuple(dict.fromkeys(one for each in rounds for one in each if one is not None))


class HostEnvironments:
    """Queries one host repeatedly while it is connected, and reports its answers."""

    def __init__(
        self,
        link: HostLink,
        wanted: Callable[[], Sequence[Environment]],
        variables: Callable[[], Mapping[str, str]],
        tell: Tell,
        timings: Timings = DEFAULT,
    ) -> None:
        """`wanted`: what open runs need now. `variables`: those that every stage has there."""
        self._link = link
        self._wanted = wanted
        self._variables = variables
        self._tell = tell
        self._timings = timings
        self._soon = asyncio.Event()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._known: dict[Environment, tuple[str | None, float]] = {}
        """What is missing, and when the host reported that."""
        self._asking: dict[Environment, asyncio.Task[None]] = {}

    def forget(self) -> None:
        """Forget all answers: the host may have been reinstalled."""
        self._known = {}
        self._tell({})

    def ask_for(self, environments: Iterable[Environment]) -> None:
        """Ask soon for those that are not known yet, and repeatedly for all of them."""
        if any(environments):
            self._soon.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                self._soon.clear()
                wanted = self._wanted()
                pause = self._timings.missing_paths_every if wanted else None
                for one in filter(self._is_due, wanted):
                    self._begin(one)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._soon.wait()
        finally:
            asking = tuple(self._asking.values())
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def problem(self, one: Environment, patience: float) -> str | None:
        """What is missing of it on the host, "" for nothing; None: no answer in time. A complete
        environment is not asked for again for a while; else the host is asked now."""
        is_asked = one in self._asking or len(self._asking) < _MOST_ASKED
        if is_asked and (self._known.get(one, (None, 0.0))[0] != "" or self._is_due(one)):
            await asyncio.wait((self._begin(one),), timeout=patience)
        return self._known.get(one, (None, 0.0))[0]

    def _is_due(self, one: Environment) -> bool:
        if one not in self._known:
            return True
        problem, at = self._known[one]
        timings = self._timings
        pause = timings.environment_kept if problem == "" else timings.environment_again
        return asyncio.get_running_loop().time() - at >= pause

    def _begin(self, one: Environment) -> asyncio.Task[None]:
        """The query that is under way, or a new one."""
        task = self._asking.get(one)
        if task is None:
            task = asyncio.create_task(self._ask(one), name=f"ask {self._link.host} for {one}")
            self._asking[one] = task
            task.add_done_callback(lambda _: self._asking.pop(one, None))
        return task

    async def _ask(self, one: Environment) -> None:
        env = {name: text for name, text in self._variables().items() if name in SEARCHED}
        payload = {"conda": one.conda, "modules": list(one.modules), "env": env}
        try:
            async with self._turns:
                answer = await self._link.call(
                    "environment", payload, self._timings.environment_call
                )
        except HostError as error:
            _log.info("%s was not asked for %s: %s", self._link.host, one, error)
            self._take(one, None)
            return
        problem = answer.get("problem")
        self._take(one, clean_line(problem, _MAX_PROBLEM) if isinstance(problem, str) else None)

    def _take(self, one: Environment, problem: str | None) -> None:
        self._known.pop(one, None)
        self._known[one] = (problem, asyncio.get_running_loop().time())
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._tell({str(each): said for each, (said, _) in self._known.items()})
