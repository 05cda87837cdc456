"""Artifacts of a removed run that retries still use, because they kept its stages."""

from __future__ import annotations

import json
import sqlite3

from hostler.model.codec import from_json
from hostler.model.files import Artifact
from hostler.store.rows import ARTIFACT_COLUMNS, dump, read_artifact

_KEEPERS = (
    "SELECT DISTINCT r.run_id, json_extract(k.value, '$.attempt_id')"
    " FROM runs r INDEXED BY runs_keeping, json_each(r.kept) k"
    " WHERE r.kept <> '{}' AND r.run_id <> :run"
)
_SAVED = f"SELECT {', '.join(ARTIFACT_COLUMNS)} FROM artifacts WHERE attempt_id = ?"


def hand_over(connection: sqlite3.Connection, run_id: str) -> None:
    """Before a run is removed: give its artifacts, and those that it inherited, to the runs that
    kept its stages."""
    own = _made(connection, run_id)
    if not own:
        return
    for monitor, attempt_id in connection.execute(_KEEPERS, {"run": run_id}).fetchall():
        connection.executemany(
            "INSERT INTO inherited (run_id, attempt_id, artifact) SELECT :run, :attempt, :artifact"
            " WHERE NOT EXISTS"
            " (SELECT 1 FROM inherited WHERE run_id = :run AND artifact = :artifact)",
            [
                {"run": monitor, "attempt": attempt_id, "artifact": artifact}
                for artifact in own.get(attempt_id, ())
            ],
        )


def inherited(connection: sqlite3.Connection, run_id: str) -> list[Artifact]:
    """Artifacts of removed runs that this run uses."""
    rows = connection.execute("SELECT artifact FROM inherited WHERE run_id = ?", (run_id,))
    return [from_json(Artifact, json.loads(row[0])) for row in rows]


def _made(connection: sqlite3.Connection, run_id: str) -> dict[str, list[str]]:
    """Attempt -> its artifacts as JSON."""
    found: dict[str, list[str]] = {}
    for (attempt_id,) in connection.execute(
        "SELECT attempt_id FROM attempts WHERE run_id = ?", (run_id,)
    ).fetchall():
        rows = connection.execute(_SAVED, (attempt_id,))
        found[attempt_id] = [dump(read_artifact(row)) for row in rows]
    for attempt_id, artifact in connection.execute(
        "SELECT attempt_id, artifact FROM inherited WHERE run_id = ?", (run_id,)
    ).fetchall():
        found.setdefault(attempt_id, []).append(artifact)
    return {attempt_id: artifacts for attempt_id, artifacts in found.items() if artifacts}
