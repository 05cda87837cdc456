"""Read queries on the state database, and the search of a run by its id or a prefix."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Sequence

from hostler.base.errors import InputError, NotFoundError
from hostler.model.codec import from_json
from hostler.model.files import Artifact
from hostler.model.hosts import HostFacts
from hostler.model.records import AttemptFilter, Drain
from hostler.model.runs import Attempt, Event, Outcome, Run
from hostler.store.audit import was_removed
from hostler.store.filters import attempt_where
from hostler.store.rows import (
    ARTIFACT_COLUMNS,
    ATTEMPT_COLUMNS,
    EVENT_COLUMNS,
    RunTexts,
    read_artifact,
    read_attempt,
    read_event,
    read_run,
    unpack,
)
from hostler.store.run_texts import unpacked_texts

Connection = sqlite3.Connection

_ATTEMPT = ", ".join(ATTEMPT_COLUMNS)
_EVENT = "seq, " + ", ".join(EVENT_COLUMNS)
_ARTIFACT = ", ".join(ARTIFACT_COLUMNS)
_CANDIDATES = 8
_CHUNK = 500


def open_runs(connection: Connection) -> list[Run]:
    """Runs without an outcome, with stages and attempts, oldest first."""
    rows = connection.execute(
        "SELECT * FROM runs WHERE outcome IS NULL ORDER BY submitted_at, number"
    ).fetchall()
    return _runs(connection, rows)


def runs_needed_since(connection: Connection, since: float, spared: Collection[str]) -> list[Run]:
    """Runs, with stages and attempts, that are open, ended after `since`, or have one of the ids
    `spared`."""
    rows = connection.execute(
        "SELECT * FROM runs WHERE outcome IS NULL UNION SELECT * FROM runs WHERE finished_at > ?"
        " UNION SELECT r.* FROM json_each(?) f JOIN runs r ON r.run_id = f.value",
        (since, json.dumps(list(spared))),
    ).fetchall()
    return _runs(connection, rows)


def get_run(connection: Connection, run_id: str) -> Run:
    """One run; the id may be a unique prefix. Raises like `resolve`."""
    found = resolve(connection, run_id)
    rows = connection.execute("SELECT * FROM runs WHERE run_id = ?", (found,)).fetchall()
    return _runs(connection, rows)[0]


def resolve(connection: Connection, prefix: str) -> str:
    """The id of the run that begins with `prefix`.

    Raises NotFoundError if no run does, InputError that names the candidates if several do.
    """
    exact = connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (prefix,)).fetchone()
    if exact is not None:
        return prefix
    rows = connection.execute(
        # If very many runs match, only the first by id are read, the newest shown.
        "SELECT run_id FROM (SELECT run_id, submitted_at FROM runs"
        " WHERE run_id >= ? AND run_id < ? LIMIT ?) ORDER BY submitted_at DESC LIMIT ?",
        (prefix, prefix + "\U0010ffff", _CHUNK, _CANDIDATES + 1),
    ).fetchall()
    if not rows or not prefix:
        raise NotFoundError(f"no run {prefix!r}", remedy="list them: hostler runs")
    if len(rows) > 1:
        names = ", ".join(row["run_id"] for row in rows[:_CANDIDATES])
        more = ", ..." if len(rows) > _CANDIDATES else ""
        raise InputError(
            f"{prefix!r} could mean {names}{more}", remedy="write one more character of the id"
        )
    return str(rows[0]["run_id"])


def pipeline_text_of(connection: Connection, run_id: str) -> str | None:
    """The submitted pipeline file; None: the run does not exist."""
    row = connection.execute(
        "SELECT r.pipeline_text, t.packed FROM runs r LEFT JOIN run_texts t ON t.run = r.number"
        " WHERE r.run_id = ?",
        (run_id,),
    ).fetchone()
    if row is None:
        return None
    return unpack(row["packed"]).pipeline if row["packed"] is not None else row["pipeline_text"]


def pipeline_text(connection: Connection, run_id: str) -> str:
    """The submitted pipeline file. Raises NotFoundError."""
    text = pipeline_text_of(connection, run_id)
    if text is None:
        raise NotFoundError(f"no run {run_id}", remedy="list them: hostler runs")
    return text


def attempts(connection: Connection, wanted: AttemptFilter, limit: int) -> list[Attempt]:
    """Matching attempts; the one placed last comes first."""
    where, values = attempt_where(wanted)
    rows = connection.execute(
        f"SELECT {_ATTEMPT} FROM attempts WHERE {where} ORDER BY placed DESC LIMIT ?",
        (*values, limit),
    )
    return [read_attempt(row) for row in rows]


def events(
    connection: Connection, after: int, run_id: str | None, host: str | None, limit: int
) -> list[Event]:
    """Events with a number above `after`, in order."""
    where = "seq > ?"
    values: list[object] = [after]
    for column, value in (("run_id", run_id), ("host", host)):
        if value is not None:
            where += f" AND {column} = ?"
            values.append(value)
    rows = connection.execute(
        f"SELECT {_EVENT} FROM events WHERE {where} ORDER BY seq LIMIT ?",
        (*values, limit),
    )
    return [read_event(row) for row in rows]


def seq_before_last(connection: Connection, limit: int, host: str | None) -> int:
    """The number before the newest `limit` events (of a host); 0 if there are no more events."""
    where, values = ("host = ?", [host]) if host is not None else ("1", [])
    row = connection.execute(
        f"SELECT seq FROM events WHERE {where} ORDER BY seq DESC LIMIT 1 OFFSET ?",
        (*values, limit),
    ).fetchone()
    return int(row[0]) if row is not None else 0


def last_seq(connection: Connection) -> int:
    """The number of the newest event; 0 if there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def artifacts(connection: Connection, run_id: str) -> list[Artifact]:
    """Artifacts of a run, by stage and name, outputs first."""
    rows = connection.execute(
        f"SELECT {_ARTIFACT} FROM artifacts WHERE run_id = ?"
        " ORDER BY stage, attempt_id, kind DESC, name",
        (run_id,),
    )
    return [read_artifact(row) for row in rows]


def drains(connection: Connection) -> dict[str, Drain]:
    """Drained hosts by name."""
    rows = connection.execute("SELECT host, reason, by, at FROM drains ORDER BY host")
    return {row["host"]: Drain(**dict(row)) for row in rows}


def facts_of_attempt(connection: Connection, attempt_id: str) -> HostFacts | None:
    """Facts of the attempt's host at its placement."""
    row = connection.execute(
        "SELECT f.facts FROM attempts a JOIN host_facts f ON f.digest = a.facts"
        " WHERE a.attempt_id = ?",
        (attempt_id,),
    ).fetchone()
    return None if row is None else from_json(HostFacts, json.loads(row[0]))


def get_outcome(connection: Connection, run_id: str) -> Outcome | None:
    """The outcome of the run with exactly this id; None: it is open. Raises NotFoundError."""
    row = connection.execute("SELECT outcome FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"no run {run_id!r}", remedy="list them: hostler runs")
    return Outcome(row["outcome"]) if row["outcome"] else None


def is_over(connection: Connection, run_id: str) -> bool | None:
    """Whether the run with exactly this id has ended or was removed; None: unknown. The ids come
    from hosts, so prefixes are not accepted and no run is read whole."""
    row = connection.execute("SELECT outcome FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is not None:
        return row["outcome"] is not None
    return True if was_removed(connection, run_id) else None


def _runs(connection: Connection, rows: Sequence[sqlite3.Row]) -> list[Run]:
    tried: dict[str, list[Attempt]] = defaultdict(list)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        for row in connection.execute(
            f"SELECT {_ATTEMPT} FROM attempts WHERE run_id IN ({marks}) ORDER BY placed",
            [row["run_id"] for row in chunk],
        ):
            tried[row["run_id"]].append(read_attempt(row))
    texts = _texts_of(connection, rows)
    return [read_run(row, texts[row["number"]], tried[row["run_id"]]) for row in rows]


def find_submission(connection: Connection, uid: int, key: str) -> tuple[str, str] | None:
    """Digest and run of a submission; None: no submission has this key."""
    row = connection.execute(
        "SELECT digest, run_id FROM submissions WHERE uid = ? AND key = ?", (uid, key)
    ).fetchone()
    return None if row is None else (row["digest"], row["run_id"])


def _texts_of(connection: Connection, rows: Sequence[sqlite3.Row]) -> dict[int, RunTexts]:
    """Number of a run -> its texts, from whole rows of `runs`."""
    found: dict[int, RunTexts] = {}
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        query = f"SELECT run, packed FROM run_texts WHERE run IN ({marks})"
        for number, packed in connection.execute(query, [row["number"] for row in chunk]):
            found[number] = unpack(packed)
        if older := [row for row in chunk if row["number"] not in found]:
            found |= unpacked_texts(connection, older)
    return found
