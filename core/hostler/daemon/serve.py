"""The daemon's process: state folder, lock, store, loop, API, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from hostler.daemon.assemble import Daemon, assemble, real_outside
from hostler.daemon.config_file import ConfigFiles
from hostler.daemon.lock import StateLock
from hostler.daemon.service import Service
from hostler.daemon.socket_place import group_id
from hostler.model.config import Config
from hostler.ports import Clock, MakeOutside
from hostler.store.files import private_folder, require_local_disk

_log = logging.getLogger("hostler.daemon")


class Api(Protocol):
    """Serves a service on a Unix socket until cancelled (`hostler.api` is a layer above)."""

    async def __call__(
        self, service: Service, path: Path, *, group: int | None, ready: Callable[[], None]
    ) -> None: ...


def serve(
    config: Config,
    state: Path,
    socket_path: Path,
    api: Api,
    outside: MakeOutside = real_outside,
    clock: Clock | None = None,
    files: ConfigFiles | None = None,
    ending: Callable[[], None] = lambda: None,
) -> None:
    """Run the daemon until SIGTERM, SIGINT or a shutdown request. Work goes on without it.

    `outside` and `clock` are a simulated lab's, where one is served. `files` are followed for
    changes of the config. `ending` is called when it begins to end.

    Raises DaemonBusy where another daemon holds the folder, StateError where it cannot be used.
    """
    require_local_disk(state)
    private_folder(state)
    with StateLock(state):
        asyncio.run(
            _serve(config, socket_path, api, assemble(config, state, outside, clock, files), ending)
        )


async def _serve(
    config: Config,
    socket_path: Path,
    api: Api,
    assembling: Awaitable[Daemon],
    ending: Callable[[], None],
) -> None:
    daemon = await assembling
    try:
        await _run(daemon, socket_path, api, group_id(config.daemon.group), ending)
    finally:
        await daemon.close()


async def _run(
    daemon: Daemon, socket_path: Path, api: Api, group: int | None, ending: Callable[[], None]
) -> None:
    stopping = daemon.service.stopping
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ready = lambda: _log.info("listening on %s", socket_path)  # noqa: E731
    serving = asyncio.create_task(
        api(daemon.service, socket_path, group=group, ready=ready), name="api"
    )
    working = asyncio.create_task(daemon.run(), name="daemon")
    stopped = asyncio.create_task(stopping.wait(), name="stopping")
    await asyncio.wait((serving, working, stopped), return_when=asyncio.FIRST_COMPLETED)
    if stopping.is_set():
        ending()
    daemon.context.hub.close()
    for task in (serving, working, stopped):
        task.cancel()
    results = await asyncio.gather(serving, working, stopped, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def end_within(seconds: float) -> None:
    """End this process after that time even where something hangs: a host that does not let go of
    its connection, a disk that does not answer. Nothing is lost: a daemon may be killed any time.
    """

    def end() -> None:
        time.sleep(seconds)
        _log.warning("a task hangs: the daemon ended without waiting for it")
        os._exit(0)

    threading.Thread(target=end, name="end", daemon=True).start()
