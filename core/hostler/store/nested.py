"""Queries for the tree of nested runs: parents, descendants, counts."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from hostler.store.connections import Readers

_MOST = 1000
"""Most runs of a tree that are read; a tree may have more."""
_BELOW = (
    "WITH RECURSIVE below (run_id) AS (VALUES (?) UNION SELECT r.run_id FROM below b"
    f" JOIN runs r ON r.parent = b.run_id LIMIT {_MOST})"
    " SELECT r.run_id, r.parent, r.pipeline, r.stage_count, r.outcome IS NOT NULL AS has_ended"
    " FROM below JOIN runs r USING (run_id) ORDER BY r.number"
)
_ABOVE = (
    "WITH RECURSIVE above (run_id, depth) AS (VALUES (?, 0) UNION ALL SELECT r.parent, a.depth + 1"
    " FROM above a JOIN runs r ON r.run_id = a.run_id WHERE r.parent IS NOT NULL"
    f" AND a.depth < {_MOST}) SELECT run_id FROM above ORDER BY depth DESC LIMIT 1"
)
_CHILDREN = "SELECT run_id, outcome IS NOT NULL FROM runs WHERE parent = ? ORDER BY number LIMIT ?"


@dataclass(frozen=True, slots=True)
class Relative:
    """A run of a tree."""

    run_id: str
    parent: str | None
    name: str
    stages: int
    has_ended: bool


class NestedMethods:
    """Methods of the store."""

    _readers: Readers

    async def tree(self, run_id: str) -> list[Relative]:
        """A run and all runs that it submitted, directly or indirectly, the oldest first."""
        return await self._readers.run(lambda db: _tree(db, run_id))

    async def root(self, run_id: str) -> str:
        """The run at the top of the tree, which a user submitted; it may be removed already."""
        return await self._readers.run(lambda db: str(db.execute(_ABOVE, (run_id,)).fetchone()[0]))

    async def children(self, run_id: str) -> dict[str, bool]:
        """The runs that a run itself submitted -> whether each has ended."""
        rows = await self._readers.run(lambda db: db.execute(_CHILDREN, (run_id, _MOST)).fetchall())
        return {row[0]: bool(row[1]) for row in rows}


def _tree(connection: sqlite3.Connection, run_id: str) -> list[Relative]:
    return [
        Relative(
            row["run_id"], row["parent"], row["pipeline"], row["stage_count"],
            bool(row["has_ended"]),
        )
        for row in connection.execute(_BELOW, (run_id,))
    ]  # fmt: skip
