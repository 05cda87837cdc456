"""Counts the lines of a gateway's log for each server: which requests count as failed, the steps of
response times, how many servers are counted.

A line is `hostler1 BACKEND SERVER STATUS WAIT CONNECT RESPONSE TERMINATION`, as
`hostler.gateway.text` requests it. Times are counted in fixed steps of 8 %. So every quantile is
exact within 4 %, and the counts do not grow with the number of requests.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import socket
import threading
import time
from typing import Dict, List, NamedTuple, Optional, Tuple

from hostler_agent.json_values import Outgoing

STEP = 1.08
STEPS = 200
"""Number of steps; the last one begins at more than an hour."""
_MOST_SERVERS = 2000
_IDLE_S = 3600.0
"""Seconds. A server without a request for so long is reported once more and then forgotten: each
release adds servers, and a reader may live for years."""
_LONGEST = 4096
_LENGTH_DIGITS = 4
_READ_BYTES = 65536
_REST_S = 0.02
"""Seconds of pause after each read: reading many lines at once costs a third as much as reading
them singly. HAProxy keeps the lines meanwhile."""
_REFUSED = (401, 403)
_MOST_WORKERS = 64
"""Connections at the same time: each reload leaves a worker until its streams have ended."""
_LOG_STEP = math.log(STEP)


class Line(NamedTuple):
    """One logged request."""

    service: str
    server: str
    status: int
    milliseconds: Optional[int]
    """From the arrival of the request to the first byte of the answer; None: there was no
    answer."""
    cut: bool
    """Whether the server stopped before the end of its answer."""


def parse(data: bytes) -> Optional[Line]:
    """A line of the log; None for anything else, also for a request that matched no service."""
    words = data.decode("ascii", "replace").split()
    if len(words) != 8 or words[0] != "hostler1" or not words[1].startswith("s."):
        return None
    try:
        status, wait, connect, response = (int(word) for word in words[3:7])
    except ValueError:
        return None
    answered = response >= 0 and len(words[4]) < 12 and len(words[6]) < 12
    took = max(wait, 0) + max(connect, 0) + response if answered else None
    # "SD", "sD": the server ended or stopped sending during the answer; "KD": ended by a command.
    cut = words[7][:2] in ("SD", "sD", "KD", "DD", "UD")
    return Line(words[1][2:], words[2], status, took, cut)


def step_of(milliseconds: int) -> int:
    """The number of the step that a time belongs to."""
    if milliseconds < 1:
        return 0
    return min(STEPS - 1, 1 + int(math.log(milliseconds) / _LOG_STEP))


class Counts:
    """The counts of one server."""

    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0
        self.cut = 0
        self.steps = [0] * STEPS
        self.last = 0.0
        """When its last request ended, in seconds of the monotonic clock."""

    def take(self, line: Line) -> None:
        """Count one more request. It failed if it got no answer, or a status of 500 or above.
        Requests that the gateway refused because of their token are not failures of the service."""
        self.requests += 1
        self.last = time.monotonic()
        is_refused = line.milliseconds is None and line.status in _REFUSED
        self.failed += line.status >= 500 or (line.milliseconds is None and not is_refused)
        self.cut += line.cut
        if line.milliseconds is not None:
            self.steps[step_of(line.milliseconds)] += 1

    def to_wire(self) -> Outgoing:
        """Return the counts for an answer, without empty steps at the end."""
        last = max((number for number, count in enumerate(self.steps) if count), default=-1)
        return {
            "requests": self.requests, "failed": self.failed, "cut": self.cut,
            "steps": self.steps[: last + 1],
        }  # fmt: skip


class Frames:
    """Cuts the data of a connection into messages: `LENGTH MESSAGE`, one after another (RFC 6587,
    octet counting)."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> List[bytes]:
        """The messages that are complete now. Raises ValueError for an invalid one."""
        text, start, found = self._rest + data, 0, []
        while True:
            space = text.find(b" ", start, start + _LENGTH_DIGITS + 1)
            if space < 0:
                if len(text) - start > _LENGTH_DIGITS:
                    raise ValueError("no length")
                break
            length = text[start:space]
            if not length.isdigit() or int(length) > _LONGEST:
                raise ValueError("not a length")
            end = space + 1 + int(length)
            if end > len(text):
                break
            found.append(text[space + 1 : end])
            start = end
        self._rest = text[start:]
        return found


class LogReader:
    """Receives the lines in a thread of its own, for as long as this process lives.

    HAProxy keeps them in a ring and sends them over a connection of each of its workers, so that no
    line is lost while this thread waits for the processor, or while no agent runs.
    """

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self.since = time.time()
        self._path = path
        self._counts: Dict[Tuple[str, str], Counts] = {}
        self._lock = threading.Lock()
        self._left_out = 0
        self._selector = selectors.DefaultSelector()
        self._socket = _bound(path)
        self._inode = os.stat(path).st_ino
        self._ended, self._end = os.pipe()
        self._selector.register(self._ended, selectors.EVENT_READ)
        self._selector.register(self._socket, selectors.EVENT_READ)
        threading.Thread(target=self._receive, name="gateway log", daemon=True).start()

    def counts(self) -> Outgoing:
        """Return all counts since `since`."""
        with self._lock:
            servers: List[Outgoing] = [
                {"service": service, "server": server, **found.to_wire()}
                for (service, server), found in sorted(self._counts.items())
            ]
            idle = time.monotonic() - _IDLE_S
            for key in [key for key, found in self._counts.items() if found.last < idle]:
                del self._counts[key]
        return {"since": self.since, "left_out": self._left_out, "servers": servers}

    def is_bound(self) -> bool:
        """Whether HAProxy still finds it at its path."""
        with contextlib.suppress(OSError):
            return os.stat(self._path).st_ino == self._inode
        return False

    def close(self) -> None:
        """Stop receiving: the thread ends soon, with all its connections. Call it only once."""
        os.close(self._end)

    def _receive(self) -> None:
        while True:
            for key, _events in self._selector.select():
                if key.fd == self._ended:
                    self._close_all()
                    return
                if key.fileobj is self._socket:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj, key.data)
            time.sleep(_REST_S)

    def _close_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        os.close(self._ended)
        self._selector.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _name = self._socket.accept()
            if len(self._selector.get_map()) > _MOST_WORKERS:
                connection.close()
                return
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, Frames())

    def _read(self, connection: socket.socket, frames: Frames) -> None:
        try:
            data = connection.recv(_READ_BYTES)
            lines = [parse(each) for each in frames.take(data)]
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError):
            data, lines = b"", []
        with self._lock:
            for line in lines:
                if line is not None:
                    self._take(line)
        if not data:
            self._selector.unregister(connection)
            connection.close()

    def _take(self, line: Line) -> None:
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
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        os.chmod(path, 0o600)
        made.listen(_MOST_WORKERS)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
