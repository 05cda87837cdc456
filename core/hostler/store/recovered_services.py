"""Writes services from host notes into a database that does not have them, or has older data."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hostler.base.errors import ConflictError
from hostler.model.records import NewEvent
from hostler.model.releases import Release, ServiceNote, Step
from hostler.store import writes
from hostler.store.connections import Writer
from hostler.store.releases import IS_OPEN, SELECT_RELEASE, put_release, put_step, steps_of
from hostler.store.rows import storable

Connection = sqlite3.Connection


async def take_service(writer: Writer, note: ServiceNote, event: NewEvent | None = None) -> None:
    """Store a service from the notes of hosts if the database does not have it, or has an older
    state of it. Releases of unknown runs are left out. Raises ConflictError."""
    await writer.submit(lambda db: _take(db, note, event))


def _take(connection: Connection, note: ServiceNote, event: NewEvent | None) -> None:
    told = note.deployment
    releases = [r for r in note.releases if _has_run(connection, r)]
    if not releases:
        raise ConflictError(f"of no release of {told.name} the run is known")
    live = told.live if any(r.number == told.live for r in releases) else None
    # Releases that the note does not name have ended; otherwise they would stay open or live beside
    # those in the note.
    connection.execute(
        "UPDATE releases SET state = 'retired'"
        f" WHERE service = ? AND (state = 'live' OR {IS_OPEN})",
        (told.name,),
    )
    connection.execute(
        "INSERT INTO services (name, uid, owner, replicas, live, revision)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " replicas = excluded.replicas, live = excluded.live, revision = excluded.revision",
        (told.name, told.uid, storable(told.owner), told.replicas, live, told.revision),
    )
    for release in releases:
        _check_run_free(connection, release)
        put_release(connection, release)
        _add_missing(connection, [s for s in note.steps if s.number == release.number])
    writes.add_events(connection, [event] if event is not None else [])


def _has_run(connection: Connection, release: Release) -> bool:
    found = connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (release.run_id,))
    return found.fetchone() is not None


def _check_run_free(connection: Connection, release: Release) -> None:
    row = connection.execute(f"{SELECT_RELEASE} WHERE run_id = ?", (release.run_id,)).fetchone()
    if row is not None and (row["service"], row["number"]) != (release.service, release.number):
        raise ConflictError(
            f"run {release.run_id} is release {row['number']} of {row['service']} already",
            remedy=f"deploy {release.service} again",
        )


def _add_missing(connection: Connection, steps: Sequence[Step]) -> None:
    """Add the steps that the database does not have. They get new numbers, because another service
    may use the old ones here."""
    if steps:
        known = len(steps_of(connection, steps[0].service, steps[0].number))
        for step in steps[known:]:
            put_step(connection, step)
