"""Copies a job's standard output and error into its log, and into the files that its stage
names."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING, List, Optional

from hostler_agent import journal
from hostler_agent.joblog import Writer

if TYPE_CHECKING:
    from hostler_agent.logcopy import LogCopy

_READS = 256
"""Reads per pump, so that the shim can still supervise a job that writes without end."""


class _Pipe:
    def __init__(self, copy: Optional["LogCopy"]) -> None:
        self.copy = copy
        self.end, self.job_end = os.pipe()
        os.set_blocking(self.end, False)

    def started(self) -> None:
        if self.job_end >= 0:
            os.close(self.job_end)
            self.job_end = -1


class JobOutput:
    """The pipes that a job writes to, and where their bytes go.

    Usually both streams share one pipe, which keeps their order. If errors have a separate file,
    there are two pipes: lines written to both at almost the same time may swap places in the log.
    """

    def __init__(
        self,
        folder: str,
        log: Writer,
        copy: Optional["LogCopy"] = None,
        errors: Optional["LogCopy"] = None,
    ) -> None:
        self._folder = folder
        self._log = log
        self._pipes: List[_Pipe] = [_Pipe(copy)]
        if errors is not None:
            self._pipes.append(_Pipe(errors))
        self.is_full = False
        """Whether the log could not store the last bytes."""

    @property
    def out(self) -> int:
        """The job's standard output."""
        return self._pipes[0].job_end

    @property
    def err(self) -> int:
        """The job's standard error."""
        return self._pipes[-1].job_end

    def close(self) -> None:
        """Close the pipes."""
        self.started()
        for pipe in self._pipes:
            os.close(pipe.end)

    def started(self) -> None:
        """Close the job's ends of the pipes in this process: from now on only the job holds
        them."""
        for pipe in self._pipes:
            pipe.started()

    def register(self, poller: select.poll) -> None:
        """Register the pipes: output wakes the poller."""
        for pipe in self._pipes:
            poller.register(pipe.end, select.POLLIN)

    def pump(self, poller: select.poll) -> None:
        """Copy the output that is available now."""
        for pipe in self._pipes:
            self._pump(pipe, poller)

    def _pump(self, pipe: _Pipe, poller: select.poll) -> None:
        for _ in range(_READS):
            try:
                data = os.read(pipe.end, 65536)
            except BlockingIOError:
                return
            except ValueError:
                return
            if not data:
                with contextlib.suppress(KeyError):
                    poller.unregister(pipe.end)
                return
            self._write(data, pipe.copy)

    def _write(self, data: bytes, copy: Optional["LogCopy"]) -> None:
        if copy is not None:
            copy.write(data)
        try:
            self._log.write(data)
            self.is_full = False
        except OSError as error:
            if not self.is_full:  # the job continues without its log
                self.is_full = True
                event = {"event": "log", "error": str(error), "at": time.time()}
                with contextlib.suppress(OSError):
                    journal.append(self._folder, event)
