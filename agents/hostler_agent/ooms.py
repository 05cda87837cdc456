"""Decides from the kernel's count whether a container that died in its first 5 seconds was killed
for memory, for OOM kills that Docker does not report.

containerd watches a container's memory only after the container has started. If a container exceeds
its limit in its first moments, signal 9 kills it before the watch begins, and "OOMKilled" stays
false for ever.
"""

from __future__ import annotations

from typing import Dict, Optional

from hostler_agent.json_values import Message, table
from hostler_agent.look_sections import Workload

FIRST_MOMENTS = 5.0
"""Seconds. A missing report is assumed only for a container that lived less than this. Afterwards
the watch runs; and during a longer life the kernel may have killed other processes."""
_KILLED = 137


class Ooms:
    """For each container, the kernel's count when it was first seen, and the verdict at its end,
    which never changes."""

    def __init__(self) -> None:
        self._before: Dict[str, int] = {}
        self._verdicts: Dict[str, bool] = {}

    def created(self, ref: str) -> None:
        """Note that a container was created and has not started."""
        self._before.setdefault(ref, oom_kills())

    def gone(self, ref: str) -> None:
        """Forget a container that was removed."""
        self._before.pop(ref, None)
        self._verdicts.pop(ref, None)

    def unreported(self, inspect: Message, workload: Workload) -> bool:
        """Whether the kernel killed an ended container at its memory limit, and Docker did not
        notice."""
        ref = workload["ref"]
        if ref not in self._verdicts and workload.get("exit_code") is not None:
            limited = bool(table(inspect.get("HostConfig")).get("Memory"))
            died = limited and _died_at_once(workload)
            # Looks and events come from two threads; the first verdict is kept.
            self._verdicts.setdefault(ref, died and _more_than(self._before.get(ref)))
        return self._verdicts.get(ref, False)


def oom_kills() -> int:
    """How many processes the kernel has killed since boot because memory was short."""
    try:
        with open("/proc/vmstat") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def _died_at_once(workload: Workload) -> bool:
    started, finished = workload.get("started_at"), workload.get("finished_at")
    if workload.get("exit_code") != _KILLED or started is None or finished is None:
        return False
    return finished - started < FIRST_MOMENTS


def _more_than(before: Optional[int]) -> bool:
    return before is not None and oom_kills() > before
