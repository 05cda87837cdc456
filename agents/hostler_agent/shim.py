"""Supervises one job in a separate session, which outlives agent and daemon: its output and end,
time given to processes left behind, a full disk.

It copies the job's output into the log, waits for its end, ends processes that the job left behind,
writes the end to the journal, and notifies the agents that listen. It is forked from the spawner,
never from a process that has loaded NVML.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Tuple

from hostler_agent import journal, secretfiles, strays
from hostler_agent.joblog import Writer
from hostler_agent.joboutput import JobOutput
from hostler_agent.journal import Ended, Started
from hostler_agent.ooms import oom_kills
from hostler_agent.processes import Proc
from hostler_agent.restarts import Restarts
from hostler_agent.spawning import Cannot, spawn

if TYPE_CHECKING:
    from hostler_agent.logcopy import LogCopy

STRAY_GRACE = 2.0
"""Seconds between TERM and KILL for processes that outlive the job's own process, if the stage sets
none."""
LOCK = "lock"
STOPPING = "stopping"
"""A file that exists after a stop was requested. If it is not empty, the grace is over."""
_GIVE_UP = 30.0
_WRITE_AGAIN = 1.0
_WRITE_FOR = 3600.0
"""Seconds to wait for space on a full disk. After that the end is not recorded."""
_SETTLED = 0.5
"""Seconds after the start when the kernel's count of OOM kills is read; it is compared at the
end."""
_SUBREAPER = 36
_libc = ctypes.CDLL(None)


class Spec(NamedTuple):
    """The job to start."""

    attempt_id: str
    folder: str
    boot_id: str
    argv: List[str]
    env: Dict[str, str]
    cwd: str
    log_cap: int
    grace: Optional[float] = None
    secrets: bool = False
    """Whether files with secrets are removed at its end."""
    output: str = ""
    """The path in `cwd` of a second file for its log, with the patterns of sbatch's `--output`; "":
    none."""
    errors: str = ""
    """The path of a second file for its standard error, if it differs; "": none."""
    id: int = 0
    """The request's id, for the answer."""
    home: str = ""
    """The attempt's folder, to whose log it writes, if `folder` is another one."""
    limit: Optional[float] = None
    """Seconds after which the job is ended; None: no limit."""
    gpus: bool = False
    """Whether leases are bound to the shim. The shim then ends with the job, so that the leases
    end, too."""
    again: bool = False
    """Whether the shim restarts the job when it fails, until it is stopped."""


class Shim:
    """A process that supervises one job, and later another."""

    def __init__(self, base: str, notices: str) -> None:
        os.setsid()
        signal.signal(signal.SIGHUP, lambda *_: None)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._pass_on(signal.SIGTERM))
        _libc.prctl(_SUBREAPER, 1, 0, 0, 0)
        self._wake, wake = os.pipe()
        for descriptor in (self._wake, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._held = _hold(base)
        self._notices = notices
        self._ticks = Proc().start_ticks(os.getpid())
        self._supervisor: Optional[Supervisor] = None

    def _pass_on(self, number: int) -> None:
        if self._supervisor is not None:
            self._supervisor.signal_group(number)

    def run(self, spec: Spec, reply: int) -> bool:
        """Run a job to its end; write its start, or the error, to `reply`. False if this shim
        should end now."""
        folder = spec.folder
        with contextlib.ExitStack() as opened:
            try:
                lock = _lock(folder)
                opened.callback(os.close, lock)
                log = Writer(spec.home or folder, spec.log_cap)
                opened.callback(log.close)
                answer = self._start(spec, log, opened).event()
            except (Cannot, OSError) as error:
                answer = {"error": str(error)}
            with contextlib.suppress(OSError):  # the agent may have ended; the job continues
                os.write(reply, json.dumps({**answer, "id": spec.id}).encode("ascii") + b"\n")
            if "error" in answer or self._supervisor is None:
                return True
            end = self._supervisor.supervise()
            if spec.again:
                end = self._go_on(spec, log, end)
            if spec.secrets:
                secretfiles.drop(spec.attempt_id)
            _write_down(folder, end)
            clean, self._supervisor = self._supervisor.clean and not spec.gpus, None
        notify(self._notices, spec.attempt_id)
        return clean

    def _start(self, spec: Spec, log: Writer, opened: contextlib.ExitStack) -> Started:
        """Start the process. Raises Cannot or OSError."""
        copies = (_copy_of(path, spec, log, opened) for path in (spec.output, spec.errors))
        output = JobOutput(spec.folder, log, *copies)
        opened.callback(output.close)
        self._supervisor = Supervisor(spec, output, self._wake, self._ticks)
        return self._supervisor.start()

    def _go_on(self, spec: Spec, log: Writer, end: Ended) -> Ended:
        """Restart the job as long as it fails. Returns its last end."""
        restarts = Restarts(spec.folder, STOPPING)
        while restarts.wait(end):
            with contextlib.ExitStack() as opened:
                try:
                    self._start(spec, log, opened)
                except (Cannot, OSError) as error:
                    end = Ended(time.time(), error=str(error))
                    continue
                assert self._supervisor is not None
                if restarts.is_stopped:  # a stop came while no process ran
                    self._supervisor.signal_group(signal.SIGTERM)
                end = self._supervisor.supervise()
        return end


def _copy_of(
    path: str, spec: Spec, log: Writer, opened: contextlib.ExitStack
) -> Optional["LogCopy"]:
    if not path:
        return None
    from hostler_agent.logcopy import copy_of

    return copy_of(path, spec.cwd, spec.env, spec.log_cap, log, opened)


def _lock(folder: str) -> int:
    path = os.path.join(folder, LOCK)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Cannot("running already") from error
    return descriptor


def _write_down(folder: str, end: Ended) -> None:
    """Write the end into the journal; wait for space on the disk, because the end is recorded only
    there."""
    until = time.monotonic() + _WRITE_FOR
    while True:
        try:
            journal.append(folder, end.event(), sync=True)
            return
        except FileNotFoundError:
            return  # the job was removed
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(_WRITE_AGAIN)


def _hold(base: str) -> Optional[int]:
    from hostler_agent.folders import hold

    try:
        return hold(base)
    except OSError:
        return None  # without the lock, the folder may be removed after some days


def notify(folder: str, attempt: str) -> None:
    """Notify every agent of this login that a job has ended. Sockets of dead agents are removed."""
    message = attempt.encode("ascii")
    try:
        names = os.listdir(folder)
    except OSError:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender:
        sender.settimeout(1.0)
        for name in names:
            path = os.path.join(folder, name)
            try:
                sender.sendto(message, path)
            except ConnectionRefusedError:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            except OSError:
                continue  # that agent is busy; it also reads the journals by itself


class Supervisor:
    """Starts the process, copies its output, and records how it ends."""

    def __init__(self, spec: Spec, output: JobOutput, wake: int, ticks: Optional[int]) -> None:
        self._spec = spec
        self._output = output
        self._wake = wake
        self._ticks = ticks
        self._proc = Proc()
        self._grace = STRAY_GRACE if spec.grace is None else spec.grace
        self._pid = 0
        self._status: Optional[int] = None
        self._started: Tuple[float, float] = (0.0, 0.0)
        self._finished_at = 0.0
        self._ooms: Optional[int] = None
        self._told: Optional[strays.Told] = None
        self._late = False
        self.clean = True
        """Whether the job has left no process."""

    def start(self) -> Started:
        """Start the process. Raises Cannot or OSError."""
        spec = self._spec
        self._pid = spawn(spec.argv, spec.env, spec.cwd, self._output.out, self._output.err)
        self._output.started()
        self._started = time.time(), time.monotonic()
        begun = Started(
            self._pid, self._proc.start_ticks(self._pid), os.getpid(), self._ticks, spec.boot_id,
            self._started[0],
        )  # fmt: skip
        try:
            journal.append(spec.folder, begun.event())
        except OSError as error:
            # Without this record no agent could find the process, and a retry would start a second
            # one.
            self._undo()
            raise Cannot("its start cannot be recorded: %s" % error) from error
        return begun

    def _undo(self) -> None:
        """End the new process, and all processes that it has started."""
        until = time.monotonic() + _GIVE_UP
        while self._reap() and time.monotonic() < until:
            self._kill()
            time.sleep(0.01)

    def supervise(self) -> Ended:
        """Wait until the process and all processes that it started are gone, and all output is in
        the log. Returns how the job ended."""
        poller = select.poll()
        self._output.register(poller)
        poller.register(self._wake, select.POLLIN)
        killed_at: Optional[float] = None
        while True:
            left = self._reap()
            self._output.pump(poller)
            if not left:
                break
            timeout = self._timeout()
            if self._status is not None:
                now = time.monotonic()
                killed_at = now if killed_at is None else killed_at
                late = now - killed_at >= self._grace or self._is_up()
                if now - killed_at > self._grace + _GIVE_UP:
                    self.clean = False
                    break
                if late:
                    self._kill()
                else:
                    self._tell()
                timeout = 100.0
            if not poller.poll(timeout) and self._ooms is None:
                self._ooms = oom_kills()
            _drain(self._wake)
        self._output.pump(poller)
        return self._ending()

    def _timeout(self) -> Optional[float]:
        """Milliseconds until the next action; None: no time is set. Ends a job over its time
        limit."""
        timeout = None if self._ooms is not None else _SETTLED * 1000
        if self._spec.limit is None or self._status is not None:
            return timeout
        left = self._started[1] + self._spec.limit - time.monotonic()
        if left > 0:
            return left * 1000 + 1 if timeout is None else min(timeout, left * 1000 + 1)
        if not self._late:
            self._late = True
            self.signal_group(signal.SIGTERM)
        elif left < -self._grace:
            self._kill()
        return 100.0

    def _is_up(self) -> bool:
        """Whether the grace of a stop is over. It counts from the begin of the stop."""
        try:
            return os.stat(os.path.join(self._spec.folder, STOPPING)).st_size > 0
        except OSError:
            return False

    def _reap(self) -> bool:
        """Reap ended processes. False if no descendant remains."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._status, self._finished_at = status, self._now()

    def _now(self) -> float:
        """The present time: the start time plus the monotonic time since, because people and NTP
        set clocks while jobs run."""
        began, tick = self._started
        return began + time.monotonic() - tick

    def signal_group(self, number: int) -> None:
        """Send a signal to the job's process group, if it runs."""
        if self._pid and self._status is None:
            with contextlib.suppress(OSError):
                os.killpg(self._pid, number)

    def _kill(self) -> None:
        for process in strays.descendants(self._proc, os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)

    def _tell(self) -> None:
        """Send TERM once to every descendant, except processes that a descendant starts after its
        own TERM."""
        if self._told is None:
            began = strays.stop_began(os.path.join(self._spec.folder, STOPPING))
            self._told = strays.Told(began, self._is_stopped)
        for process in self._told.due(strays.descendants(self._proc, os.getpid())):
            tick = strays.now()
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGTERM)
                self._told.told(process, tick)

    def _is_stopped(self, pid: int) -> bool:
        """Whether the stop itself sends TERM to this process. It signals the job's group, and
        processes with the attempt's variables."""
        try:
            if os.getpgid(pid) == self._pid:
                return True
        except OSError:
            return False
        named = self._proc.environ(pid, "HOSTLER_ATTEMPT") == self._spec.attempt_id
        work = os.path.join(self._spec.home or self._spec.folder, "work")
        return named and self._proc.environ(pid, "HOSTLER_WORK") == work

    def _ending(self) -> Ended:
        status = self._status if self._status is not None else 0
        error = "the log could not be written: the disk is full" if self._output.is_full else None
        end = Ended(
            self._finished_at or self._now(), os.WEXITSTATUS(status), error=error, late=self._late
        )
        if not os.WIFSIGNALED(status):
            return end
        number = os.WTERMSIG(status)
        asked = os.path.exists(os.path.join(self._spec.folder, STOPPING))
        killed = number == signal.SIGKILL and not asked and self._ooms is not None
        oom = killed and oom_kills() > (self._ooms or 0)
        return end._replace(exit_code=128 + number, signal=number, oom_killed=oom)


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass
