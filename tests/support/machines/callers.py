"""Callers of a daemon's socket, also as other users."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import stat
from pathlib import Path
from typing import Any

from tests.support.daemons.served import Served
from tests.support.machines.users import run_as


def ask(
    path: Path, uid: int | None = None, call: str = "GET /v1/version", body: str = ""
) -> tuple[int, dict[str, object]]:
    """Status and body of a call; with a uid, made by a process of that user."""
    text = body.encode()
    said = f"{call} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\nConnection: close\r\n"
    request = f"{said}Content-Type: application/json\r\n\r\n".encode() + text
    exchange = functools.partial(_exchange, path, request)
    # A fork: the start of a program costs more than most calls.
    head, _, answer = (exchange() if uid is None else run_as(uid, exchange)).partition("\r\n\r\n")
    return int(head.split()[1]), json.loads(answer)


def _exchange(path: Path, request: bytes) -> str:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(request)
        return b"".join(iter(lambda: peer.recv(65536), b"")).decode()


def open_to_all(path: Path) -> None:
    """Let everybody reach the socket file, so that only the peer check stands in the way."""
    path.chmod(0o666)
    for folder in (path.parent, *path.parent.parents):
        if stat.S_IMODE(folder.stat().st_mode) & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)


def connected(daemon: Served) -> socket.socket:
    """A connection of ours."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(60)
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
