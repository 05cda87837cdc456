"""Recognises containers that Docker reports as running though their process ended over 10 seconds
ago, and the words for such an end.

If a process ends while Docker's containerd is down, Docker never learns of it. Such a container
would hold its GPUs until a person checks it.
"""

from __future__ import annotations

import time
from typing import Dict, Iterable, Tuple

from hostler_agent.inspected import state_of
from hostler_agent.json_values import Message
from hostler_agent.look_sections import Workload
from hostler_agent.processes import Proc, is_alive

SURE_AFTER = 10.0
"""Seconds for which the agent waits for Docker to report the end."""
SAID = "Docker still calls it running, but its process is gone"


class RemovedContainers:
    """Remembers each container's process while it is visible and alive.

    The agent can recognise the end only of a process that it has seen alive. So it does not judge
    processes on another machine, or processes hidden from this login.
    """

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._seen: Dict[str, Tuple[int, int]] = {}
        self._gone: Dict[str, float] = {}

    def doubts(self, ref: str) -> bool:
        """Whether the known process of a container is gone, so that Docker's earlier answer no
        longer counts."""
        return ref in self._seen and not self._lives(*self._seen[ref])

    def is_one(self, ref: str, inspect: Message) -> bool:
        """Whether a container has certainly ended, although Docker has just listed it as
        running."""
        state = state_of(inspect)
        pid = state.get("Pid")
        if state.get("Status") != "running" or not isinstance(pid, int) or pid <= 0:
            self._gone.pop(ref, None)
            return False
        seen = self._seen.get(ref)
        if seen is None or seen[0] != pid:
            ticks = self._proc.start_ticks(pid)
            self._gone.pop(ref, None)
            if ticks is not None:
                self._seen[ref] = pid, ticks
            return False
        if self._lives(*seen):
            self._gone.pop(ref, None)
            return False
        now = time.monotonic()
        return now - self._gone.setdefault(ref, now) >= SURE_AFTER

    def keep(self, refs: Iterable[str]) -> None:
        """Forget all containers except these."""
        there = set(refs)
        for kept in (self._seen, self._gone):
            for ref in set(kept) - there:
                del kept[ref]

    def _lives(self, pid: int, ticks: int) -> bool:
        now = self._proc.start_ticks(pid)
        # A process that cannot be read may still exist.
        return now == ticks if now is not None else is_alive(pid)


def ended(one: Workload) -> Workload:
    """Return the workload as ended in an unknown way."""
    return {**one, "running": False, "exit_code": None, "error": SAID}
