"""Who may use the daemon no longer gets nothing more, also of an answer that goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.model.events import EventKind
from hostler.model.records import NewEvent
from tests.support.daemons.served import Served, served, set_api_timings
from tests.support.machines.callers import open_to_all
from tests.support.machines.desk import wait_until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
NOBODY = 65534
FOLLOW = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
s.sendall(b"GET /v1/events?follow=1 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
try:
    while part := s.recv(65536):
        print(part, flush=True)
except ConnectionResetError:
    pass
print("over", flush=True)
"""


def tell(daemon: Served, message: str) -> None:
    event = NewEvent(at=1.0, kind=EventKind.CONFIG_LOADED, message=message)
    telling = daemon.service.context.tell(event)
    asyncio.run_coroutine_threadsafe(telling, daemon.loop).result(30)


def test_a_member_who_leaves_is_told_nothing_more(open_path: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    with served(open_path / "s", allow=("nobody", "bin")) as daemon, seen.open("wb") as out:
        set_api_timings(daemon, user_known=0.0, first_answer=0.0)
        open_to_all(daemon.socket_path)
        following = subprocess.Popen(
            ["/usr/bin/python3", "-I", "-c", FOLLOW, str(daemon.socket_path)],
            stdout=out, user=NOBODY, group=NOBODY, extra_groups=[],
        )  # fmt: skip
        try:
            wait_until(lambda: b"200 OK" in seen.read_bytes(), "it follows")
            tell(daemon, "for members")
            wait_until(lambda: b"for members" in seen.read_bytes(), "a member is told")
            context = daemon.service.context
            people = replace(context.config.daemon, allow=("bin",))
            context.config = replace(context.config, daemon=people)
            tell(daemon, "not for those who left")
            assert following.wait(60) == 0
        finally:
            following.kill()
            following.wait()
    assert b"over" in seen.read_bytes()
    assert b"left" not in seen.read_bytes()
