"""Read-only connections on a few threads. Readers never wait for the writer, nor it for them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from hostler.base.errors import StateError
from hostler.store.faults import database_faults

T = TypeVar("T")

_CONNECTIONS = 3
_BUSY_S = 5.0


class Readers:
    """A small pool of connections that cannot write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._all: list[sqlite3.Connection] = []
        with database_faults(path):
            for _ in range(_CONNECTIONS):
                connection = open_for_reading(path)
                self._all.append(connection)
                self._free.put(connection)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix=f"read {path.name}")
        self._closed = False

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The query's result; all its statements see one moment of the database.

        Raises StateError when the database cannot be read.
        """
        if self._closed:
            raise StateError(f"{self._path} is closed", remedy="the daemon is stopping")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, query)

    def close(self) -> None:
        """Wait for running queries, then close all. Blocks; may be called twice."""
        self._closed = True
        self._threads.shutdown(wait=True)
        for connection in self._all:
            connection.close()

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._free.get()
        try:
            with database_faults(self._path):
                connection.execute("BEGIN")
                try:
                    return query(connection)
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        finally:
            self._free.put(connection)


def open_for_reading(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection that can only read. `immutable`: the file is looked at without any lock, which
    is right only where nobody writes and no write-ahead log is left."""
    options = "mode=ro&immutable=1" if immutable else "mode=ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_BUSY_S,
    )
    connection.row_factory = sqlite3.Row
    return connection
