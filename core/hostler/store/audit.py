"""The audit table: who requested which changes. Entries are only added."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from hostler.base.failpoints import failpoint
from hostler.model.calls import AuditEntry
from hostler.model.records import AuditFilter
from hostler.store.rows import storable

T = TypeVar("T")

_RUN = "json_extract(arguments, '$.run')"
"""Written exactly as in the index, so that SQLite uses the index."""
_REFUSED = "json_extract(arguments, '$.call')"
_OF = "json_extract(arguments, '$.of')"


def add_audit(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    """Add an entry."""
    failpoint("before_audit", sqlite3.OperationalError)
    connection.execute(
        "INSERT INTO audit (at, uid, user, call, arguments) VALUES (?, ?, ?, ?, ?)",
        (entry.at, entry.uid, storable(entry.user), entry.call, json.dumps(dict(entry.arguments))),
    )


def audited(
    work: Callable[[sqlite3.Connection], T], entry: AuditEntry
) -> Callable[[sqlite3.Connection], T]:
    """The same work, which also stores its audit entry in the same commit."""

    def both(connection: sqlite3.Connection) -> T:
        done = work(connection)
        add_audit(connection, entry)
        return done

    return both


def was_removed(connection: sqlite3.Connection, run_id: str) -> bool:
    """Whether a user removed this run."""
    found = connection.execute(
        f"SELECT 1 FROM audit WHERE {_RUN} = ? AND call = 'remove'", (run_id,)
    )
    return found.fetchone() is not None


def audit(connection: sqlite3.Connection, wanted: AuditFilter, limit: int) -> list[AuditEntry]:
    """Matching entries, newest first."""
    where, values = _conditions(wanted)
    # A clock can go back. So entries are sorted by time only if a time is given.
    order = "number DESC" if wanted.since is None else "at DESC, number DESC"
    rows = connection.execute(
        "SELECT at, uid, user, call, arguments FROM audit"
        f" WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?",
        (*values, limit),
    )
    return [AuditEntry(**{**dict(row), "arguments": json.loads(row["arguments"])}) for row in rows]


def _conditions(wanted: AuditFilter) -> tuple[list[str], list[object]]:
    where: list[str] = ["1"]
    values: list[object] = []

    def add(condition: str, *given: object) -> None:
        if None not in given:
            where.append(condition)
            values.extend(given)

    add("uid = ?", wanted.uid)
    add("user = ?", wanted.user)
    add("at >= ?", wanted.since)
    add(f"(call = ? OR {_REFUSED} = ?)", wanted.call, wanted.call)
    add(f"({_RUN} = ? OR {_OF} = ?)", wanted.run, wanted.run)
    return where, values
