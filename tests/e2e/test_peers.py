"""Callers of the socket that do what no good one does: the others notice nothing."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.machines.desk import Desk, wait_until

CROWD = 300
GROWTH = 100
"""MiB that the daemon may grow by for all of them together."""
PATIENCE_S = 10.0


def memory_mib(pid: int) -> float:
    """What a process holds now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


@contextlib.contextmanager
def callers(desk: Desk, count: int, said: bytes) -> Iterator[list[socket.socket]]:
    """Connections that have said something, and read nothing."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(str(desk.state / "hostler.sock"))  # waits while the daemon's queue is full
            peer.settimeout(PATIENCE_S)
            peer.sendall(said)
            made.append(peer)
        yield made


def others_are_served(desk: Desk) -> None:
    """By the command line, as people do."""
    begun = time.monotonic()
    assert "runs" in desk.ok("runs", "--json").json
    assert time.monotonic() - begun < PATIENCE_S


def sent_until_refused(peer: socket.socket, most: int) -> int:
    """Send nothing sensible until the other side has had enough; how much it took."""
    sent = 0
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
        while sent < most:
            sent += peer.send(b"x" * 65_536)
            if select.select([peer], [], [], 0)[0]:
                break
    return sent


def test_bad_callers_cost_others_nothing(alone: Desk) -> None:
    alone.run('name = "big"\n[stages.a]\nshell = true\ncommand = "seq 3000000"\n')
    run_id = alone.ok("runs", "--json").json["runs"][0]["run_id"]
    pid = alone.daemon_pid()
    before = memory_mib(pid)
    get = b" HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        callers(alone, CROWD, b""),
        callers(alone, 20, b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nA: "),
        callers(alone, 20, f"GET /v1/runs/{run_id}/logs/a".encode() + get),
        callers(alone, 20, b"GET /v1/events?follow=1" + get),
        callers(alone, 20, (b"GET /v1/gpus" + get) * 500),
    ):
        others_are_served(alone)
        assert memory_mib(pid) - before < GROWTH
    others_are_served(alone)


def test_a_flood_is_refused_early_and_fills_no_memory(alone: Desk) -> None:
    alone.cold = True  # memory of its own
    alone.ok("daemon", "start")
    alone.cold = False
    pid = alone.daemon_pid()
    before = memory_mib(pid)
    body = b"Host: x\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n"
    for begin, most in (
        (b"", 4),  # no request at all
        (b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nA: ", 4),  # a header without end
        (b"POST /v1/runs HTTP/1.1\r\n" + body, 32),
    ):
        with callers(alone, 1, begin) as (peer,):
            took = sent_until_refused(peer, 1_000_000_000)
            assert took < most * 1024**2, (begin, took)
        others_are_served(alone)
    assert memory_mib(pid) - before < GROWTH


def test_connections_that_went_away_leave_nothing_open(alone: Desk) -> None:
    alone.start_daemon()
    folder = Path(f"/proc/{alone.daemon_pid()}/fd")
    before = len(list(folder.iterdir()))
    for said in (b"", b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100):
        with callers(alone, 100, said):
            others_are_served(alone)
    wait_until(lambda: len(list(folder.iterdir())) <= before + 5, "all descriptors are closed")
