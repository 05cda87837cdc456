"""`hostler serve`: the daemon with its API, in the foreground."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hostler.api.app import make_app
from hostler.api.server import bind, make_server
from hostler.daemon.config_file import ConfigFiles, state_path
from hostler.daemon.log_lines import log_to_stderr
from hostler.daemon.serve import end_within, serve
from hostler.daemon.service import Service
from hostler.daemon.socket_place import complaints, prepare_folder, socket_path

_log = logging.getLogger("hostler.api")
_LAST_S = 2.0
"""From being told to stop to the end of the process, whatever hangs."""


def main(config_path: str | None = None, *, personal: bool = False, verbose: bool = False) -> None:
    """Serve until told to stop. Raises HostlerError where it cannot start.

    A personal daemon listens beside its state, a shared one where its users can reach it.
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

    Its file is as open as the config asks for; who is served, the kernel's word on each connection
    decides. Where the daemon is not personal, the log says what keeps others from the socket.
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
