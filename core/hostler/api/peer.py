"""Who is calling: the kernel's word for the process at the other end of the Unix socket."""

from __future__ import annotations

import asyncio
import functools
import grp
import logging
import os
import pwd
import socket
import struct
import time
from typing import Annotated, Any

from fastapi import Depends, Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from hostler.daemon.submit import Caller
from hostler.errors import ForbiddenError
from hostler.model.config import DaemonConfig

_log = logging.getLogger("hostler.api")
_UCRED = struct.Struct("3i")
_GROUPS_FOR_S = 60


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


@functools.lru_cache(maxsize=512)
def in_group(uid: int, group: str, _period: int) -> bool:
    """Whether the user is in the group, by this machine's user database. Asking it may mean asking
    a directory server: an answer counts until the period is over."""
    try:
        user = pwd.getpwuid(uid)
        wanted = grp.getgrnam(group).gr_gid
    except KeyError:
        return False
    return wanted in os.getgrouplist(user.pw_name, user.pw_gid)


def caller_of(request: Request) -> Caller:
    """The caller, if they may use this daemon: its owner, root, and whom the config names, singly
    or by a group.

    Raises ForbiddenError, and logs it, for everybody else.
    """
    uid: int = request.state.peer_uid
    settings: DaemonConfig = request.app.state.service.context.config.daemon
    name = user_name(uid)
    if (
        uid not in (0, os.getuid())
        and name not in settings.allow
        and not (settings.group and in_group(uid, settings.group, int(time.time() / _GROUPS_FOR_S)))
    ):
        _log.warning("refused %s (uid %d): %s %s", name, uid, request.method, request.url.path)
        raise ForbiddenError(
            f"user {name} may not use this daemon",
            remedy="its owner can let you in: [daemon] allow or group in config.toml",
        )
    return Caller(uid=uid, user=name)


def only_owner(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    """The caller, if the daemon is theirs; root's too. Raises ForbiddenError."""
    if caller.uid not in (0, os.getuid()):
        raise ForbiddenError(
            "only the daemon's owner may do that", remedy=f"Ask {user_name(os.getuid())}"
        )
    return caller
