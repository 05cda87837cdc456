"""Texts of runs (pipeline, parameters) that earlier versions stored uncompressed: reads them, and
compresses them in the background."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from hostler.base.errors import StateError
from hostler.store.rows import RunTexts, pack

_log = logging.getLogger("hostler.store")
_AT_ONCE = 20
_EVERY_S = 0.05


def are_unpacked(connection: sqlite3.Connection) -> bool:
    """Whether any texts of earlier versions are still uncompressed."""
    return connection.execute("SELECT 1 FROM stages LIMIT 1").fetchone() is not None


async def pack_all(write: Callable[[Callable[[sqlite3.Connection], int]], Awaitable[int]]) -> None:
    """Compress them a few at a time, so that other writes do not wait long."""
    try:
        while await write(lambda db: pack_some(db, _AT_ONCE)):  # noqa: ASYNC110 (a pause)
            await asyncio.sleep(_EVERY_S)
    except StateError as error:
        _log.warning("packing of older runs stopped, and continues at the next start: %s", error)


def pack_some(connection: sqlite3.Connection, most: int) -> int:
    """Compress texts of some runs, inside a transaction; returns the number of runs. 0: all are
    compressed."""
    rows = connection.execute(
        "SELECT * FROM runs WHERE number IN (SELECT DISTINCT run FROM stages LIMIT ?)", (most,)
    ).fetchall()
    for number, texts in unpacked_texts(connection, rows).items():
        connection.execute(
            "INSERT INTO run_texts (run, packed) VALUES (?, ?)", (number, pack(texts))
        )
        connection.execute("DELETE FROM stages WHERE run = ?", (number,))
        connection.execute(
            "UPDATE runs SET pipeline_text = '', env = '',"
            " source = json_set(source, '$.git_diff', NULL) WHERE number = ?",
            (number,),
        )
    return len(rows)


def unpacked_texts(
    connection: sqlite3.Connection, rows: Sequence[sqlite3.Row]
) -> dict[int, RunTexts]:
    """Number of a run -> its texts, for runs with uncompressed texts."""
    if not rows:
        return {}
    marks = ", ".join("?" * len(rows))
    stages: defaultdict[int, list[str]] = defaultdict(list)
    for number, spec in connection.execute(
        f"SELECT run, spec FROM stages WHERE run IN ({marks}) ORDER BY run, position",
        [row["number"] for row in rows],
    ):
        stages[number].append(spec)
    return {
        row["number"]: RunTexts(
            stages=tuple(stages[row["number"]]),
            pipeline=row["pipeline_text"],
            env=row["env"],
            git_diff=json.loads(row["source"]).get("git_diff"),
        )
        for row in rows
    }
