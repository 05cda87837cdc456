"""Records of files that stay on hosts, of kept runs, and of downloads."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from hostler.base.errors import ConflictError, NotFoundError
from hostler.model.calls import AuditEntry
from hostler.model.files import Artifact
from hostler.model.records import Keep, NewEvent, Remainder
from hostler.store.audit import audited
from hostler.store.connections import Readers, Writer
from hostler.store.rows import (
    ARTIFACT_COLUMNS,
    EVENT_COLUMNS,
    SqlValue,
    event_values,
    read_artifact,
    storable,
)

Connection = sqlite3.Connection
T = TypeVar("T")

_COLUMNS = (
    "attempt_id", "run_id", "stage", "host", "runtime", "ref", "path", "files", "size", "since",
    "until", "names", "why",
)  # fmt: skip
_MOST_NAMES = 20
_CHUNK = 500
_SELECT = (
    "SELECT r.*, k.by AS kept_by, k.until AS kept_until"
    " FROM remainders r LEFT JOIN keeps k ON k.run_id = r.run_id"
)


class KeptMethods:
    """The part of the store for kept files and their places."""

    _writer: Writer
    _readers: Readers

    async def _write(self, work: Callable[[Connection], T], asked: AuditEntry | None = None) -> T:
        """Do it in a transaction together with its audit entry."""
        return await self._writer.submit(work if asked is None else audited(work, asked))

    async def add_remainder(self, remainder: Remainder, event: NewEvent | None = None) -> None:
        """Store that files of an attempt stay on their host. Repeatable: earlier fetches and
        announcements remain valid, and the time until which the files stay never gets shorter."""
        await self._write(lambda db: _add(db, remainder, event))

    async def remainders(
        self, run_id: str | None = None, host: str | None = None
    ) -> list[Remainder]:
        """Files that stay on hosts: all, or those of a run or on a host; the oldest first."""
        return await self._readers.run(lambda db: read_remainders(db, run_id, host))

    async def remove_remainder(self, attempt_id: str, event: NewEvent | None = None) -> None:
        """Remove the record of files that are no longer on their host."""
        await self._write(lambda db: _remove(db, attempt_id, event))

    async def note_standing(
        self, stood: Mapping[str, float | None], events: Sequence[NewEvent] = ()
    ) -> None:
        """Store per attempt for how many seconds the alert about its files has been open, together
        with the events that open such alerts."""
        await self._write(lambda db: _note_standing(db, stood, events))

    async def extend_remainders(self, until: Mapping[str, float]) -> None:
        """Extend the time for which the files of attempts stay; it never gets shorter."""
        await self._write(lambda db: _extend(db, until))

    async def mark_remainder_fetched(self, attempt_id: str, at: float) -> None:
        """Store that a user has downloaded all files of this attempt that stay on the host."""
        await self._write(
            lambda db: db.execute(
                "UPDATE remainders SET fetched_at = ? WHERE attempt_id = ?", (at, attempt_id)
            )
        )

    async def mark_fetched(self, attempt_id: str, digest: str, at: float) -> None:
        """Store that a user has downloaded all of an artifact. Raises NotFoundError for an unknown
        attempt."""
        await self._write(lambda db: _mark_fetched(db, attempt_id, digest, at))

    async def fetched(self, run_id: str) -> Mapping[tuple[str, str], float]:
        """(attempt, digest) of each artifact of a run that a user has downloaded -> when."""
        return await self._readers.run(lambda db: _fetched(db, run_id))

    async def unfetched(self, digests: Collection[str]) -> list[Artifact]:
        """The artifacts with one of these digests that no user has downloaded."""
        return await self._readers.run(lambda db: _unfetched(db, digests))

    async def keep_most(self) -> Mapping[str, str]:
        """Host -> the owner of the largest share of the bytes that stay there."""
        return await self._readers.run(_keep_most)

    async def stores_most(self, digests: Collection[str]) -> str | None:
        """The owner of the largest share of the bytes of artifacts with these digests."""
        return await self._readers.run(lambda db: _stores_most(db, digests))

    async def announced(self) -> Mapping[str, float]:
        """Run whose outputs will be removed -> for how many seconds an alert has announced it."""
        return await self._readers.run(_announced)

    async def note_announced(
        self, stood: Mapping[str, float | None], event: NewEvent | None = None
    ) -> None:
        """Store these seconds per run, together with the event that opens the alert. None: no
        outputs of the run will be removed."""
        await self._write(lambda db: _note_announced(db, stood, event))

    async def keep_run(
        self, keep: Keep, event: NewEvent | None = None, asked: AuditEntry | None = None
    ) -> None:
        """Store that a user keeps a whole run; a later request replaces an earlier one."""
        await self._write(lambda db: _keep(db, keep, event), asked)

    async def unkeep_run(
        self, run_id: str, event: NewEvent | None = None, asked: AuditEntry | None = None
    ) -> bool:
        """No longer keep a run; returns False if it was not kept."""
        return await self._write(lambda db: _unkeep(db, run_id, event), asked)

    async def keeps(self) -> Mapping[str, Keep]:
        """Run -> the request to keep it."""
        return await self._readers.run(read_keeps)


def read_remainders(
    connection: Connection, run_id: str | None, host: str | None
) -> list[Remainder]:
    """Files that stay on hosts: of a run, on a host, or all; the oldest first."""
    wanted = [(c, v) for c, v in (("run_id", run_id), ("host", host)) if v is not None]
    where = " AND ".join(f"r.{column} = ?" for column, _ in wanted) or "1"
    rows = connection.execute(
        f"{_SELECT} WHERE {where} ORDER BY r.since, r.attempt_id", [v for _, v in wanted]
    )
    return [_read(row) for row in rows]


def read_keeps(connection: Connection) -> dict[str, Keep]:
    """Every request to keep a run, including expired ones."""
    rows = connection.execute("SELECT run_id, by, at, until FROM keeps")
    return {row["run_id"]: Keep(**dict(row)) for row in rows}


def let_go(connection: Connection, run_id: str, by: str | None, now: float) -> None:
    """Allow the removal of a run and, if a user requests it (`by`), of its files on hosts.

    Raises ConflictError if a user keeps the run, or if files stay on a host and no user requested
    the removal.
    """
    keep = connection.execute("SELECT * FROM keeps WHERE run_id = ?", (run_id,)).fetchone()
    if keep is not None and Keep(**dict(keep)).holds(now):
        raise ConflictError(
            f"run {run_id} is kept by {keep['by']}",
            remedy=f"Release it first: hostler keep {run_id} --forget",
        )
    if by is None and read_remainders(connection, run_id, None):
        raise ConflictError(f"files of run {run_id} stay on a host")
    connection.execute("UPDATE remainders SET given_up_by = ? WHERE run_id = ?", (by, run_id))


def _add(connection: Connection, remainder: Remainder, event: NewEvent | None) -> None:
    values = [_value(remainder, column) for column in _COLUMNS]
    changed = ", ".join(f"{c} = excluded.{c}" for c in ("ref", "path", "files", "size", "why"))
    connection.execute(
        f"INSERT INTO remainders ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(values))})"
        f" ON CONFLICT (attempt_id) DO UPDATE SET {changed}, names = excluded.names,"
        " until = max(until, excluded.until)",
        values,
    )
    _tell(connection, event)


def _remove(connection: Connection, attempt_id: str, event: NewEvent | None) -> None:
    gone = connection.execute("DELETE FROM remainders WHERE attempt_id = ?", (attempt_id,))
    if gone.rowcount:
        _tell(connection, event)


def _note_standing(
    connection: Connection, stood: Mapping[str, float | None], events: Sequence[NewEvent]
) -> None:
    connection.executemany(
        "UPDATE remainders SET stood = ? WHERE attempt_id = ?",
        [(seconds, attempt_id) for attempt_id, seconds in stood.items()],
    )
    for event in events:
        _tell(connection, event)


def _extend(connection: Connection, until: Mapping[str, float]) -> None:
    connection.executemany(
        "UPDATE remainders SET until = max(until, ?) WHERE attempt_id = ?",
        [(at, attempt_id) for attempt_id, at in until.items()],
    )


def _mark_fetched(connection: Connection, attempt_id: str, digest: str, at: float) -> None:
    known = connection.execute(
        "SELECT 1 FROM attempts WHERE attempt_id = ?", (attempt_id,)
    ).fetchone()
    if known is None:
        raise NotFoundError(f"attempt {attempt_id} is not known")
    connection.execute("INSERT OR REPLACE INTO fetches VALUES (?, ?, ?)", (attempt_id, digest, at))


def _fetched(connection: Connection, run_id: str) -> dict[tuple[str, str], float]:
    rows = connection.execute(
        "SELECT f.attempt_id, f.digest, f.at FROM attempts a"
        " JOIN fetches f ON f.attempt_id = a.attempt_id WHERE a.run_id = ?",
        (run_id,),
    )
    return {(row[0], row[1]): row[2] for row in rows}


def _unfetched(connection: Connection, digests: Collection[str]) -> list[Artifact]:
    wanted, columns = sorted(digests), ", ".join(f"a.{column}" for column in ARTIFACT_COLUMNS)
    found: list[Artifact] = []
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        rows = connection.execute(
            f"SELECT {columns} FROM artifacts a WHERE a.digest IN ({', '.join('?' * len(chunk))})"
            " AND NOT EXISTS (SELECT 1 FROM fetches f"
            " WHERE f.attempt_id = a.attempt_id AND f.digest = a.digest)",
            chunk,
        )
        found += [read_artifact(row) for row in rows]
    return found


def _keep_most(connection: Connection) -> dict[str, str]:
    rows = connection.execute(
        "SELECT m.host, r.owner FROM remainders m JOIN runs r ON r.run_id = m.run_id"
        " GROUP BY m.host, r.owner ORDER BY sum(m.size)"
    )
    return {row[0]: row[1] for row in rows}


def _stores_most(connection: Connection, digests: Collection[str]) -> str | None:
    row = connection.execute(
        "SELECT r.owner FROM json_each(?) f JOIN artifacts a ON a.digest = f.value"
        " JOIN runs r ON r.run_id = a.run_id GROUP BY r.owner ORDER BY sum(a.size) DESC LIMIT 1",
        (json.dumps(sorted(digests)),),
    ).fetchone()
    return row[0] if row is not None else None


def _announced(connection: Connection) -> dict[str, float]:
    return {row[0]: row[1] for row in connection.execute("SELECT run_id, stood FROM announced")}


def _note_announced(
    connection: Connection, stood: Mapping[str, float | None], event: NewEvent | None
) -> None:
    for run_id, seconds in stood.items():
        if seconds is None:
            connection.execute("DELETE FROM announced WHERE run_id = ?", (run_id,))
        else:
            connection.execute("INSERT OR REPLACE INTO announced VALUES (?, ?)", (run_id, seconds))
    _tell(connection, event)


def _keep(connection: Connection, keep: Keep, event: NewEvent | None) -> None:
    if connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (keep.run_id,)).fetchone() is None:
        raise NotFoundError(f"no run {keep.run_id}", remedy="list them: hostler runs")
    connection.execute(
        "INSERT OR REPLACE INTO keeps (run_id, by, at, until) VALUES (?, ?, ?, ?)",
        (keep.run_id, storable(keep.by), keep.at, keep.until),
    )
    # After the end of the keep, the removal of its files is announced again.
    connection.execute("UPDATE remainders SET stood = NULL WHERE run_id = ?", (keep.run_id,))
    connection.execute("DELETE FROM announced WHERE run_id = ?", (keep.run_id,))
    _tell(connection, event)


def _unkeep(connection: Connection, run_id: str, event: NewEvent | None) -> bool:
    gone = connection.execute("DELETE FROM keeps WHERE run_id = ?", (run_id,))
    if gone.rowcount:
        _tell(connection, event)
    return gone.rowcount > 0


def _tell(connection: Connection, event: NewEvent | None) -> None:
    if event is not None:
        marks = ", ".join("?" * len(EVENT_COLUMNS))
        connection.execute(
            f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) VALUES ({marks})",
            event_values(event),
        )


def _value(remainder: Remainder, column: str) -> SqlValue:
    value = getattr(remainder, column)
    if column == "names":
        return json.dumps([storable(name) for name in _first(value)])
    return storable(value) if isinstance(value, str) else value


def _first(names: Sequence[str]) -> Sequence[str]:
    return names[:_MOST_NAMES]


def _read(row: sqlite3.Row) -> Remainder:
    values = dict(zip(row.keys(), row, strict=True))
    return Remainder(**{**values, "names": tuple(json.loads(values["names"]))})
