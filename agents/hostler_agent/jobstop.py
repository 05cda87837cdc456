"""Stops a process job: TERM to all its processes, a grace time, KILL, and how long they may take to
die until the stop counts as failed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import List, Optional

from hostler_agent import journal, shim
from hostler_agent.folders import Refusal
from hostler_agent.journal import Job
from hostler_agent.processes import Proc

GRACE = 30.0
"""Seconds between TERM and KILL if a request gives none; the daemon's requests give the stage's
time."""
_TOLD = "stop-sent"
"""A file in the job's folder. Its time is when TERM was sent."""
_DIE = 15.0
"""Seconds that processes may take to disappear after KILL."""
_ENGINE = "EngineError"


class Stopper:
    """Signals processes of jobs of this login. May be used from any thread."""

    def __init__(self, proc: Proc, boot_id: str) -> None:
        self._proc = proc
        self._boot_id = boot_id

    def stop(self, job: Job, grace: float) -> None:
        """Stop all processes of the job if it runs: TERM, `grace` seconds, KILL. A daemon that lost
        its connection may repeat the request. Then no second TERM is sent, because it ends many
        programs at once, and only the rest of the grace is waited for. Raises Refusal."""
        if not job.running(self._proc, self._boot_id):
            return
        told = os.path.join(job.folder, _TOLD)
        ago = _age(told)
        if ago is None:
            self._say_stopping(job, "")
            self._signal_all(job, signal.SIGTERM)
            with contextlib.suppress(OSError):  # on a full disk, TERM is sent again
                open(told, "w").close()
        if self._wait_gone(job, max(grace - (ago or 0.0), 0.0)):
            return
        self._say_stopping(job, "up\n")
        until = time.monotonic() + _DIE
        while time.monotonic() < until:
            self._signal_all(job, signal.SIGKILL)
            if self._wait_gone(job, 0.5):
                return
        self._explain(job)

    def signal_group(self, job: Job, number: int) -> None:
        """Send a signal to the job's process group, if its first process is still there."""
        if job.started is not None and self._same(job):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(job.started.pid, number)

    def _same(self, job: Job) -> bool:
        """Whether the process with the recorded PID is still the same one; False if no PID was
        recorded."""
        begun = job.started
        if begun is None or begun.pid <= 0 or begun.ticks is None:
            return False
        return self._proc.start_ticks(begun.pid) == begun.ticks

    def _say_stopping(self, job: Job, text: str) -> None:
        with open(os.path.join(job.folder, shim.STOPPING), "w") as file:
            file.write(text)

    def _explain(self, job: Job) -> None:
        """Raise Refusal with the reason why the job did not end: its end is not recorded yet, or it
        runs as another user. No error if its processes hang in the kernel."""
        name = job.attempt_id
        job = journal.load(job.folder, job.home) or job
        if job.started is None:
            return
        if not self._same(job) and not self._tagged(job):
            raise Refusal("%s has ended, and its end cannot be recorded yet" % name, _ENGINE)
        try:
            os.killpg(job.started.pid, 0)
        except ProcessLookupError:
            return
        except PermissionError:
            text = "%s runs as another user (by sudo?): this login may not end it" % name
            raise Refusal(text, _ENGINE) from None

    def _signal_all(self, job: Job, number: int) -> None:
        """Signal the job's process group, and processes that left the group but have the attempt's
        variables."""
        group = job.started.pid if job.started else 0
        # Listed before any gets the signal: a process that starts later belongs to their shutdown.
        others = self._tagged(job)
        self.signal_group(job, number)
        for pid in others:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) != group:
                    os.kill(pid, number)

    def _tagged(self, job: Job) -> List[int]:
        """Processes with the variables of the attempt. Another folder of this login (of a daemon
        under test, for example) may have an attempt of the same name, so the working folder must
        match, too."""
        me, work = os.getuid(), os.path.join(job.home, "work")
        return [
            pid
            for pid in self._proc.pids()
            if self._proc.uid(pid) == me
            and self._proc.environ(pid, "HOSTLER_ATTEMPT") == job.attempt_id
            and self._proc.environ(pid, "HOSTLER_WORK") == work
            and self._proc.state(pid)[0] not in ("Z", "X", None)
        ]

    def _wait_gone(self, job: Job, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while True:
            again = journal.load(job.folder, job.home)
            if again is None or again.ended is not None:
                return True
            if not again.running(self._proc, self._boot_id) and not self._tagged(job):
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)


def _age(path: str) -> Optional[float]:
    """Seconds since a file was written; None if there is no such file."""
    try:
        return max(time.time() - os.stat(path).st_mtime, 0.0)
    except OSError:
        return None
