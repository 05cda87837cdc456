"""A job's journal: JSON lines that only grow, the events in it, and how they become a workload
(running, ended, exit code).

`created` holds the request. `started` holds PID, start ticks and boot, so that the process is found
again and never confused with another. `ended` says how it ended, and is on the disk before it is
reported.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Iterable, List, NamedTuple, Optional, Sequence

from hostler_agent.json_values import (
    Json,
    Message,
    Outgoing,
    integer,
    number,
    string,
    strings,
    table,
)
from hostler_agent.look_sections import Workload
from hostler_agent.processes import Proc

NAME = "journal"
_MAX = 256 * 1024


def append(folder: str, event: Outgoing, sync: bool = False) -> None:
    """Add one event; `sync`: return once it is on disk. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(os.path.join(folder, NAME), flags, 0o600)
    try:
        # A newline first, so that a partial line from a power cut does not damage this one.
        rest = b"\n" + json.dumps(event).encode("ascii") + b"\n"
        while rest:  # an almost full disk accepts only a part
            rest = rest[os.write(descriptor, rest) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: str) -> List[Message]:
    """All whole events; empty without a journal."""
    # The job itself can put any file there; opening a FIFO would block.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(os.path.join(folder, NAME), flags), "rb") as file:
            data = file.read(_MAX) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return []
    events = []
    for line in data.split(b"\n"):
        try:
            event = json.loads(line) if line else None
        except (ValueError, RecursionError):  # RecursionError: deeply nested lists
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


class Created(NamedTuple):
    """The request that created the job."""

    attempt_id: str = ""
    daemon_id: str = ""
    run_id: str = ""
    stage: str = ""
    owner: Optional[str] = None
    gpus: Sequence[str] = ()
    checkpoint: str = ""
    checkpoint_key: Optional[str] = None
    log_cap: int = 0
    grace: Optional[float] = None
    make: Sequence[str] = ()
    here: Optional[str] = None
    boot_id: Optional[str] = None
    service: Optional[Message] = None
    """The health check of a service."""


class Started(NamedTuple):
    """Identifies the process and its supervisor for ever."""

    pid: int
    ticks: Optional[int]
    shim: int = 0
    shim_ticks: Optional[int] = None
    boot_id: Optional[str] = None
    at: Optional[float] = None

    def event(self) -> Outgoing:
        """Return it as a line of the journal."""
        return {"event": "started", **self._asdict()}


class Ended(NamedTuple):
    """How a job ended; None: unknown."""

    at: Optional[float]
    exit_code: Optional[int] = None
    signal: Optional[int] = None
    oom_killed: bool = False
    error: Optional[str] = None
    late: bool = False
    """Whether it was ended at its time limit."""

    def event(self) -> Outgoing:
        """Return the known fields as a line of the journal."""
        said = self._asdict().items()
        return {"event": "ended", **{k: v for k, v in said if v is not None and v is not False}}


def created(event: Message) -> Created:
    """Read the request from a line of the journal, or from the daemon. The job can write anything
    into its journal."""
    grace = number(event.get("grace"))
    return Created(
        string(event.get("attempt_id")) or "",
        string(event.get("daemon_id")) or "",
        string(event.get("run_id")) or "",
        string(event.get("stage")) or "",
        string(event.get("owner")),
        strings(event.get("gpus")),
        string(event.get("checkpoint")) or "",
        string(event.get("checkpoint_key")),
        integer(event.get("log_cap")) or 0,
        grace if grace is not None and 0 <= grace < 1e6 else None,
        strings(event.get("make")),
        string(event.get("here")),
        string(event.get("boot_id")),
        table(event.get("service")) or None,
    )


def started(event: Message) -> Started:
    """Read a start from a line of the journal."""
    return Started(
        integer(event.get("pid")) or 0, integer(event.get("ticks")),
        integer(event.get("shim")) or 0, integer(event.get("shim_ticks")),
        string(event.get("boot_id")), number(event.get("at")),
    )  # fmt: skip


def _ended(event: Message) -> Ended:
    return Ended(
        number(event.get("at")), integer(event.get("exit_code")), integer(event.get("signal")),
        event.get("oom_killed") is True, string(event.get("error")),
        event.get("late") is True,
    )  # fmt: skip


class Job:
    """The state of a job, from all events of its journal. `home`: the attempt's folder, if it
    differs from `folder`."""

    def __init__(self, folder: str, events: Iterable[Message], home: str = "") -> None:
        self.folder = folder
        self.home = home or folder
        self.is_made = False
        self.created = Created()
        self.started: Optional[Started] = None
        self.ended: Optional[Ended] = None
        self.port: Optional[int] = None
        """The port of a service; None: it has none."""
        for event in events:
            kind = event.get("event")
            if kind == "created" and not self.is_made:
                self.is_made, self.created = True, created(event)
            elif kind == "started":
                self.started = started(event)
            elif kind == "port":
                self.port = _port(event.get("port"))
            elif kind == "ended" and self.ended is None:
                self.ended = _ended(event)

    @property
    def attempt_id(self) -> str:
        """The attempt's id, which is also the name of its folder."""
        return os.path.basename(self.home)

    @property
    def bound(self) -> Optional[str]:
        """What a lease is bound to: "pid:start ticks" of the shim, which ends last."""
        if self.started is None or self.started.shim_ticks is None:
            return None
        return "%d:%d" % (self.started.shim, self.started.shim_ticks)

    def running(self, proc: Proc, boot_id: str) -> bool:
        """Whether it was started in this boot, has not ended, and its process is still the same."""
        begun = self.started
        if begun is None or self.ended is not None or begun.boot_id != boot_id:
            return False
        # The shim runs until the end is in the journal. Without a shim, the process itself counts.
        pairs = ((begun.pid, begun.ticks), (begun.shim, begun.shim_ticks))
        return any(ticks is not None and proc.same(pid, ticks) for pid, ticks in pairs)

    def is_over(self, proc: Proc, boot_id: str) -> bool:
        """Whether nothing of it runs or will start. A reboot may have come before its end, or its
        start, was recorded."""
        if self.started is None:
            before = self.created.boot_id
            return self.ended is not None or (before is not None and before != boot_id)
        return not self.running(proc, boot_id)

    def workload(self, running: bool, boot_id: str) -> Workload:
        """Return the workload for looks."""
        asked, begun, over = self.created, self.started, self.ended
        result: Workload = {
            "attempt_id": self.attempt_id, "daemon_id": asked.daemon_id, "runtime": "process",
            "ref": self.attempt_id, "running": running, "gpus": list(asked.gpus),
            "owner": asked.owner,
        }  # fmt: skip
        if begun is not None:
            result["started_at"] = begun.at
            if self.port is not None:
                result["port"] = self.port
            if begun.boot_id == boot_id and begun.ticks is not None:
                result["started_up"] = Proc().started_up(begun.ticks)
        if over is not None:
            _add_end(result, over)
        elif begun is None and asked.boot_id == boot_id:
            result["created_only"] = True
        elif not running:
            # After a power cut "started" may be missing although the process ran.
            result["error"] = "the process and its supervisor are gone: its exit code is unknown"
        return result


def _port(value: Json) -> Optional[int]:
    port = integer(value)
    return port if port is not None and 0 < port < 65536 else None


def _add_end(result: Workload, over: Ended) -> None:
    if over.exit_code is not None:
        result["exit_code"] = over.exit_code
    if over.signal is not None:
        result["signal"] = over.signal
    if over.oom_killed:
        result["oom_killed"] = True
    if over.error is not None:
        result["error"] = over.error
    result["finished_at"] = over.at


def load(folder: str, home: str = "") -> Optional[Job]:
    """Load the job in a folder; None if there is none."""
    events = read(folder)
    job = Job(folder, events, home)
    return job if job.is_made else None
