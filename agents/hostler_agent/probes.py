"""Checks the health of service replicas on this host: what counts as a good answer, the request
sent, pauses while starting, limits of time and size.

Each replica has a thread of its own, so that one that hangs does not delay the others.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from hostler_agent.json_values import Json, Message, items, number, string, table
from hostler_agent.look_sections import HealthRow
from hostler_agent.probed import LOOPBACK, Probed, foreign

FIRST_PAUSE = 0.1
STARTING_PAUSE = 0.5
"""Longest pause between checks while the replica is not healthy, in seconds."""
_MOST = 256
_MAX_HEAD = 32 * 1024
_MAX_ANSWER = 1024 * 1024
_MAX_SAID = 200
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)[ \r\n]")
_LISTENING = "0A"


def _words(family: int, address: str) -> str:
    """Return an address as /proc/net writes it: words in the byte order of this machine."""
    data = socket.inet_pton(family, address)
    return "".join("%08X" % word for word in struct.unpack("=%dI" % (len(data) // 4), data))


_NEAR = {
    _words(socket.AF_INET, LOOPBACK): 0,
    _words(socket.AF_INET6, "::ffff:" + LOOPBACK): 0,
    _words(socket.AF_INET, "0.0.0.0"): 1,
    _words(socket.AF_INET6, "::"): 2,  # next to 0.0.0.0 only if it accepts no IPv4
}
"""Addresses whose listeners get connections to 127.0.0.1, with a rank: Linux prefers the lowest."""


class Prober:
    """The threads that check replicas, and their last results. Only the loop calls `rows`."""

    def __init__(self) -> None:
        self._asked: Dict[Tuple[str, str], Probe] = {}

    def rows(self, wanted: Sequence[Probed]) -> List[HealthRow]:
        """Return the last results of these replicas. From now on only these are checked."""
        wanted = wanted[:_MOST]
        keys = {(one.attempt_id, one.ref) for one in wanted}
        for key in self._asked.keys() - keys:
            self._asked.pop(key).over.set()
        for one in wanted:
            key = (one.attempt_id, one.ref)
            if key not in self._asked:
                self._asked[key] = Probe(one)
                self._asked[key].start()
        return [self._asked[key].row for key in sorted(self._asked)]


class Probe:
    """Checks one replica."""

    def __init__(self, probed: Probed) -> None:
        self._probed = probed
        self._health = table(probed.spec.get("health"))
        self._warmup = table(probed.spec.get("warmup"))
        self._every = min(max(number(self._health.get("every")) or 5.0, 0.1), 3600.0)
        self.over = threading.Event()
        """Set when the checks must end."""
        self.row = HealthRow(probed.attempt_id, False, _up(), "it was not asked yet")

    def start(self) -> None:
        """Start the checks."""
        threading.Thread(target=self._run, daemon=True, name="probe").start()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self.over.wait(pause):
            begun = _up()
            said = self._ask()
            self._note(said, begun)
            pause = self._every if said is None else min(pause * 2, STARTING_PAUSE, self._every)

    def _ask(self) -> Optional[str]:
        said = self._once(self._health)
        if said is None and self._warmup:
            said = self._once(self._warmup)
            if said is None:
                self._warmup = {}
            else:
                said = "warm-up: " + said
        return said

    def _once(self, asked: Message) -> Optional[str]:
        try:
            return ask(self._probed.port, asked, self._probed.uid, self._probed.address)
        except Exception as error:  # the thread must continue, or the replica is never ready
            return "the check failed: %r" % (error,)

    def _note(self, said: Optional[str], begun: float) -> None:
        ok, before = said is None, self.row
        since = before.since if ok == before.ok else begun
        said = "" if said is None else said[:_MAX_SAID]
        row = HealthRow(self._probed.attempt_id, ok, since, said)
        if row != before:
            self.row = row


def ask(port: int, asked: Message, uid: Optional[int], address: str = LOOPBACK) -> Optional[str]:
    """Send one request. None: the answer is good; otherwise the problem as text."""
    timeout = min(max(number(asked.get("timeout")) or 2.0, 0.05), 3600.0)
    until = time.monotonic() + timeout
    if uid is not None and (other := other_listener(port, uid)) is not None:
        return foreign(port, other)
    try:
        with socket.create_connection((address, port), timeout) as connection:
            path = string(asked.get("path"))
            if path is None:
                return None
            return _exchange(connection, port, path, asked, until)
    except socket.timeout:
        return "no answer in %g s" % timeout
    except ConnectionRefusedError:
        return "nothing listens on port %d" % port
    except OSError as error:
        return error.strerror or str(error)


def _exchange(
    connection: socket.socket, port: int, path: str, asked: Message, until: float
) -> Optional[str]:
    _wait_until(connection, until)
    connection.sendall(_request(port, path, asked))
    data = b""
    while b"\n" not in data and len(data) < _MAX_HEAD:
        _wait_until(connection, until)
        piece = connection.recv(4096)
        if not piece:
            break
        data += piece
    found = _STATUS.match(data)
    if found is None:
        return (
            "its answer is not HTTP/1.1" if data else "it closed the connection without an answer"
        )
    status = int(found.group(1))
    if not _is_good(status, asked.get("status")):
        return "HTTP status %d" % status
    _read_rest(connection, data, until)
    return None


def _read_rest(connection: socket.socket, data: bytes, until: float) -> None:
    """Read the rest of the replica's answer, because a server may stop its work if the reader
    leaves. Its content does not matter, because the status was good."""
    size = len(data)
    try:
        while size < _MAX_ANSWER:
            _wait_until(connection, until)
            piece = connection.recv(65536)
            if not piece:
                return
            size += len(piece)
    except OSError:
        return


def _wait_until(connection: socket.socket, until: float) -> None:
    left = until - time.monotonic()
    if left <= 0:
        raise socket.timeout()
    connection.settimeout(left)


def _request(port: int, path: str, asked: Message) -> bytes:
    body = (string(asked.get("body")) or "").encode("utf-8", "replace")
    headers = {"Host": "%s:%d" % (LOOPBACK, port), "User-Agent": "hostler"}
    given = {n: v for n, v in table(asked.get("headers")).items() if isinstance(v, str)}
    headers = {n: v for n, v in headers.items() if n.lower() not in map(str.lower, given)}
    headers.update(given)
    headers["Connection"] = "close"
    method = string(asked.get("method")) or "GET"
    if body or method in ("POST", "PUT"):
        headers["Content-Length"] = str(len(body))
    lines = ["%s %s HTTP/1.1" % (method, path), *("%s: %s" % pair for pair in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _is_good(status: int, wanted: Json) -> bool:
    listed = items(wanted)
    return status in listed if listed else 200 <= status < 300


def other_listener(port: int, uid: int, root: str = "/proc") -> Optional[int]:
    """The user whose process gets connections to that port of 127.0.0.1, if this is not `uid`;
    None: no other user's process does, as far as this login can see. Listeners at other addresses
    do not count: other users may use the same port there."""
    found = list(_listeners(port, root))
    nearest = min((rank for rank, _ in found), default=None)
    users = {user for rank, user in found if rank == nearest}
    return None if uid in users else min(users, default=None)


def _listeners(port: int, root: str) -> Iterator[Tuple[int, int]]:
    """Yield the rank of each listener at the port (see `_NEAR`), and its user."""
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(root, "net", name), encoding="ascii") as file:
                lines = file.read().splitlines()[1:]
        except (OSError, ValueError):
            continue
        for line in lines:
            fields = line.split()
            if len(fields) < 8 or fields[3] != _LISTENING:
                continue
            address, _, hexadecimal = fields[1].rpartition(":")
            rank = _NEAR.get(address)
            if rank is not None and int(hexadecimal, 16) == port:
                yield rank, int(fields[7])


def _up() -> float:
    return round(time.clock_gettime(time.CLOCK_BOOTTIME), 1)
