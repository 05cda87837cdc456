"""The generation of a database, and the hosts whose notes are not merged yet after a restore."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import StateError
from hostler.model.generations import FIRST
from hostler.model.records import NewEvent
from hostler.store import writes
from hostler.store.connections import Readers, Writer
from hostler.store.faults import disk_faults
from hostler.store.files import write_durable
from hostler.store.opening import read_identity

NUMBER_FILE = "generation"


@dataclass(frozen=True, slots=True)
class Life:
    """The generation data of one database."""

    number: int
    """The generation."""
    restored_at: float | None = None
    """When the database was restored from a backup; None: never."""
    superseded_by: int | None = None
    """A newer generation that a host has reported: this daemon must stop acting. None: there is
    none."""


class Generations:
    """The tables `identity`, `merged` and `restored_runs`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def life(self) -> Life:
        """The present generation."""
        return await self._readers.run(life)

    async def merged(self) -> Mapping[str, float]:
        """Host -> when its notes were merged into the database of this generation."""
        return await self._readers.run(_merged)

    async def restored_runs(self) -> frozenset[str]:
        """Runs from before the restore that were open in the backup or that host notes restored.
        Hosts whose notes are not merged yet may have attempts of them."""
        return await self._readers.run(_restored_runs)

    async def mark_merged(self, host: str, at: float, event: NewEvent) -> None:
        """Store that the database has all notes of a host."""
        await self._writer.submit(lambda db: _mark_merged(db, host, at, event))

    async def add_restored(self, run_ids: Iterable[str]) -> None:
        """Store runs that a host's notes restored."""
        wanted = [(run_id,) for run_id in run_ids]
        await self._writer.submit(lambda db: _add_restored(db, wanted))

    async def supersede(self, number: int, event: NewEvent) -> None:
        """Store that a newer generation is active."""
        await self._writer.submit(lambda db: _supersede(db, number, event))


def life(connection: sqlite3.Connection) -> Life:
    """The generation of a database."""
    row = connection.execute(
        "SELECT generation, restored_at, superseded_by FROM identity"
    ).fetchone()
    return Life(*row)


def begin_life(connection: sqlite3.Connection, at: float, known: int = 0) -> Life:
    """Make the database of a backup the next generation, in one transaction. Its number is higher
    than `known` and all numbers in the database; it comes from the clock, so that each restore of a
    backup has its own. No host is merged yet."""
    # If the clock is behind all these numbers, a random part still makes two restores differ.
    least = max(highest_number(connection), known) + 1 + secrets.randbelow(1000)
    number = max(least, new_number(at))
    with connection:
        connection.execute("BEGIN")
        connection.execute(
            "UPDATE identity SET generation = ?, restored_at = ?, superseded_by = NULL",
            (number, at),
        )
        connection.execute("DELETE FROM merged")
        connection.execute("DELETE FROM restored_runs")
        connection.execute(
            "INSERT INTO restored_runs SELECT run_id FROM runs WHERE outcome IS NULL"
        )
        # Users may have kept runs since the backup, so removals are announced again.
        connection.execute("UPDATE remainders SET stood = NULL")
        connection.execute("DELETE FROM announced")
    return life(connection)


def highest_number(connection: sqlite3.Connection) -> int:
    """The highest generation that a database contains."""
    found = life(connection)
    return max(found.number, found.superseded_by or 0)


def noted_number(folder: Path) -> int:
    """The highest generation that the database of this folder ever had; 0: only the first. Raises
    StateError."""
    path = folder / NUMBER_FILE
    with disk_faults(path):
        try:
            return int(path.read_text())
        except FileNotFoundError:
            return 0
        except ValueError:
            raise StateError(
                f"{path} contains no number",
                remedy="move it away; hosts that know a newer daemon then refuse this one",
            ) from None


def note_number(folder: Path, number: int) -> None:
    """Store the generation in a file beside the database, so that an older database that a person
    puts there is detected. Raises StateError."""
    if number > max(FIRST, noted_number(folder)):
        with disk_faults(folder / NUMBER_FILE):
            write_durable(folder / NUMBER_FILE, b"%d\n" % number)


def new_number(at: float | None = None) -> int:
    """A new generation number: milliseconds since the epoch."""
    return int((time.time() if at is None else at) * 1000)


def _merged(connection: sqlite3.Connection) -> Mapping[str, float]:
    return dict(map(tuple, connection.execute("SELECT host, at FROM merged")))


def _restored_runs(connection: sqlite3.Connection) -> frozenset[str]:
    return frozenset(row[0] for row in connection.execute("SELECT run_id FROM restored_runs"))


def _mark_merged(connection: sqlite3.Connection, host: str, at: float, event: NewEvent) -> None:
    connection.execute("INSERT OR REPLACE INTO merged (host, at) VALUES (?, ?)", (host, at))
    writes.add_events(connection, [event])


def _add_restored(connection: sqlite3.Connection, run_ids: list[tuple[str]]) -> None:
    connection.executemany("INSERT OR IGNORE INTO restored_runs (run_id) VALUES (?)", run_ids)


def _supersede(connection: sqlite3.Connection, number: int, event: NewEvent) -> None:
    changed = connection.execute(
        "UPDATE identity SET superseded_by = ? WHERE coalesce(superseded_by, 0) < ?",
        (number, number),
    )
    if changed.rowcount:
        writes.add_events(connection, [event])


def identity(folder: Path, connection: sqlite3.Connection) -> str:
    """The daemon's id from the file and from the database, which must be equal, since containers
    are labelled with it. A database that is made again for an existing id, or is older than the
    previous one, becomes a new generation, because hosts may know the earlier one."""
    stored = connection.execute("SELECT daemon_id FROM identity").fetchone()
    noted = noted_number(folder)
    if stored is None:
        number = max(new_number(), noted + 1) if (folder / "id").exists() else FIRST
        daemon_id = read_identity(folder)
        note_number(folder, number)
        connection.execute(
            "INSERT INTO identity (daemon_id, generation) VALUES (?, ?)", (daemon_id, number)
        )
        return daemon_id
    known = str(stored[0])
    daemon_id = read_identity(folder, known)
    if daemon_id != known:
        raise StateError(
            f"{folder}/id and {folder}/hostler.db belong to two different daemons",
            remedy=f"restore the right id: the database's is {known}",
        )
    number = life(connection).number
    if number < noted:
        number = begin_life(connection, time.time(), noted).number
    note_number(folder, number)
    return daemon_id
