"""Requests of services per minute: SQL. Minutes become hours after two days; totals are kept for
335 days.

New requests are added to their minute and to the total in one transaction.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from hostler.model.traffic import MINUTES_FOR_S, Traffic, TrafficRow, TrafficTotal, together
from hostler.store.connections import Readers, Writer

_TOTALS_FOR_S = 335 * 86400
"""Seconds after the last request of a release for which its total is kept: about a year."""
HOUR = 3600
_MOST = 2**53
_COLUMNS = "requests, failed, cut, steps"


class TrafficStore:
    """The tables of traffic in the metrics database. Methods raise StateError."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer, self._readers = writer, readers

    async def add(self, rows: Sequence[TrafficRow], counted: Mapping[int, float]) -> None:
        """Add requests, and the seconds of each minute in which they were counted. All in one
        commit, so a failed call may be repeated."""
        await self._writer.submit(lambda db: _add(db, rows, counted))

    async def rows(
        self, run_ids: Sequence[str], since: float, until: float
    ) -> tuple[list[TrafficRow], dict[int, float]]:
        """Requests of the services of these runs, and the seconds of each minute in which requests
        were counted."""
        span = (math.floor(since), math.ceil(until))
        return await self._readers.run(lambda db: (_rows_of(db, run_ids, span), _counted(db, span)))

    async def last_counted(self) -> float | None:
        """Start of the last minute in which requests were counted; None: none were counted."""
        return await self._readers.run(_last_counted)

    async def totals(self, run_ids: Sequence[str]) -> list[TrafficTotal]:
        """All requests of each of these runs that had any."""
        return await self._readers.run(lambda db: _totals_of(db, run_ids))

    async def prune(self, now: float, before: float) -> int:
        """Delete rows older than `before`, and combine old minutes into hours; returns the number
        of removed rows."""
        return await self._writer.submit(lambda db: _prune(db, now, before))


def _add(
    connection: sqlite3.Connection,
    rows: Sequence[TrafficRow],
    counted: Mapping[int, float],
) -> None:
    for row in rows:
        number = _number(connection, row)
        where = (number, row.at)
        there = connection.execute(f"SELECT {_COLUMNS} FROM traffic WHERE of = ? AND t = ?", where)
        values = _values(_plus(there.fetchone(), row.traffic))
        connection.execute(
            "INSERT OR REPLACE INTO traffic VALUES (?, ?, ?, ?, ?, ?)", (*where, *values)
        )
    connection.executemany(
        "INSERT INTO traffic_counted VALUES (?, ?)"
        " ON CONFLICT (t) DO UPDATE SET seconds = seconds + excluded.seconds",
        list(counted.items()),
    )


def _number(connection: sqlite3.Connection, row: TrafficRow) -> int:
    """The row number of a run's service; adds these requests to its total."""
    key = (row.run_id, row.stage)
    which = f"SELECT {_COLUMNS}, id FROM traffic_of WHERE run_id = ? AND stage = ?"
    there = connection.execute(which, key).fetchone()
    values = _values(_plus(there, row.traffic))
    if there is not None:
        connection.execute(
            "UPDATE traffic_of SET last = ?, requests = ?, failed = ?, cut = ?, steps = ?"
            " WHERE id = ?",
            (row.at, *values, there["id"]),
        )
        return int(there["id"])
    statement = (
        f"INSERT INTO traffic_of (run_id, stage, first, last, {_COLUMNS})"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )
    number = connection.execute(statement, (*key, row.at, row.at, *values)).lastrowid
    assert number is not None  # SQLite numbers every row
    return number


def _rows_of(
    connection: sqlite3.Connection, run_ids: Sequence[str], span: tuple[int, int]
) -> list[TrafficRow]:
    found: list[TrafficRow] = []
    for run_id in run_ids:
        rows = connection.execute(
            "SELECT stage, t, r.requests, r.failed, r.cut, r.steps FROM traffic_of AS o"
            " JOIN traffic AS r ON r.of = o.id WHERE o.run_id = ? AND t >= ? AND t < ? ORDER BY t",
            (run_id, *span),
        )
        found += (TrafficRow(run_id, row["stage"], row["t"], _traffic(row)) for row in rows)
    return found


def _totals_of(connection: sqlite3.Connection, run_ids: Sequence[str]) -> list[TrafficTotal]:
    found: list[TrafficTotal] = []
    for run_id in run_ids:
        which = f"SELECT stage, first, last, {_COLUMNS} FROM traffic_of WHERE run_id = ?"
        for row in connection.execute(which, (run_id,)):
            total = TrafficTotal(run_id, row["stage"], _traffic(row), row["first"], row["last"])
            found.append(total)
    return found


def _counted(connection: sqlite3.Connection, span: tuple[int, int]) -> dict[int, float]:
    rows = connection.execute(
        "SELECT t, seconds FROM traffic_counted WHERE t >= ? AND t < ? ORDER BY t",
        span,
    )
    return {row["t"]: row["seconds"] for row in rows}


def _last_counted(connection: sqlite3.Connection) -> float | None:
    row = connection.execute("SELECT max(t) AS t FROM traffic_counted").fetchone()
    return None if row["t"] is None else float(row["t"])


def _prune(connection: sqlite3.Connection, now: float, before: float) -> int:
    border = (int(now) - MINUTES_FOR_S) // HOUR * HOUR
    gone = connection.execute("DELETE FROM traffic_counted WHERE t < ?", (int(before),)).rowcount
    for (number,) in connection.execute("SELECT id FROM traffic_of").fetchall():
        old = (number, int(before))
        gone += connection.execute("DELETE FROM traffic WHERE of = ? AND t < ?", old).rowcount
        gone += _make_hours(connection, number, border)
    which = "DELETE FROM traffic_of WHERE last < ?"
    gone += connection.execute(which, (before - _TOTALS_FOR_S,)).rowcount
    return gone + _make_counted_hours(connection, border)


def _make_hours(connection: sqlite3.Connection, number: int, border: int) -> int:
    hours = connection.execute(
        f"SELECT DISTINCT t / {HOUR} * {HOUR} FROM traffic"
        f" WHERE of = ? AND t < ? AND t % {HOUR} <> 0",
        (number, border),
    ).fetchall()
    return sum(_make_hour(connection, number, hour) for (hour,) in hours)


def _make_hour(connection: sqlite3.Connection, number: int, hour: int) -> int:
    span = "of = ? AND t >= ? AND t < ?"
    which = (number, hour, hour + HOUR)
    rows = connection.execute(f"SELECT {_COLUMNS} FROM traffic WHERE {span}", which).fetchall()
    values = _values(together(map(_traffic, rows)))
    connection.execute(f"DELETE FROM traffic WHERE {span}", which)
    connection.execute("INSERT INTO traffic VALUES (?, ?, ?, ?, ?, ?)", (number, hour, *values))
    return len(rows) - 1


def _make_counted_hours(connection: sqlite3.Connection, border: int) -> int:
    hours = connection.execute(
        f"SELECT t / {HOUR} * {HOUR} AS hour, sum(seconds) AS seconds, count(*) AS minutes"
        f" FROM traffic_counted WHERE t < ? GROUP BY t / {HOUR} HAVING count(*) > 1",
        (border,),
    ).fetchall()
    for row in hours:
        span = (row["hour"], row["hour"] + HOUR)
        connection.execute("DELETE FROM traffic_counted WHERE t >= ? AND t < ?", span)
        connection.execute(
            "INSERT INTO traffic_counted VALUES (?, ?)", (row["hour"], row["seconds"])
        )
    return sum(row["minutes"] - 1 for row in hours)


def _plus(row: sqlite3.Row | None, more: Traffic) -> Traffic:
    return more if row is None else _traffic(row).plus(more)


def _traffic(row: sqlite3.Row) -> Traffic:
    return Traffic(row["requests"], row["failed"], row["cut"], _read_steps(row["steps"]))


def _values(traffic: Traffic) -> tuple[int, int, int, str]:
    """The values as columns, limited so that no number from a host is too large for its column."""
    counts = (min(_MOST, n) for n in (traffic.requests, traffic.failed, traffic.cut))
    requests, failed, cut = counts
    return requests, failed, cut, _steps(min(_MOST, n) for n in traffic.steps)


def _steps(counts: Iterator[int]) -> str:
    numbers = list(counts)
    while numbers and not numbers[-1]:
        numbers.pop()
    first = next((index for index, number in enumerate(numbers) if number), 0)
    return f"{first}:{','.join(map(str, numbers[first:]))}" if numbers else ""


def _read_steps(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    first, _, counts = text.partition(":")
    return (0,) * int(first) + tuple(map(int, counts.split(",")))
