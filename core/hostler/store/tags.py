"""Finds images by the names that builds gave them (`tag`)."""

from __future__ import annotations

import sqlite3

from hostler.store import reads

_BUILDS = (
    # A build has no workload, so it has no `ref`.
    "SELECT a.run_id FROM attempts a JOIN runs r ON r.run_id = a.run_id WHERE r.uid = ?"
    " AND a.ref IS NULL AND a.phase = 'succeeded' AND a.image_digest LIKE 'sha256:%'"
    " ORDER BY a.placed DESC LIMIT ?"
)
_MOST = 500
"""Most builds of one user that are searched, newest first."""


def tagged(connection: sqlite3.Connection, uid: int, tag: str) -> str | None:
    """The newest image that a user built with this tag; None: there is none."""
    seen: set[str] = set()
    for (run_id,) in connection.execute(_BUILDS, (uid, _MOST)).fetchall():
        if run_id in seen:
            continue
        seen.add(run_id)
        run = reads.get_run(connection, run_id)
        named = {stage.name for stage in run.stages if stage.tag == tag}
        built = [a.image_digest for a in run.attempts if a.stage in named and a.image_digest]
        if built:
            return built[-1]
    return None
