"""The daemon's process: state folder, lock, store, loop, API, signals, shutdown, and the format and
length of its log entries. Entries of its log cannot control the terminal that shows them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from hostler.base.errors import StateError
from hostler.base.text import clean, clean_line
from hostler.daemon.assemble import Daemon, assemble, real_outside
from hostler.daemon.config_file import ConfigFiles
from hostler.daemon.context import Context
from hostler.daemon.lock import StateLock
from hostler.daemon.service import Service
from hostler.daemon.socket_place import group_id
from hostler.model.config import Config
from hostler.model.timings import DEFAULT, Timings
from hostler.ports import Clock, MakeOutside
from hostler.store.files import private_folder, require_local_disk

_log = logging.getLogger("hostler.daemon")

_LONGEST = 4000
"""Most characters of a log message: parts of it come from hosts and callers."""
_LONGEST_TRACE = 40_000


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
    timings: Timings = DEFAULT,
) -> None:
    """Run the daemon until SIGTERM, SIGINT or a shutdown request. Work on hosts continues without
    it.

    `outside` and `clock` are those of a simulated lab, if there is one. `files` are watched for
    changes of the config. `ending` is called when the daemon begins to stop.

    Raises DaemonBusy if another daemon holds the folder, StateError if the folder cannot be used,
    or was deleted or replaced meanwhile.
    """
    require_local_disk(state)
    private_folder(state)
    with StateLock(state) as lock:
        assembling = assemble(config, state, outside, clock, files, timings)
        asyncio.run(_serve(config, socket_path, api, assembling, ending, lock))


async def _serve(
    config: Config,
    socket_path: Path,
    api: Api,
    assembling: Awaitable[Daemon],
    ending: Callable[[], None],
    lock: StateLock,
) -> None:
    daemon = await assembling
    try:
        await _run(daemon, socket_path, api, group_id(config.daemon.group), ending, lock)
    finally:
        await daemon.close()


async def _until_lost(context: Context, lock: StateLock) -> None:
    """Raises StateError once two checks in a row show that the state folder is not at its path:
    then this daemon's writes are lost, and another daemon may start in its place."""
    await lock.until_lost(context.timings.state_every)
    raise StateError(
        f"the state folder {context.store.folder} was deleted, moved or replaced while the daemon "
        f"ran; the daemon {context.daemon_id} ends, and work on the hosts continues",
        remedy="Put the folder back. If it is lost, write that id into the file `id` of a new one "
        "and run: hostler daemon recover",
    )


async def _run(
    daemon: Daemon,
    socket_path: Path,
    api: Api,
    group: int | None,
    ending: Callable[[], None],
    lock: StateLock,
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
    watching = asyncio.create_task(_until_lost(daemon.context, lock), name="state")
    tasks = (watching, serving, working, stopped)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if stopping.is_set() or watching.done():
        ending()
    daemon.context.hub.close()
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def end_within(seconds: float) -> None:
    """End this process after that time even if something hangs: a host that does not close its
    connection, a disk that does not answer. Nothing is lost: a daemon may be killed any time.
    """

    def end() -> None:
        time.sleep(seconds)
        _log.warning("a task hangs: the daemon ended without waiting for it")
        os._exit(0)

    threading.Thread(target=end, name="end", daemon=True).start()


class CleanFormatter(logging.Formatter):
    """One line per entry, so that no outside text can look like an entry; and its traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line."""
        record.message = clean_line(record.message, _LONGEST)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        """The traceback: its last line may contain text from outside."""
        said = super().formatException(ei)  # type: ignore[arg-type]
        cut = said if len(said) <= _LONGEST_TRACE else f"...{said[-_LONGEST_TRACE:]}"
        return clean(cut, keep_newlines=True)


def log_to_stderr(*, verbose: bool) -> None:
    """Log all messages of Hostler, and warnings of libraries; the personal daemon's stderr is its
    log file."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CleanFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hostler").setLevel(logging.DEBUG if verbose else logging.INFO)
    # What it says of requests that are none, any caller may have it say for ever.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
