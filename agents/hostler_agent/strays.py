"""Finds processes that a job leaves behind when its first process ends, and decides which are sent
TERM; `shim` sends the signals.

Each process gets TERM once. Child processes that it starts after its TERM are part of its end (a
program that saves a checkpoint, for example). They get no TERM, and may run until the grace is
over.
"""

from __future__ import annotations

import os
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from hostler_agent.processes import CLOCK_TICK, Proc

_NEVER = 0
"""The tick of a process that gets no signal: all its children count as started later."""


class Process(NamedTuple):
    """A living process below the shim."""

    pid: int
    parent: int
    ticks: int
    """When the process started, in ticks since boot."""


def descendants(proc: Proc, root: int) -> List[Process]:
    """All living processes below `root`, each after its parent."""
    children: Dict[int, List[Process]] = {}
    for pid in proc.pids():
        state, parent, ticks = proc.origin(pid)
        if state not in ("Z", "X", None) and parent is not None and pid != root:
            children.setdefault(parent, []).append(Process(pid, parent, ticks or 0))
    found = sorted(children.pop(root, []))
    for process in found:  # the list grows in the loop
        found += sorted(children.pop(process.pid, []))
    return found


def now(ago: float = 0.0) -> int:
    """Ticks since boot, by the clock of `Process.ticks`; or as it was `ago` seconds ago."""
    return int((time.clock_gettime(time.CLOCK_BOOTTIME) - ago) * CLOCK_TICK)


def stop_began(mark: str) -> Optional[int]:
    """The tick when the stop file was written; None if there is no such file."""
    try:
        age = time.time() - os.stat(mark).st_mtime
    except OSError:
        return None
    return now(max(age, 0.0))


class Told:
    """Records which processes got TERM, and when.

    A process that started in the same tick (10 ms) may have started before its parent got the
    signal, or afterwards, as part of the parent's cleanup. It counts as cleanup: at worst it lives
    until the grace is over.
    """

    def __init__(self, since: Optional[int], by_stop: Callable[[int], bool]) -> None:
        """`since`: the tick when the stop began; None: no process has got a signal yet. A process
        that is older has got TERM from the stop itself if `by_stop(pid)` is true."""
        self._since = since
        self._by_stop = by_stop
        self._at: Dict[Tuple[int, int], int] = {}

    def due(self, found: Sequence[Process]) -> List[Process]:
        """Which of these processes should get TERM. Call `told` for each after TERM was sent."""
        ticks = {process.pid: process.ticks for process in found}
        due: Dict[int, Process] = {}
        for process in found:
            parent = process.parent
            if self._name(process) in self._at:
                continue
            if parent in due or self._is_older(process, ticks.get(parent)):
                self._due(process, due)
            else:
                self._at[self._name(process)] = _NEVER
        if self._since is None:
            self._since = now()
        return list(due.values())

    def _due(self, process: Process, due: Dict[int, Process]) -> None:
        since = self._since
        if since is not None and process.ticks < since and self._by_stop(process.pid):
            self.told(process, since)
        else:
            due[process.pid] = process

    def _is_older(self, process: Process, parent: Optional[int]) -> bool:
        """Whether it was started before its parent got the signal; if the parent is gone, before
        the first process got it."""
        at = self._since if parent is None else self._at[process.parent, parent]
        return at is None or process.ticks < at

    def told(self, process: Process, tick: int) -> None:
        """Record that the process got TERM at that tick."""
        self._at[self._name(process)] = tick

    def _name(self, process: Process) -> Tuple[int, int]:
        return process.pid, process.ticks
