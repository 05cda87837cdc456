"""A job's journal: JSON lines that only grow, and the workload they describe.

created: what was asked for. started: PID, start ticks and boot, so that the process is found again
and never mistaken for another. ended: how, forced to disk before anybody is told.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any, Dict, List, Optional

from hostler_agent.processes import Proc

NAME = "journal"
_MAX = 256 * 1024


def append(folder: str, event: Dict[str, Any], sync: bool = False) -> None:
    """Add one event; `sync`: return once it is on disk. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(os.path.join(folder, NAME), flags, 0o600)
    try:
        # A newline first: a line that a power cut left half must not swallow this one.
        rest = b"\n" + json.dumps(event).encode("ascii") + b"\n"
        while rest:  # a disk that is nearly full takes a part, and refuses the next
            rest = rest[os.write(descriptor, rest) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: str) -> List[Dict[str, Any]]:
    """All whole events; empty without a journal."""
    # The job itself can put anything there, and a FIFO would be waited for in vain.
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
        except (ValueError, RecursionError):  # of lists in lists without end
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


class Job:
    """What a journal says, merged."""

    def __init__(self, folder: str, events: List[Dict[str, Any]]) -> None:
        self.folder = folder
        self.created: Dict[str, Any] = {}
        self.started: Optional[Dict[str, Any]] = None
        self.ended: Optional[Dict[str, Any]] = None
        for event in events:
            kind = event.get("event")
            if kind == "created" and not self.created:
                self.created = event
            elif kind == "started":
                self.started = event
            elif kind == "ended" and self.ended is None:
                self.ended = event

    @property
    def attempt_id(self) -> str:
        """The attempt, which also names the folder."""
        return os.path.basename(self.folder)

    @property
    def bound(self) -> Optional[str]:
        """What a lease is bound to: "pid:start ticks" of the shim, which outlives the rest."""
        if self.started is None:
            return None
        return "%d:%d" % (self.started["shim"], self.started["shim_ticks"])

    def running(self, proc: Proc, boot_id: str) -> bool:
        """It was started in this boot, has not ended, and its process is the same one."""
        if self.started is None or self.ended is not None:
            return False
        if self.started.get("boot_id") != boot_id:
            return False
        # The shim lives until the end is in the journal; without it the process itself counts.
        pairs = (("pid", "ticks"), ("shim", "shim_ticks"))
        return any(
            isinstance(self.started.get(ticks), int)
            and proc.same(int(self.started[pid]), int(self.started[ticks]))
            for pid, ticks in pairs
        )

    def workload(self, running: bool, boot_id: str) -> Dict[str, Any]:
        """The `Workload` as the model's fields."""
        created = self.created
        result: Dict[str, Any] = {
            "attempt_id": self.attempt_id, "daemon_id": created.get("daemon_id", ""),
            "runtime": "process", "ref": self.attempt_id, "running": running,
            "gpus": created.get("gpus") or [], "owner": created.get("owner"),
        }  # fmt: skip
        if self.started is not None:
            result["started_at"] = self.started.get("at")
            ticks = self.started.get("ticks")
            if self.started.get("boot_id") == boot_id and isinstance(ticks, int):
                result["started_up"] = Proc().started_up(ticks)
        if self.ended is not None:
            for key in ("exit_code", "signal", "oom_killed", "error"):
                if self.ended.get(key) is not None:
                    result[key] = self.ended[key]
            result["finished_at"] = self.ended.get("at")
        elif self.started is None and created.get("boot_id") == boot_id:
            result["created_only"] = True
        elif not running:
            # After a power cut "started" may be missing although it ran: nobody can know.
            result["error"] = "the process and its supervisor are gone: nobody saw how it ended"
        return result


def load(folder: str) -> Optional[Job]:
    """The job in a folder, or None when there is none."""
    events = read(folder)
    job = Job(folder, events)
    return job if job.created else None
