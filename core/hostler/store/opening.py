"""Opens a database file: refuses a newer one, migrates, and keeps the last three copies in
`backups/`. A copy is made before a migration and once a day; the daily one is made while the daemon
works, since a large copy takes long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from hostler.base.errors import SchemaTooNew, StateError
from hostler.store.connections import open_for_reading
from hostler.store.faults import corrupt_error, database_faults, disk_faults
from hostler.store.files import private_folder, sync_folder, write_durable
from hostler.store.schema import Schema

_KEPT_BACKUPS = 3
_CHECK_UP_TO = 256 * 1024 * 1024
_BUSY_S = 5.0
_BACKUP_AGE_S = 24 * 3600.0
_COPIED_PAGES = 4096
_TOLD_EVERY_S = 10.0
_log = logging.getLogger("hostler.store")


def read_identity(folder: Path, known: str | None = None) -> str:
    """The daemon id in `folder/id`; a missing file is written and synced."""
    path = folder / "id"
    with disk_faults(path):
        if path.exists():
            found = path.read_text(errors="replace").strip()
            if len(found) != 32 or set(found) - set("0123456789abcdef"):
                raise StateError(
                    f"{path} does not hold a daemon id",
                    remedy="put back the 32 hex digits; containers on the hosts carry them as "
                    "the label hostler.daemon",
                )
            return found
        made = known or uuid.uuid4().hex
        write_durable(path, made.encode() + b"\n")
        return made


def open_for_writing(
    path: Path, schema: Schema, *, synchronous: str, backups: bool
) -> sqlite3.Connection:
    """The writing connection of a database with the newest schema.

    Raises SchemaTooNew for a file from a newer Hostler, which is not changed, and CorruptError for
    a damaged file, which is kept. Before an existing database is migrated, it is copied to
    `backups/`.
    """
    with disk_faults(path):
        existed = path.exists() and path.stat().st_size > 0
        if existed:
            pending = _inspect(path, schema)
            if backups and pending:
                _log.info("%s is copied to backups, then upgraded", path.name)
                back_up(path)
        else:
            _create_private(path)
    with database_faults(path):
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S
        )
        try:
            _tune(connection, synchronous)
            schema.apply(Database(connection, recursive_triggers=False, execute_plugins=False))
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
    connection.row_factory = sqlite3.Row
    return connection


class CopyStopped(Exception):
    """A copy was stopped on request. Used only inside the store."""


def back_up(path: Path, is_stopped: Callable[[], bool] = lambda: False) -> Path:
    """Make a consistent, synced copy in `backups/` beside the database, and remove all but the last
    three copies. Returns the copy's path. Raises CopyStopped if it is stopped, and then leaves no
    file."""
    folder = private_folder(path.parent / "backups")
    seconds, fraction = divmod(time.time_ns(), 10**9)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
    target = folder / f"{path.stem}-{stamp}-{fraction:09d}.db"
    with disk_faults(target), database_faults(path):
        _remove_left(folder, path.stem)
        unfinished = target.with_suffix(".new")
        _create_private(unfinished)
        try:
            _copy(path, unfinished, is_stopped)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.replace(target)
        sync_folder(folder)
        others = sorted(found for found in folder.glob(f"{path.stem}-*.db") if found != target)
        for old in others[: max(0, len(others) - _KEPT_BACKUPS + 1)]:
            old.unlink()
    return target


def _remove_left(folder: Path, stem: str) -> None:
    """Remove incomplete copies of a killed daemon."""
    for left in folder.glob(f"{stem}-*.new"):
        if time.time() - left.stat().st_mtime > _BACKUP_AGE_S:
            left.unlink(missing_ok=True)


def _copy(path: Path, target: Path, is_stopped: Callable[[], bool]) -> None:
    told = time.monotonic()

    def go_on(_status: int, remaining: int, total: int) -> None:
        nonlocal told
        if is_stopped():
            raise CopyStopped
        if time.monotonic() - told > _TOLD_EVERY_S:
            told = time.monotonic()
            _log.info("%s: %d %% copied to backups", path.name, 100 - 100 * remaining // total)

    with (
        contextlib.closing(open_for_reading(path)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        # A transaction, so that a change meanwhile does not restart the copy.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(copy, pages=_COPIED_PAGES, progress=go_on)
        # The copy must be one file that is complete without a write-ahead log.
        copy.execute("PRAGMA journal_mode = DELETE")
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _inspect(path: Path, schema: Schema) -> bool:
    """Check an existing database without changing it. Returns whether migrations are pending."""
    log = path.with_name(path.name + "-wal")
    # Without a write-ahead log, not even the shared-memory file of a normal reader is needed.
    settled = not log.exists() or log.stat().st_size == 0
    with (
        database_faults(path),
        contextlib.closing(open_for_reading(path, immutable=settled)) as connection,
    ):
        db = Database(connection, recursive_triggers=False, execute_plugins=False)
        newer = schema.newer(db)
        if newer:
            raise SchemaTooNew(
                f"{path} was written by a newer Hostler (it has {newer[-1]}); nothing was changed",
                remedy="install that version again; backups of older ones are in "
                f"{path.parent / 'backups'}",
            )
        if path.stat().st_size <= _CHECK_UP_TO:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise corrupt_error(path, str(found).splitlines()[-1])
        return schema.is_pending(db)


def is_copy_due(path: Path) -> bool:
    """Whether the last copy in `backups/` is older than a day, or missing."""
    times = [copy.stat().st_mtime for copy in (path.parent / "backups").glob(f"{path.stem}-*.db")]
    return not times or time.time() - max(times) > _BACKUP_AGE_S


def _create_private(path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o600))
    path.chmod(0o600)
    sync_folder(path.parent)


def _tune(connection: sqlite3.Connection, synchronous: str) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.OperationalError(f"no write-ahead log here (journal mode is {mode})")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA journal_size_limit = 67108864")


class DailyCopy:
    """A copy that is being made in a thread."""

    def __init__(self, path: Path) -> None:
        self._stop = threading.Event()
        self._task = asyncio.create_task(self._make(path))

    async def stop(self) -> None:
        """Cancel the copy; the next start of the daemon makes it."""
        self._stop.set()
        await asyncio.wait([self._task])

    async def _make(self, path: Path) -> None:
        try:
            await asyncio.to_thread(back_up, path, self._stop.is_set)
        except CopyStopped:
            pass
        except StateError as error:
            _log.warning("the daily copy of the database was not made: %s", error)
