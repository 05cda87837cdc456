"""Starts the daemon with its API in the foreground: the Unix socket's longest path, its group
and rights, keep-alive and queue, never a TCP port."""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from hostler.api.app import make_app
from hostler.api.peer import PeerProtocol
from hostler.base.errors import DaemonBusy, StateError
from hostler.base.version import SERVER
from hostler.daemon.config_file import ConfigFiles, state_path
from hostler.daemon.serve import end_within, log_to_stderr, serve
from hostler.daemon.service import Service
from hostler.daemon.socket_place import complaints, prepare_folder, socket_path

_log = logging.getLogger("hostler.api")
_LAST_S = 2.0
"""Seconds from the request to stop to the end of the process, even if something hangs."""
_LONGEST_PATH = 107
"""Bytes that Linux allows in the path of a Unix socket."""


def main(config_path: str | None = None, *, personal: bool = False, verbose: bool = False) -> None:
    """Serve until stopped. Raises HostlerError if it cannot start.

    The socket of a personal daemon is beside its state; that of a shared one is where its users can
    reach it.
    """
    log_to_stderr(verbose=verbose)
    files = ConfigFiles(config_path, personal=personal)
    config = files.load()
    state = state_path(config, personal=personal)
    path = socket_path(config, state, personal=personal)
    if not personal:
        prepare_folder(path, config.daemon)
    ending = partial(end_within, _LAST_S)
    api = partial(serve_api, is_personal=personal)
    serve(config, state, path, api, files=files, ending=ending)


async def serve_api(
    service: Service,
    path: Path,
    *,
    group: int | None,
    ready: Callable[[], None],
    is_personal: bool = True,
) -> None:
    """Answer on the Unix socket at `path` until cancelled.

    The file's mode is the one of the config; the kernel's credentials of each connection decide who
    is served. If the daemon is not personal, the log says why users cannot reach the socket.
    """
    server = make_server(make_app(service))
    mode = 0o600 if group is None else 0o660
    settings = service.context.config.daemon
    if settings.allow or settings.operators:
        mode = 0o666
    with bind(path, mode, group) as listening:
        for said in () if is_personal else complaints(path, settings):
            _log.warning("%s", said)
        ready()
        await server.serve(sockets=[listening])


class ApiServer(uvicorn.Server):
    """uvicorn without signal handlers: the daemon decides when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the daemon handles signals."""
        yield


def make_server(app: FastAPI) -> ApiServer:
    """A server for `app`; run it with the socket of `bind`."""
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
    """A listening Unix socket at `path` with exactly this mode; removed at the end.

    An existing socket is a leftover, unless it answers: a daemon with another state folder may use
    the same path. The new socket is bound under a private name and renamed into place, so that it
    is never more open than asked. Raises StateError if the path is too long or cannot be used,
    DaemonBusy if another daemon listens there.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH - 4:
        raise StateError(
            f"the socket's path is too long for a Unix socket: {path}",
            remedy="set HOSTLER_STATE to a folder with a shorter path, on a local disk",
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
        own = fresh.lstat()
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
        # Another daemon's lies there where this one's state folder was replaced.
        with contextlib.suppress(OSError):
            if os.path.samestat(own, path.lstat()):
                path.unlink()
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
            f"the socket in {path.parent} should belong to the group {name}, but this login is "
            "not in that group",
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
