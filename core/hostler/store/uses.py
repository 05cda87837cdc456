"""Which stored files runs still need: queries for the garbage collection; `retention` decides."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection

from hostler.store.connections import Readers
from hostler.store.images import blobs_of_images
from hostler.store.kept import read_keeps
from hostler.store.retention import RunUse

_YOUNG = (
    "SELECT run_id FROM runs WHERE finished_at > ?"
    " UNION ALL SELECT run_id FROM runs WHERE outcome IS NULL"
)
_ARTIFACTS_SINCE = (
    # As one text, which is read in half the time of so many rows.
    "SELECT group_concat(a.digest || coalesce(' ' || a.index_digest, ''), ' ')"
    " FROM runs r CROSS JOIN artifacts a ON a.run_id = r.run_id WHERE r.finished_at > ?"
)
_NEEDED = (
    "SELECT f.value FROM json_each(?) f WHERE EXISTS (SELECT 1 FROM run_outputs o"
    " JOIN runs r ON r.number = o.run WHERE o.digest = f.value"
    " AND (r.finished_at > ? OR r.finished_at IS NULL))"
)
_SNAPSHOTS_SINCE = (
    "SELECT source_digest FROM runs WHERE finished_at >= ?"
    " UNION SELECT source_digest FROM runs WHERE outcome IS NULL"
)
_LOGS = "SELECT r.number FROM json_each(?) f JOIN runs r ON r.run_id = f.value"
_OUTPUTS = "SELECT o.run, o.digest FROM json_each(?) f JOIN run_outputs o ON o.digest = f.value"
_SNAPSHOTS = (
    # Of the runs of one snapshot, an open one needs it longest; if none is open, the run that ended
    # last.
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


class UseMethods:
    """The part of the store that `plan_gc` reads."""

    _readers: Readers

    async def run_uses(
        self, now: float, logs: Collection[str], blobs: Collection[str]
    ) -> list[RunUse]:
        """The uses of old logs and old blobs: which runs need them, and whether these runs are kept
        now."""
        return await self._readers.run(lambda db: run_uses(db, now, logs, blobs))

    async def old_logs(self, logs: Collection[str], before: float) -> set[str]:
        """Those of these runs that ended before `before`, or are unknown."""
        return await self._readers.run(lambda db: old_logs(db, logs, before))

    async def old_blobs(
        self, digests: Collection[str], outputs_before: float, sources_before: float
    ) -> set[str]:
        """Those of these blobs that no run needs that is open or ended after these times."""
        return await self._readers.run(
            lambda db: old_blobs(db, digests, outputs_before, sources_before)
        )

    async def has_run_of(self, digest: str, uid: int) -> bool:
        """Whether this user has a run with this snapshot."""
        return await self._readers.run(lambda db: has_run_of(db, digest, uid))

    async def ended_before(self, before: float) -> list[str]:
        """Ids of the runs that ended before a time; in the order of their ends."""
        return await self._readers.run(lambda db: ended_before(db, before))


def has_run_of(connection: sqlite3.Connection, digest: str, uid: int) -> bool:
    """Whether this user has a run with this snapshot."""
    found = connection.execute(
        "SELECT 1 FROM runs WHERE source_digest = ? AND uid = ? LIMIT 1", (digest, uid)
    )
    return found.fetchone() is not None


def ended_before(connection: sqlite3.Connection, before: float) -> list[str]:
    """Ids of the runs that ended before a time; in the order of their ends."""
    rows = connection.execute(
        "SELECT run_id FROM runs WHERE finished_at < ? ORDER BY finished_at", (before,)
    )
    return [row[0] for row in rows]


def old_logs(connection: sqlite3.Connection, logs: Collection[str], before: float) -> set[str]:
    """Those of these runs that ended before `before`, or are unknown."""
    return {*logs}.difference(row[0] for row in connection.execute(_YOUNG, (before,)))


def old_blobs(
    connection: sqlite3.Connection,
    digests: Collection[str],
    outputs_before: float,
    sources_before: float,
) -> set[str]:
    """The blobs that are neither an output of a run that is open or ended after `outputs_before`,
    nor a snapshot of a run that is open or ended at `sources_before` or later, nor part of an
    image."""
    # Most stored blobs are recent. Removing these first leaves only a few to look up one by one.
    (lately,) = connection.execute(_ARTIFACTS_SINCE, (outputs_before,)).fetchone()
    left = {*digests}.difference((lately or "").split())
    left.difference_update(
        row[0] for row in connection.execute(_SNAPSHOTS_SINCE, (sources_before,))
    )
    left.difference_update(blobs_of_images(connection))
    needed = connection.execute(_NEEDED, (_json(left), outputs_before))
    return left.difference(row[0] for row in needed)


def run_uses(
    connection: sqlite3.Connection, now: float, logs: Collection[str], blobs: Collection[str]
) -> list[RunUse]:
    """The runs with these ids, and the runs that need one of these blobs, with the blobs that they
    need; log sizes are not set here. If several runs need a snapshot, only the run that needs it
    longest is returned."""
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
