"""Counts the lines of a gateway's log: requests, failures and response times of each server.

A line is `hostler1 BACKEND SERVER STATUS WAIT CONNECT RESPONSE TERMINATION`, as
`hostler.gateway.text` asks for it. Times are counted in fixed steps of 8 %, so that any part of
them is known within 4 % and nothing grows with the number of requests.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from typing import Dict, List, NamedTuple, Optional, Tuple

from hostler_agent.json_values import Outgoing

STEP = 1.08
STEPS = 200
"""The last one begins at more than an hour, in milliseconds."""
_MOST_SERVERS = 2000
_LONGEST = 4096
_LOG_STEP = math.log(STEP)


class Line(NamedTuple):
    """One request."""

    service: str
    server: str
    status: int
    milliseconds: Optional[int]
    """From its arrival to the first byte of the answer; None: there was no answer."""
    cut: bool
    """The server did not end its answer."""


def parse(data: bytes) -> Optional[Line]:
    """A line of the log; None for anything else, also for what met no service."""
    words = data.decode("ascii", "replace").split()
    if len(words) != 8 or words[0] != "hostler1" or not words[1].startswith("s."):
        return None
    try:
        status, wait, connect, response = (int(word) for word in words[3:7])
    except ValueError:
        return None
    answered = response >= 0 and len(words[4]) < 12 and len(words[6]) < 12
    took = max(wait, 0) + max(connect, 0) + response if answered else None
    # "SD", "sD": the server ended or fell silent while data came; "KD": cut by command.
    cut = words[7][:2] in ("SD", "sD", "KD", "DD", "UD")
    return Line(words[1][2:], words[2], status, took, cut)


def step_of(milliseconds: int) -> int:
    """The number of the step that a time belongs to."""
    if milliseconds < 1:
        return 0
    return min(STEPS - 1, 1 + int(math.log(milliseconds) / _LOG_STEP))


class Counts:
    """Of one server."""

    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0
        self.cut = 0
        self.steps = [0] * STEPS

    def take(self, line: Line) -> None:
        """One request more. Failed are those that got no answer, or one of 500 and above."""
        self.requests += 1
        self.failed += line.status >= 500 or line.milliseconds is None
        self.cut += line.cut
        if line.milliseconds is not None:
            self.steps[step_of(line.milliseconds)] += 1

    def to_wire(self) -> Outgoing:
        """Without the empty steps at the end."""
        last = max((number for number, count in enumerate(self.steps) if count), default=-1)
        return {
            "requests": self.requests, "failed": self.failed, "cut": self.cut,
            "steps": self.steps[: last + 1],
        }  # fmt: skip


class LogReader:
    """Receives the lines in a thread of its own, for as long as this process lives."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self.since = time.time()
        self._path = path
        self._counts: Dict[Tuple[str, str], Counts] = {}
        self._lock = threading.Lock()
        self._left_out = 0
        self._socket = _bound(path)
        self._inode = os.stat(path).st_ino
        threading.Thread(target=self._receive, name="gateway log", daemon=True).start()

    def counts(self) -> Outgoing:
        """All since `since`."""
        with self._lock:
            servers: List[Outgoing] = [
                {"service": service, "server": server, **found.to_wire()}
                for (service, server), found in sorted(self._counts.items())
            ]
        return {"since": self.since, "left_out": self._left_out, "servers": servers}

    def is_bound(self) -> bool:
        """Whether HAProxy still finds it at its path."""
        with contextlib.suppress(OSError):
            return os.stat(self._path).st_ino == self._inode
        return False

    def close(self) -> None:
        """Receive no more. A thread that waits in `recv` does not notice that alone."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _receive(self) -> None:
        while True:
            try:
                data = self._socket.recv(_LONGEST)
            except OSError:
                return
            line = parse(data)
            if line is not None:
                self._take(line)

    def _take(self, line: Line) -> None:
        with self._lock:
            key = line.service, line.server
            found = self._counts.get(key)
            if found is None:
                if len(self._counts) >= _MOST_SERVERS:
                    self._left_out += 1
                    return
                found = self._counts[key] = Counts()
            found.take(line)


def _bound(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.bind(path)
        os.chmod(path, 0o600)
    except OSError:
        made.close()
        raise
    return made
