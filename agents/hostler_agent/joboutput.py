"""Copies what a job writes to its standard output and error into its log."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING, Optional

from hostler_agent import journal
from hostler_agent.joblog import Writer

if TYPE_CHECKING:
    from hostler_agent.logcopy import LogCopy

_READS = 256
"""Of one pump, so that a job that writes without end is still looked after."""


class JobOutput:
    """The pipe that a job writes to, and where its bytes go."""

    def __init__(self, folder: str, log: Writer, copy: Optional["LogCopy"] = None) -> None:
        self._folder = folder
        self._log = log
        self._copy = copy
        self._end, self.pipe = os.pipe()
        os.set_blocking(self._end, False)
        self.is_full = False
        """The last bytes could not be written."""

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._end)
        self.started()

    def started(self) -> None:
        """Only the job holds the pipe's other end from now on."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1

    def register(self, poller: select.poll) -> None:
        """Have the poller wake up when there is output."""
        poller.register(self._end, select.POLLIN)

    def pump(self, poller: select.poll) -> None:
        """Write down what there is."""
        for _ in range(_READS):
            try:
                data = os.read(self._end, 65536)
            except BlockingIOError:
                return
            except ValueError:
                return
            if not data:
                with contextlib.suppress(KeyError):
                    poller.unregister(self._end)
                return
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._copy is not None:
            self._copy.write(data)
        try:
            self._log.write(data)
            self.is_full = False
        except OSError as error:
            if not self.is_full:  # the job goes on without its log
                self.is_full = True
                event = {"event": "log", "error": str(error), "at": time.time()}
                with contextlib.suppress(OSError):
                    journal.append(self._folder, event)
