"""Which paths that stages need exist on a host (folders under [mounts], programs of environments),
and the words for an unusable mount.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from hostler.base.errors import HostError
from hostler.link.agent_link import stat_paths
from hostler.model.config import MountConfig
from hostler.model.hosts import HostMount
from hostler.model.runs import Run
from hostler.model.timings import DEFAULT, Timings
from hostler.ports import HostLink
from hostler_agent.json_values import Message

_AT_ONCE = 8
"""Paths requested at the same time, so that one that hangs does not delay the others."""
MOST_PROGRAMS = 200
"""Most programs of all open runs together, the oldest run's first."""
_log = logging.getLogger("hostler.daemon")


class WantedPrograms:
    """The paths of programs that open runs need on hosts, the oldest run's first."""

    def __init__(self, runs: Callable[[], Iterable[Run]]) -> None:
        self._runs = runs
        self._of: dict[str, tuple[str, ...]] = {}

    def __call__(self) -> tuple[str, ...]:
        """All of them, each once, up to the limit."""
        self._of = {run.run_id: self._of.get(run.run_id) or run.programs for run in self._runs()}
        every = dict.fromkeys(path for paths in self._of.values() for path in paths)
        return tuple(every)[:MOST_PROGRAMS]


class HostPaths:
    """Queries one host repeatedly while it is connected, and reports its answers."""

    def __init__(
        self,
        link: HostLink,
        mounts: Sequence[MountConfig],
        programs: Callable[[], Sequence[str]],
        tell: Callable[[tuple[HostMount, ...], Mapping[str, bool]], None],
        timings: Timings = DEFAULT,
    ) -> None:
        """`programs`: the paths that open runs need now."""
        self._link = link
        self._mounts = mounts
        self._programs = programs
        self._tell = tell
        self._timings = timings
        self._soon = asyncio.Event()
        self._known: dict[str, bool] = {}
        self._seen: tuple[HostMount, ...] = ()
        self.forget()

    def forget(self) -> None:
        """Forget all answers: the host may have been restarted."""
        self._known = {}
        self._seen = tuple(HostMount(m.name, m.path, m.default) for m in self._mounts)
        self._tell(self._seen, {})

    def ask_for(self, programs: Iterable[str]) -> None:
        """Ask soon for those of these programs that are not known yet."""
        if any(path not in self._known for path in programs):
            self._soon.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._soon.clear()
            try:
                await self._ask()
            except Exception:
                _log.exception(
                    "asking for paths failed: this is a bug in Hostler, please report it"
                )
            try:
                async with asyncio.timeout(self._pause()):
                    await self._soon.wait()
            except TimeoutError:
                continue

    def _pause(self) -> float:
        all_there = not any(mount.problem for mount in self._seen) and all(self._known.values())
        every = self._timings.paths_every
        return every if all_there else min(every, self._timings.missing_paths_every)

    async def has_program(self, path: str, patience: float) -> bool | None:
        """Whether the host has a program, asked now; None: no answer in time."""
        try:
            async with asyncio.timeout(patience):
                answer = await self._stat(path)
        except TimeoutError:
            return None
        there = None if answer is None else bool(answer.get("exists"))
        if there is not None:
            self._known[path] = there
            self._tell(self._seen, dict(self._known))
        return there

    async def _ask(self) -> None:
        wanted = self._programs()
        if not wanted and not self._mounts:
            return
        answers = await self._stat_all([*(m.path for m in self._mounts), *wanted])
        self._seen = tuple(
            replace(seen, problem=mount_problem(answers[seen.path])) for seen in self._seen
        )
        told = {path: bool(answer.get("exists")) for path, answer in answers.items() if answer}
        # What was learnt meanwhile, at a submission, is not of this answer.
        programs = {*wanted, *self._programs()}
        self._known = {p: there for p, there in (self._known | told).items() if p in programs}
        self._tell(self._seen, dict(self._known))

    async def _stat_all(self, paths: Iterable[str]) -> dict[str, Message | None]:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(path: str) -> Message | None:
            async with turns:
                return await self._stat(path)

        listed = list(dict.fromkeys(paths))
        return dict(zip(listed, await asyncio.gather(*map(one, listed)), strict=True))

    async def _stat(self, path: str) -> Message | None:
        """What is at the path; None: no answer."""
        try:
            return (await stat_paths(self._link, [path])).get(path)
        except HostError:
            return None


def mount_problem(answer: Message | None) -> str:
    """Why stages cannot use a folder on a host; "" if they can. Its permissions are not checked:
    the stages' files may be deeper in it."""
    if answer is None:
        return "does not answer"
    return "" if answer.get("exists") else "does not exist"
