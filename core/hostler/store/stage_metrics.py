"""Metrics of stages in the database: SQL, pages, and curves with fewer points."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hostler.model.records import MetricPoint, StageMetric
from hostler.store.rows import storable

_THINNED = """
SELECT name, value, t, step FROM (
    SELECT n.name, m.value, m.t, m.step, m.row,
        row_number() OVER (PARTITION BY m.name ORDER BY m.row) - 1 AS place,
        count(*) OVER (PARTITION BY m.name) AS total
    FROM metric_attempts a JOIN stage_metrics m ON m.attempt = a.id
        JOIN metric_names n ON n.id = m.name
    WHERE a.attempt_id = ?
) WHERE place % max(1, (total + ? - 1) / ?) = 0 OR place = total - 1 ORDER BY row
"""


def put(
    connection: sqlite3.Connection, attempt_id: str, points: Sequence[MetricPoint], first: int
) -> None:
    """Write an attempt's rows from number `first` on. They replace all stored rows from there on,
    because a stage may start its file again."""
    attempt = _intern(connection, "metric_attempts", "attempt_id", attempt_id)
    names = {
        name: _intern(connection, "metric_names", "name", storable(name))
        for name in {point.name for point in points}
    }
    connection.executemany(
        "INSERT OR REPLACE INTO stage_metrics (attempt, row, name, t, step, value)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (attempt, first + index, names[point.name], point.at, point.step, float(point.value))
            for index, point in enumerate(points)
        ],
    )
    connection.execute(
        "DELETE FROM stage_metrics WHERE attempt = ? AND row >= ?", (attempt, first + len(points))
    )


def page(
    connection: sqlite3.Connection, attempt_id: str, after: int, most: int
) -> tuple[list[StageMetric], int | None]:
    """At most `most` rows of an attempt from number `after` on, and the number of the next row;
    None: there are no more."""
    rows = connection.execute(
        "SELECT n.name, m.value, m.t, m.step, m.row FROM metric_attempts a"
        " JOIN stage_metrics m ON m.attempt = a.id JOIN metric_names n ON n.id = m.name"
        " WHERE a.attempt_id = ? AND m.row >= ? ORDER BY m.row LIMIT ?",
        (attempt_id, after, most),
    ).fetchall()
    found = [
        StageMetric(attempt_id, name, float("nan") if value is None else value, at, step)
        for name, value, at, step, _ in rows
    ]
    return found, rows[-1][4] + 1 if len(rows) == most else None


def count_names(connection: sqlite3.Connection, attempt_ids: Sequence[str]) -> int:
    """The sum over the attempts of the number of their metrics."""
    found = 0
    for attempt_id in attempt_ids:
        found += connection.execute(
            "SELECT count(DISTINCT m.name) FROM metric_attempts a"
            " JOIN stage_metrics m ON m.attempt = a.id WHERE a.attempt_id = ?",
            (attempt_id,),
        ).fetchone()[0]
    return found


def thinned(connection: sqlite3.Connection, attempt_id: str, most: int) -> list[StageMetric]:
    """About `most` rows of each metric of an attempt, evenly chosen, always with the last one."""
    rows = connection.execute(_THINNED, (attempt_id, most - 1, most - 1))
    return [
        StageMetric(attempt_id, name, float("nan") if value is None else value, at, step)
        for name, value, at, step in rows
    ]


def forget(connection: sqlite3.Connection, attempt_ids: Sequence[str]) -> None:
    """Delete all rows of some attempts."""
    for attempt_id in attempt_ids:
        connection.execute(
            "DELETE FROM stage_metrics WHERE attempt ="
            " (SELECT id FROM metric_attempts WHERE attempt_id = ?)",
            (attempt_id,),
        )
        connection.execute("DELETE FROM metric_attempts WHERE attempt_id = ?", (attempt_id,))


def _intern(connection: sqlite3.Connection, table: str, column: str, value: str) -> int:
    found = connection.execute(
        f"SELECT id FROM {table} WHERE {column} = ?",
        (value,),
    ).fetchone()
    if found is not None:
        return int(found[0])
    made = connection.execute(f"INSERT INTO {table} ({column}) VALUES (?)", (value,))
    return int(made.lastrowid or 0)
