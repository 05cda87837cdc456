"""SQLite connections: one writing thread with group commits (up to 512 changes), three reading
threads, and the wait for a locked database. Readers and the writer never wait for each other.

A change is durable when its `submit` returns. A single change is committed at once; changes that
arrive during a commit share the next one. Each has its own savepoint, so that a failed change does
not undo the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

from hostler.base.errors import StateError
from hostler.base.failpoints import failpoint
from hostler.store.faults import database_error, database_faults

T = TypeVar("T")

_BATCH = 512

_READERS = 3
_BUSY_S = 5.0


class _Change(Generic[T]):
    """A waiting change: its work, and the future that gets its result."""

    __slots__ = ("_future", "_give", "_work", "error", "loop")

    def __init__(
        self,
        work: Callable[[sqlite3.Connection], T],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[T],
    ) -> None:
        self._work = work
        self.loop = loop
        self._future = future
        self._give: Callable[[], None] | None = None
        self.error: BaseException | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work, and keep the result until the change is committed."""
        self._give = partial(self._future.set_result, self._work(connection))

    def settle(self) -> None:
        """Set the result of the future, unless its caller no longer waits. Called in the event
        loop."""
        if self._future.done():
            return
        if self.error is not None:
            self._future.set_exception(self.error)
        elif self._give is not None:
            self._give()


class _Waiting(Protocol):
    """A change with any type of result."""

    loop: asyncio.AbstractEventLoop
    error: BaseException | None

    def run(self, connection: sqlite3.Connection) -> None: ...
    def settle(self) -> None: ...


class Writer:
    """Owns the only writing connection of a database."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._closed = False
        self.commits = 0
        """Number of committed transactions; changes that arrive together share one."""
        self._thread = threading.Thread(target=self._run, name=f"write {path.name}", daemon=True)
        self._thread.start()

    async def submit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in a transaction; returns its result after the commit is synced.

        `work` runs in the writer's thread. It may run again if another change of the same commit
        failed, so it may only use the connection. If it raises an error, its changes are undone,
        and the error is raised here. Raises StateError if the database cannot be written.
        """
        if self._closed:
            raise StateError(f"{self._path} is closed", remedy="the daemon is stopping")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Change(work, loop, future))
        return await future

    def close(self) -> None:
        """Finish waiting changes, then close the connection. Blocks; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, more = [first], True
            while more and len(batch) < _BATCH:
                try:
                    following = self._queue.get_nowait()
                except Empty:
                    break
                if following is None:
                    self._queue.put(None)
                    more = False
                else:
                    batch.append(following)
            self._write(batch)
            _settle(batch)

    def _write(self, batch: list[_Waiting]) -> None:
        """Commit as many changes as possible; store the result or error of each change."""
        waiting = list(batch)
        while waiting:
            waiting = self._attempt(waiting)

    def _attempt(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Try one transaction. Returns the changes to try again, without the failed one."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            _fail(batch, database_error(error, self._path))
            return []
        for change in batch:
            # A single change needs no savepoint, which would copy every page that it changes.
            self._apply(change, alone=len(batch) == 1)
            if not self._connection.in_transaction:
                # SQLite rolled back the whole transaction (disk full, I/O error), with all other
                # changes.
                return [other for other in batch if other is not change]
        alive = [change for change in batch if change.error is None]
        try:
            failpoint("before_commit", sqlite3.OperationalError)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if len(alive) == 1:
                _fail(alive, database_error(error, self._path))
                return []
            for change in alive:
                self._write([change])
            return []
        failpoint("after_commit")
        self.commits += 1
        return []

    def _apply(self, change: _Waiting, *, alone: bool) -> None:
        connection = self._connection
        change.error = None
        try:
            if alone:
                change.run(connection)
                return
            connection.execute("SAVEPOINT change")
            change.run(connection)
            connection.execute("RELEASE change")
        except sqlite3.Error as error:
            change.error = database_error(error, self._path)
            self._undo_change(alone=alone)
        except Exception as error:  # raised to the caller of `submit`
            change.error = error
            self._undo_change(alone=alone)

    def _undo_change(self, *, alone: bool) -> None:
        if alone:
            self._roll_back()
        elif self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK TO change")
                self._connection.execute("RELEASE change")
            except sqlite3.Error:
                self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            # If this fails, the next BEGIN fails too, and its error reaches the callers.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def _fail(batch: list[_Waiting], error: StateError) -> None:
    for change in batch:
        change.error = error


def _settle(batch: list[_Waiting]) -> None:
    """Schedule one call per event loop for all its changes."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
    for change in batch:
        by_loop.setdefault(change.loop, []).append(change)
    for loop, changes in by_loop.items():
        # A closed loop raises RuntimeError; it has no waiting callers.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_here, changes)


def _settle_here(changes: list[_Waiting]) -> None:
    for change in changes:
        change.settle()


class Readers:
    """A small pool of read-only connections."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._all: list[sqlite3.Connection] = []
        with database_faults(path):
            for _ in range(_READERS):
                connection = open_for_reading(path)
                self._all.append(connection)
                self._free.put(connection)
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix=f"read {path.name}")
        self._closed = False

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The query's result; all its statements see the same state of the database.

        Raises StateError if the database cannot be read.
        """
        if self._closed:
            raise StateError(f"{self._path} is closed", remedy="the daemon is stopping")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, query)

    def close(self) -> None:
        """Wait for running queries, then close all connections. Blocks; may be called twice."""
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
    """A read-only connection. `immutable`: the file is read without locks, which is correct only
    without writers and without a write-ahead log."""
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


class LateParts:
    """For parts of a store that are imported only when they are needed."""

    _writer: Writer
    _readers: Readers

    @property
    def connections(self) -> tuple[Writer, Readers]:
        """Writer and readers of the state database."""
        return self._writer, self._readers

    async def has_services(self) -> bool:
        """Whether a service was ever deployed; only then releases are loaded."""
        found = "SELECT EXISTS (SELECT 1 FROM services)"
        return bool((await self._readers.run(lambda db: db.execute(found).fetchone()))[0])
