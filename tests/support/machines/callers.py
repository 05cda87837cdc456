"""Callers of a daemon's socket, also as other users."""

from __future__ import annotations

import contextlib
import json
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.daemons.served import Served

ASK = """
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
body = sys.argv[3].encode()
rest = f" HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {len(body)}\\r\\nConnection: close\\r\\n"
rest += "Content-Type: application/json\\r\\n\\r\\n"
s.sendall((sys.argv[2] + rest).encode() + body)
print(b"".join(iter(lambda: s.recv(65536), b"")).decode())
"""


def ask(
    path: Path, uid: int | None = None, call: str = "GET /v1/version", body: str = ""
) -> tuple[int, dict[str, object]]:
    """Status and body of a call, made by a process of that uid."""
    # Another user may not enter the folder that this test's own interpreter lies in.
    python = sys.executable if uid is None else "/usr/bin/python3"
    done = subprocess.run(
        [python, "-I", "-c", ASK, str(path), call, body],
        capture_output=True,
        text=True,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
    )
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition("\n\n")
    return int(head.split()[1]), json.loads(body)


def open_to_all(path: Path) -> None:
    """Let everybody reach the socket file, so that only the peer check stands in the way."""
    path.chmod(0o666)
    for folder in (path.parent, *path.parent.parents):
        if stat.S_IMODE(folder.stat().st_mode) & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)


def connected(daemon: Served) -> socket.socket:
    """A connection of ours."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(20)
    peer.connect(str(daemon.socket_path))
    return peer


def send(daemon: Served, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """Status and JSON of a call of ours, of any size."""
    with connected(daemon) as peer:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        with contextlib.suppress(BrokenPipeError):  # it has answered before it had read all
            peer.sendall(head.encode() + body)
        said = b""
        with contextlib.suppress(ConnectionResetError):  # what it has not read it throws away
            while part := peer.recv(65536):
                said += part
    head_of_answer, _, text = said.partition(b"\r\n\r\n")
    return int(head_of_answer.split()[1]), json.loads(text) if text else None
