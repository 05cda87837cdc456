"""SQL of alerts: reads their events, and stores acknowledgements; the rules of alerts are in
`insight.alerts`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hostler.model.events import FAILED, EventKind
from hostler.model.records import Acknowledged
from hostler.model.runs import Event
from hostler.store.reads import last_seq
from hostler.store.rows import EVENT_COLUMNS, read_event, storable

_EVENT = "seq, " + ", ".join(EVENT_COLUMNS)


def telling_events(
    connection: sqlite3.Connection, after: int, kinds: Sequence[str], limit: int
) -> tuple[list[Event], int]:
    """Events of these kinds, and failures of any kind, with a number above `after`, in order. Also
    returns the number up to which the list is complete."""
    marks = ", ".join("?" * len(kinds))
    rows = connection.execute(
        f"SELECT {_EVENT} FROM events WHERE seq > ?"
        f" AND (kind IN ({marks}) OR kind LIKE '%{FAILED}') ORDER BY seq LIMIT ?",
        (after, *kinds, limit),
    ).fetchall()
    found = [read_event(row) for row in rows]
    return found, found[-1].seq if len(found) == limit else max(after, last_seq(connection))


def gpu_faults(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """(host, UUID) -> the reported fault, for each GPU whose newest report is a fault."""
    rows = connection.execute(
        # Beside max(), SQLite takes the other columns from the row with the maximum.
        "SELECT max(seq), host, gpu, kind, message FROM events WHERE gpu IS NOT NULL"
        f" AND kind IN ('{EventKind.GPU_FAULT}', '{EventKind.GPU_HEALTHY}') GROUP BY host, gpu"
    ).fetchall()
    return {
        (row["host"], row["gpu"]): row["message"].removeprefix(f"{row['host']}: {row['gpu']}: ")
        for row in rows
        if row["kind"] == EventKind.GPU_FAULT
    }


def acknowledged(connection: sqlite3.Connection) -> dict[int, Acknowledged]:
    """Number of an alert -> who acknowledged it, and when."""
    rows = connection.execute("SELECT alert, by, at FROM acknowledged")
    return {row["alert"]: Acknowledged(**dict(row)) for row in rows}


def put(connection: sqlite3.Connection, seen: Acknowledged) -> None:
    """Store an acknowledgement."""
    connection.execute(
        "INSERT OR REPLACE INTO acknowledged (alert, by, at) VALUES (?, ?, ?)",
        (seen.alert, storable(seen.by), seen.at),
    )


def drop(connection: sqlite3.Connection, alert: int) -> None:
    """Remove the acknowledgement of an alert."""
    connection.execute("DELETE FROM acknowledged WHERE alert = ?", (alert,))
