"""Whether the shim of a failed job (a gateway's program) restarts it on its host, and after which
pause (0.25 to 30 s); the daemon retries stages."""

from __future__ import annotations

import os
import time

from hostler_agent.journal import Ended

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
SETTLED = 60.0
"""Seconds. After a run that lasted so long, the next pause is short again."""
_TICK = 0.1


class Restarts:
    """The restarts of one job, whose files are in `folder`. A file at `stopping` means that the job
    must end."""

    def __init__(self, folder: str, stopping: str) -> None:
        self._folder, self._stopping = folder, os.path.join(folder, stopping)
        self._pause = FIRST_PAUSE
        self._began = time.monotonic()

    @property
    def is_stopped(self) -> bool:
        """Whether the job must end, or was removed."""
        return os.path.exists(self._stopping) or not os.path.isdir(self._folder)

    def wait(self, end: Ended) -> bool:
        """Wait until the job must start again. False: it must not start again."""
        if end.exit_code == 0 and end.error is None:
            return False
        until = time.monotonic() + self.next_pause(time.monotonic() - self._began)
        while time.monotonic() < until:
            if self.is_stopped:
                return False
            time.sleep(_TICK)
        self._began = time.monotonic()
        return not self.is_stopped

    def next_pause(self, lived: float) -> float:
        """Seconds to wait before the next start; `lived`: seconds that the last process ran."""
        pause = FIRST_PAUSE if lived >= SETTLED else self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        return pause
