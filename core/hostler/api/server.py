"""Serving the API on a Unix socket: never a TCP port, never more open than asked."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from hostler.api.peer import PeerProtocol
from hostler.base.errors import DaemonBusy, StateError
from hostler.base.version import SERVER

_LONGEST_PATH = 107
"""Bytes that Linux allows in the path of a Unix socket."""


class ApiServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: the daemon decides when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the daemon's."""
        yield


def make_server(app: FastAPI) -> ApiServer:
    """A server for `app`, to be run with the socket of `bind`."""
    config = uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
        server_header=False,
        headers=[("Server", SERVER)],
        date_header=False,
    )
    return ApiServer(config)


@contextlib.contextmanager
def bind(path: Path, mode: int, group: int | None = None) -> Iterator[socket.socket]:
    """A listening Unix socket at `path` with exactly these rights; removed at the end.

    A socket that is there already is a leftover, unless it answers: a daemon with another state
    folder may have the same place. It is bound under a private name and renamed into place, so
    that it never is more open than asked. Raises StateError where the path is too long or cannot be
    used, DaemonBusy where another daemon listens there.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH - 4:
        raise StateError(
            f"the socket's path is too long for a Unix socket: {path}",
            remedy="set HOSTLER_STATE to a shorter folder on a local disk",
        )
    if _answers(path):
        raise DaemonBusy(
            f"another daemon listens on {path}",
            remedy="stop it first, or give this one another `socket` under [daemon]",
        )
    fresh = path.with_name(path.name + ".new")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        fresh.unlink(missing_ok=True)
        _listen(server, fresh, mode, group)
        fresh.rename(path)
    except (OSError, StateError) as error:
        server.close()
        with contextlib.suppress(OSError):
            fresh.unlink()
        if isinstance(error, StateError):
            raise
        raise StateError(f"cannot listen on {path}: {error.strerror}") from error
    try:
        yield server
    finally:
        path.unlink(missing_ok=True)
        server.close()


def _listen(server: socket.socket, path: Path, mode: int, group: int | None) -> None:
    before = os.umask(0o177)
    try:
        server.bind(str(path))
    finally:
        os.umask(before)
    if group is not None:
        _give_to(path, group)
    path.chmod(mode)
    server.listen(256)


def _give_to(path: Path, group: int) -> None:
    try:
        os.chown(path, -1, group)
    except PermissionError as error:
        name = grp.getgrgid(group).gr_name
        raise StateError(
            f"the socket in {path.parent} is to be for the group {name}, of which this login "
            "is not a member",
            remedy=f"As root: chgrp {name} {path.parent}; chmod g+s {path.parent}",
        ) from error


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(str(path))
        except BlockingIOError:
            return True  # its backlog is full
        except OSError:
            return False
        return True
