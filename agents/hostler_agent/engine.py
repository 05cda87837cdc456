"""Recognises containers that a restart of Docker ended, by exit code and time, so that they do not
count as failures; whether Docker may raise limits."""

from __future__ import annotations

import os
import struct
import time
from typing import Optional

from hostler_agent.look_sections import Workload
from hostler_agent.processes import Proc

_PID_FILE = "/run/docker.pid"
_NEAR = 20.0
"""Seconds before or after the engine's start: when it stops, it gives containers 15 s; when it
starts, it kills the rest."""
_SYS_RESOURCE = 24
"""CAP_SYS_RESOURCE, which raises limits."""
_KILLED = (137, 143, 255, None)


def started_at(peer: bytes, proc: Proc, pid_file: str = _PID_FILE) -> Optional[float]:
    """When the engine behind a socket started, as host time in seconds; None: unknown.

    `peer`: SO_PEERCRED of the socket. If systemd holds the socket, SO_PEERCRED names systemd; the
    pid file names the engine.
    """
    pid = _pid(peer, pid_file)
    ticks = proc.start_ticks(pid) if pid is not None else None
    if ticks is None:
        return None
    # The kernel's boot time has only whole seconds, and a container may be younger than one second.
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def raises_limits(peer: bytes, pid_file: str = _PID_FILE, proc: str = "/proc") -> Optional[bool]:
    """Whether the engine may give containers larger limits than its own: it has the capability, and
    not only in a user namespace. None: unknown."""
    pid = _pid(peer, pid_file)
    if pid is None:
        return None
    try:
        with open("%s/%d/status" % (proc, pid)) as file:
            rights = [line.split()[1] for line in file if line.startswith("CapEff:")]
        with open("%s/%d/uid_map" % (proc, pid)) as file:
            users = file.read().split()
    except OSError:
        return None
    all_users = users[:2] == ["0", "0"] and users[2:] == ["4294967295"]
    return bool(rights) and bool(int(rights[0], 16) >> _SYS_RESOURCE & 1) and all_users


def _pid(peer: bytes, pid_file: str) -> Optional[int]:
    pid = struct.unpack("3i", peer)[0] if len(peer) == 12 else 0
    if pid > 1:
        return int(pid)
    try:
        with open(pid_file) as file:
            return int(file.read(20))
    except (OSError, ValueError):
        return None


def was_restarted(workload: Workload, engine_since: Optional[float]) -> bool:
    """Whether a restart of the engine ended the container."""
    begun, ended = workload.get("started_at"), workload.get("finished_at")
    if engine_since is None or begun is None or workload.get("exit_code") not in _KILLED:
        return False
    if workload["running"] or begun >= engine_since or workload.get("oom_killed"):
        return False
    return ended is None or abs(ended - engine_since) <= _NEAR
