"""What runs need of the files in the state folder, asked about the files that are there: there may
be very many runs of which nothing is left."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection

from hostler.store.kept import read_keeps
from hostler.store.retention import RunUse

_LOGS = "SELECT r.number FROM json_each(?) f JOIN runs r ON r.run_id = f.value"
_OUTPUTS = "SELECT o.run, o.digest FROM json_each(?) f JOIN run_outputs o ON o.digest = f.value"
_SNAPSHOTS = (
    # Of the runs of one snapshot an open one needs it longest, then the one that ended last.
    "SELECT coalesce((SELECT r.number FROM runs r WHERE r.source_digest = f.value"
    " AND r.finished_at IS NULL LIMIT 1), (SELECT r.number FROM runs r"
    " WHERE r.source_digest = f.value ORDER BY r.finished_at DESC LIMIT 1)) AS number"
    " FROM json_each(?) f WHERE number IS NOT NULL"
)
_SPARED = (
    "SELECT r.number FROM keeps k JOIN runs r ON r.run_id = k.run_id"
    " UNION SELECT r.number FROM remainders m JOIN runs r ON r.run_id = m.run_id"
)
_RUNS = (
    "SELECT r.number, r.run_id, r.finished_at, r.source_digest FROM json_each(?) f"
    " JOIN runs r ON r.number = f.value"
)


def ended_before(connection: sqlite3.Connection, before: float) -> list[str]:
    """Ids of the runs that ended before a time, the earliest first."""
    rows = connection.execute(
        "SELECT run_id FROM runs WHERE finished_at < ? ORDER BY finished_at", (before,)
    )
    return [row[0] for row in rows]


def run_uses(
    connection: sqlite3.Connection, now: float, logs: Collection[str], blobs: Collection[str]
) -> list[RunUse]:
    """The runs of these ids, and those that need one of these blobs, with what they need of them;
    log sizes are not known here. Of the runs of one snapshot, those that need it longest."""
    kept = {run_id for run_id, keep in read_keeps(connection).items() if keep.holds(now)}
    outputs: defaultdict[int, list[str]] = defaultdict(list)
    for number, digest in connection.execute(_OUTPUTS, (_json(blobs),)):
        outputs[number].append(digest)
    numbers = set(outputs)
    for query, asked in ((_LOGS, logs), (_SNAPSHOTS, blobs)):
        numbers.update(row[0] for row in connection.execute(query, (_json(asked),)))
    numbers.update(row[0] for row in connection.execute(_SPARED))
    return [
        RunUse(
            run_id,
            finished_at,
            snapshot=snapshot,
            outputs=tuple(sorted(outputs[number])),
            is_kept=run_id in kept,
        )
        for number, run_id, finished_at, snapshot in connection.execute(_RUNS, (_json(numbers),))
    ]


def _json(values: Collection[object]) -> str:
    return json.dumps(list(values))
