"""Write statements of the state database, inside a transaction.

Each may be repeated: if the same row already exists, the call succeeds.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import fields, replace

from hostler.base.errors import ConflictError, NotFoundError
from hostler.model.calls import AuditEntry
from hostler.model.files import Artifact
from hostler.model.hosts import HostFacts
from hostler.model.records import Drain, NewEvent, SubmissionKey
from hostler.model.runs import Attempt, AttemptChange, Event, Outcome, Phase, Run, RunChange
from hostler.model.service_wishes import ServiceWish, WishChange
from hostler.store import search_tables
from hostler.store.audit import add_audit
from hostler.store.inherited import hand_over
from hostler.store.kept import let_go
from hostler.store.reads import find_submission, pipeline_text_of
from hostler.store.rows import (
    ARTIFACT_COLUMNS,
    ATTEMPT_COLUMNS,
    ATTEMPT_FIXED,
    EVENT_COLUMNS,
    artifact_values,
    attempt_values,
    change_values,
    dump,
    event_values,
    pack,
    read_wishes,
    run_texts,
    run_values,
    storable,
)

Connection = sqlite3.Connection


def _insert(table: str, columns: Sequence[str], verb: str = "INSERT") -> str:
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    return f"{verb} INTO {table} ({names}) VALUES ({marks})"


_INSERT_EVENT = _insert("events", EVENT_COLUMNS)
_INSERT_ATTEMPT = _insert("attempts", ATTEMPT_COLUMNS)
_INSERT_ARTIFACT = _insert("artifacts", ARTIFACT_COLUMNS, "INSERT OR REPLACE")
_SAME_RUN = ("uid", "submitted_at", "pipeline")
_SELECT_ATTEMPT = f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM attempts WHERE attempt_id = ?"
_SELECT_CHANGING = (
    "SELECT run_id, phase, started_at, metrics, outputs, usage, placed FROM attempts"
    " WHERE attempt_id = ?"
)


def add_events(connection: Connection, events: Sequence[NewEvent]) -> tuple[Event, ...]:
    """Add events; returns them with their numbers."""
    return tuple(_add_event(connection, event) for event in events)


def _add_event(connection: Connection, event: NewEvent) -> Event:
    seq = connection.execute(_INSERT_EVENT, event_values(event)).lastrowid
    assert seq is not None  # SQLite numbers every row
    values = {each.name: getattr(event, each.name) for each in fields(event)}
    return Event(**values | {"seq": seq})


class SubmittedBefore(Exception):
    """A run already exists for this submission key. Used only between store and daemon."""


def create_run(
    connection: Connection,
    run: Run,
    pipeline_text: str,
    events: Sequence[NewEvent],
    key: SubmissionKey | None = None,
    asked: AuditEntry | None = None,
) -> tuple[Event, ...]:
    """Add a new run with its stages, and the audit entry of the call. If the same run already
    exists, nothing is written.

    Raises ConflictError if another run has this id, SubmittedBefore if a run has this key.
    """
    if key is not None and find_submission(connection, key.uid, key.key) is not None:
        raise SubmittedBefore
    values, texts = run_values(run), run_texts(run, pipeline_text)
    there = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run.run_id,)).fetchone()
    if there is not None:
        is_same = pipeline_text_of(connection, run.run_id) == texts.pipeline
        if not is_same or any(there[key] != values[key] for key in _SAME_RUN):
            raise ConflictError(
                f"run id {run.run_id} is used by another run", remedy="submit it again"
            )
        return ()
    number = connection.execute(_insert("runs", tuple(values)), tuple(values.values())).lastrowid
    assert number is not None  # SQLite numbers every row
    connection.execute("INSERT INTO run_texts (run, packed) VALUES (?, ?)", (number, pack(texts)))
    search_tables.add_run(connection, number, run)
    if key is not None:
        values_of_key = (key.uid, key.key, key.digest, run.run_id)
        connection.execute("INSERT INTO submissions VALUES (?, ?, ?, ?)", values_of_key)
    if asked is not None:
        add_audit(connection, asked)
    return add_events(connection, events)


def add_attempt(
    connection: Connection, attempt: Attempt, event: NewEvent | None, facts: HostFacts | None
) -> Event | None:
    """Store the intent to start an attempt, which holds its GPUs until its work ends.

    Raises ConflictError if another open attempt holds one of the GPUs, if another attempt has this
    id or number, or if the stage has an open attempt (an ended attempt may be added if the open one
    is later); NotFoundError if the run does not exist.
    """
    there = _stored(connection, attempt.attempt_id)
    if there is not None:
        _check_fixed(there, attempt)
        return None
    _check_run_open(connection, attempt)
    if attempt.phase.is_at_work:
        _check_gpus_free(connection, attempt)
    values = tuple(attempt_values(attempt).values())
    placed = connection.execute(_INSERT_ATTEMPT, values).lastrowid
    assert placed is not None  # SQLite numbers every row
    search_tables.add_attempt(connection, placed, attempt)
    if attempt.phase.is_at_work:
        connection.executemany(
            "INSERT INTO holds (host, gpu, attempt_id) VALUES (?, ?, ?)",
            [(attempt.host, gpu, attempt.attempt_id) for gpu in attempt.gpus],
        )
    if facts is not None:
        connection.execute(
            "UPDATE attempts SET facts = ? WHERE attempt_id = ?",
            (_put_facts(connection, facts), attempt.attempt_id),
        )
    return _add_event(connection, event) if event is not None else None


def change_attempt(
    connection: Connection, attempt_id: str, changes: AttemptChange, event: NewEvent | None
) -> Event | None:
    """Store these fields of an attempt, with the event; other fields stay unchanged. A change that
    ends the attempt's work releases its GPUs.

    Raises NotFoundError if the attempt is not stored, ConflictError if it has already ended in
    another way.
    """
    there = connection.execute(_SELECT_CHANGING, (attempt_id,)).fetchone()
    if there is None:
        raise NotFoundError(f"attempt {attempt_id} is not known")
    before = Phase(there["phase"])
    phase = changes.get("phase", before)
    _check_transition(attempt_id, before, phase)
    values = change_values(changes)
    if values:
        columns = ", ".join(f"{column} = ?" for column in values)
        connection.execute(
            f"UPDATE attempts SET {columns} WHERE attempt_id = ?", (*values.values(), attempt_id)
        )
    search_tables.change_attempt(connection, there, values, changes)
    if not phase.is_at_work:
        connection.execute("DELETE FROM holds WHERE attempt_id = ?", (attempt_id,))
    return _add_event(connection, event) if event is not None else None


def _check_transition(attempt_id: str, before: Phase, now: Phase) -> None:
    goes_back = now.is_at_work and not before.is_at_work
    if goes_back or (before.is_final and now is not before):
        raise ConflictError(
            f"attempt {attempt_id} already {before.value}: it cannot become {now.value}"
        )


def end_run(
    connection: Connection, run_id: str, outcome: Outcome, at: float, event: NewEvent | None
) -> Event | None:
    """Store the final outcome of a run.

    Raises ConflictError if the run has another outcome already, or an open attempt.
    """
    row = _run(connection, run_id)
    if row["outcome"] is not None:
        if row["outcome"] != outcome.value:
            raise ConflictError(f"run {run_id} already {row['outcome']}")
        return None
    still = connection.execute(
        "SELECT attempt_id FROM attempts WHERE run_id = ?"
        " AND phase IN ('starting', 'running', 'collecting')",
        (run_id,),
    ).fetchone()
    if still is not None:
        raise ConflictError(f"run {run_id} cannot end: {still['attempt_id']} is still open")
    connection.execute(
        "UPDATE runs SET outcome = ?, finished_at = ? WHERE run_id = ?",
        (outcome.value, at, run_id),
    )
    return _add_event(connection, event) if event is not None else None


def request_cancel(
    connection: Connection, run_id: str, by: str, event: NewEvent | None
) -> RunChange:
    """Store the cancellation; if two users cancel, the first one is stored. Returns the stored
    value. Raises ConflictError if the run has ended."""
    row = _run(connection, run_id)
    if row["outcome"] is not None:
        raise ConflictError(f"run {run_id} already {row['outcome']}: nothing to cancel")
    if row["cancelled_by"] is not None:
        return {"cancelled_by": row["cancelled_by"]}
    connection.execute("UPDATE runs SET cancelled_by = ? WHERE run_id = ?", (by, run_id))
    add_events(connection, [event] if event is not None else [])
    return {"cancelled_by": by}


def wish_service(
    connection: Connection, run_id: str, base: str, changes: WishChange, event: NewEvent | None
) -> RunChange:
    """Store the requests for a service of a run; returns those for all its services. Raises
    NotFoundError, ConflictError if the run has ended."""
    row = _run(connection, run_id)
    if row["outcome"] is not None:
        raise ConflictError(f"run {run_id} has ended: its services cannot be changed")
    services = read_wishes(row["services"])
    services[base] = replace(services.get(base, ServiceWish()), **changes)
    connection.execute("UPDATE runs SET services = ? WHERE run_id = ?", (dump(services), run_id))
    add_events(connection, [event] if event is not None else [])
    return {"services": services}


def lower_priority(
    connection: Connection, run_id: str, priority: int, event: NewEvent | None
) -> RunChange:
    """Lower a run's priority; a lower stored one stays. Returns the stored one. Raises
    NotFoundError, ConflictError if the run has ended."""
    row = _run(connection, run_id)
    if row["outcome"] is not None:
        raise ConflictError(f"run {run_id} already {row['outcome']}: it cannot be changed")
    if row["priority"] <= priority:
        return {"priority": row["priority"]}
    connection.execute("UPDATE runs SET priority = ? WHERE run_id = ?", (priority, run_id))
    add_events(connection, [event] if event is not None else [])
    return {"priority": priority}


def delete_run(
    connection: Connection, run_id: str, event: NewEvent | None = None, now: float = -math.inf
) -> list[str]:
    """Remove a finished run, its attempts and events; returns the ids of its attempts.

    Raises ConflictError if it is open, if a user keeps it, or if files of it stay on a host and no
    user (the event's actor) requested the removal.
    """
    row = _run(connection, run_id)
    if row["outcome"] is None:
        raise ConflictError(
            f"run {run_id} has not ended", remedy=f"cancel it first: hostler cancel {run_id}"
        )
    let_go(
        connection,
        run_id,
        event.actor if event is not None else None,
        event.at if event is not None else now,
    )
    attempts = [
        found["attempt_id"]
        for found in connection.execute(
            "SELECT attempt_id FROM attempts WHERE run_id = ?", (run_id,)
        )
    ]
    connection.execute("DELETE FROM events WHERE run_id = ?", (run_id,))
    hand_over(connection, run_id)
    search_tables.remove_outputs(connection, run_id)
    connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
    if event is not None:
        _add_event(connection, event)
    return attempts


def put_artifact(connection: Connection, artifact: Artifact) -> None:
    """Store an artifact; it replaces an earlier one of the same attempt and name."""
    if _stored(connection, artifact.attempt_id) is None:
        raise NotFoundError(f"attempt {artifact.attempt_id} is not known")
    there = connection.execute(
        "SELECT digest, index_digest FROM artifacts WHERE attempt_id = ? AND kind = ? AND name = ?",
        (artifact.attempt_id, artifact.kind, artifact.name),
    ).fetchone()
    connection.execute(_INSERT_ARTIFACT, artifact_values(artifact))
    before = {digest for digest in there or () if digest is not None}
    now = {digest for digest in (artifact.digest, artifact.index) if digest is not None}
    search_tables.change_outputs(connection, artifact.run_id, before, now)


def call_partial(connection: Connection, attempt_id: str) -> None:
    """Mark the artifacts of an attempt as partial: no other stage gets them."""
    connection.execute(
        "UPDATE artifacts SET partial = 1 WHERE attempt_id = ? AND kind = 'output'", (attempt_id,)
    )


def set_drain(connection: Connection, drain: Drain, event: NewEvent | None) -> Event | None:
    """Drain a host: it gets no new work. A second call changes the reason."""
    connection.execute(
        "INSERT OR REPLACE INTO drains (host, reason, by, at) VALUES (?, ?, ?, ?)",
        (drain.host, storable(drain.reason), storable(drain.by), drain.at),
    )
    return _add_event(connection, event) if event is not None else None


def clear_drain(connection: Connection, host: str, event: NewEvent | None) -> Event | None:
    """End the drain of a host; returns no event if the host was not drained."""
    gone = connection.execute("DELETE FROM drains WHERE host = ?", (host,)).rowcount
    return _add_event(connection, event) if gone and event is not None else None


def _put_facts(connection: Connection, facts: HostFacts) -> str:
    text = json.dumps(json.loads(dump(facts)), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    connection.execute(
        "INSERT OR IGNORE INTO host_facts (digest, facts) VALUES (?, ?)", (digest, text)
    )
    return digest


def _run(connection: Connection, run_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT outcome, cancelled_by, priority, services FROM runs WHERE run_id = ?", (run_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"no run {run_id}", remedy="list them: hostler runs")
    return row


def _stored(connection: Connection, attempt_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(_SELECT_ATTEMPT, (attempt_id,)).fetchone()
    return row


def _check_fixed(there: sqlite3.Row, attempt: Attempt) -> None:
    values = attempt_values(attempt)
    for column in ATTEMPT_FIXED:
        if there[column] != values[column]:
            raise ConflictError(
                f"attempt {attempt.attempt_id} has {column} {there[column]} in its intent, "
                f"not {values[column]}"
            )


def _check_run_open(connection: Connection, attempt: Attempt) -> None:
    if _run(connection, attempt.run_id)["outcome"] is not None:
        raise ConflictError(f"run {attempt.run_id} has ended: {attempt.stage} cannot start")
    last = attempt.number if attempt.phase.is_final else 2**63 - 1
    other = connection.execute(
        "SELECT attempt_id FROM attempts WHERE run_id = ? AND stage = ?"
        " AND (number = ? OR number < ? AND phase IN ('starting', 'running', 'collecting'))",
        (attempt.run_id, attempt.stage, attempt.number, last),
    ).fetchone()
    if other is not None:
        raise ConflictError(
            f"stage {attempt.stage} of run {attempt.run_id} has attempt {other['attempt_id']}"
        )


def _check_gpus_free(connection: Connection, attempt: Attempt) -> None:
    for gpu in attempt.gpus:
        holder = connection.execute(
            "SELECT attempt_id FROM holds WHERE host = ? AND gpu = ?", (attempt.host, gpu)
        ).fetchone()
        if holder is not None:
            raise ConflictError(
                f"GPU {gpu} of {attempt.host} is held by attempt {holder['attempt_id']}"
            )
