"""Who is calling: the kernel's word for the process at the other end of the Unix socket."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import socket
import struct
from typing import Any

from fastapi import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from hostler.daemon.submit import Caller
from hostler.errors import ForbiddenError

_log = logging.getLogger("hostler.api")
_UCRED = struct.Struct("3i")


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with the peer's uid in `request.state.peer_uid`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read SO_PEERCRED once, when the connection is accepted."""
        peer = transport.get_extra_info("socket")
        self.app_state: dict[str, Any] = {**self.app_state, "peer_uid": _peer_uid(peer)}
        super().connection_made(transport)


def _peer_uid(peer: socket.socket) -> int:
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _pid, uid, _gid = _UCRED.unpack(raw)
    return int(uid)


def user_name(uid: int) -> str:
    """The Unix user of a uid; the number where it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def caller_of(request: Request) -> Caller:
    """The caller, if they may use this daemon: its owner, root, and those the config lists.

    Raises ForbiddenError, and logs it, for everybody else.
    """
    uid: int = request.state.peer_uid
    allowed: frozenset[str] = request.app.state.allowed
    name = user_name(uid)
    if uid not in (0, os.getuid()) and name not in allowed:
        _log.warning("refused %s (uid %d): %s %s", name, uid, request.method, request.url.path)
        raise ForbiddenError(
            f"user {name} may not use this daemon",
            remedy="its owner can list you: [daemon] allow in config.toml",
        )
    return Caller(uid=uid, user=name)
