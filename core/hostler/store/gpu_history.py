"""SQL of GPU samples and their averages per minute; drops impossible values."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from operator import itemgetter

from hostler.base.units import MIB
from hostler.model.records import FleetSeries, GpuSample, GpuSeries

GpuKey = tuple[str, str]
"""Host and UUID."""
Row = tuple[int, int, int | None, int | None, int | None, int | None]

_MINUTE = 60
_MEMORY = 8 * MIB
_MOST, _MOST_POWER, _HOT = 2**50, 100_000, 1000
"""Limits in bytes, W and °C that no GPU reaches."""
_LATE_S = 10
"""Seconds after which a minute is closed, since not all hosts are sampled in the same second."""

# avg and round return REAL; a STRICT INTEGER column accepts 12.0, so no cast is needed.
_ROLL_UP = """
INSERT OR REPLACE INTO gpu_minutes
SELECT gpus.id, s.t / 60 * 60, count(*), round(avg(s.utilization) * 10), round(avg(s.memory)),
       max(s.memory), round(avg(s.power) * 10), max(s.temperature)
FROM gpus CROSS JOIN gpu_samples s ON s.gpu = gpus.id AND s.t >= ? AND s.t < ?
GROUP BY gpus.id, s.t / 60
"""
_ROLL_UP_FLEET = """
INSERT OR REPLACE INTO fleet_minutes
SELECT m.t, count(*), round(avg(m.utilization)), round(avg(m.memory)), max(m.memory_peak),
       round(avg(m.power)), max(m.temperature)
FROM gpus CROSS JOIN gpu_minutes m ON m.gpu = gpus.id AND m.t >= ? AND m.t < ?
GROUP BY m.t
"""
# Power is summed, so GPUs that do not report it are left out.
_TOTALS_OF_MINUTES = """
SELECT m.t + 0.0, avg(m.utilization) / 10.0, sum(m.power) / 10.0
FROM gpus CROSS JOIN gpu_minutes m ON m.gpu = gpus.id AND m.t >= ? AND m.t < ?
GROUP BY m.t ORDER BY m.t
"""
_TOTALS_OF_SAMPLES = """
SELECT t + 0.0, avg(utilization), sum(power) FROM (
    SELECT s.t / 60 * 60 AS t, avg(s.utilization) AS utilization, avg(s.power) AS power
    FROM gpus CROSS JOIN gpu_samples s ON s.gpu = gpus.id AND s.t >= ? AND s.t < ?
    GROUP BY gpus.id, s.t / 60
) GROUP BY t ORDER BY t
"""
_SAMPLES = """
SELECT gpus.host, gpus.uuid, s.t, s.utilization, s.memory, s.power, s.temperature
FROM gpus JOIN gpu_samples s ON s.gpu = gpus.id
WHERE gpus.host = ? AND gpus.uuid = ? AND s.t >= ? AND s.t < ? ORDER BY s.t
"""


class GpuIds:
    """The numbers of the GPUs, cached so that they are not read at every tick. Only for the
    writer's thread."""

    def __init__(self) -> None:
        self._ids: dict[GpuKey, int] = {}
        self._seen = (0, 0)

    def read(self, connection: sqlite3.Connection) -> dict[GpuKey, int]:
        """(host, UUID) -> number. Read again if rows were added, or removed because a change was
        undone."""
        count, last = connection.execute("SELECT count(*), max(id) FROM gpus").fetchone()
        if (count, last) != self._seen:
            rows = connection.execute("SELECT host, uuid, id FROM gpus").fetchall()
            self._ids = {(row[0], row[1]): row[2] for row in rows}
            self._seen = (count, last)
        return self._ids


def insert(connection: sqlite3.Connection, given: Sequence[GpuSample], known: GpuIds) -> None:
    """Write samples (at least one), and compute the averages of every finished minute."""
    ids = known.read(connection)
    try:
        rows = _rows(given, ids)
    except KeyError:
        new = {(s.host, s.gpu) for s in given if (s.host, s.gpu) not in ids}
        connection.executemany("INSERT INTO gpus (host, uuid) VALUES (?, ?)", sorted(new))
        rows = _rows(given, known.read(connection))
    connection.executemany("INSERT OR REPLACE INTO gpu_samples VALUES (?, ?, ?, ?, ?, ?)", rows)
    over = (max(map(itemgetter(1), rows)) - _LATE_S) // _MINUTE * _MINUTE
    done: int = connection.execute("SELECT up_to FROM rolled").fetchone()[0]
    if over > done:
        connection.execute(_ROLL_UP, (done, over))
        connection.execute(_ROLL_UP_FLEET, (done, over))
        connection.execute("UPDATE rolled SET up_to = ?", (over,))


def _rows(given: Sequence[GpuSample], ids: dict[GpuKey, int]) -> list[Row]:
    # An impossible value (NaN, or a number over all limits) is stored as unknown. In an average it
    # would not fit its column, and the history of all hosts would stop. Each tick has hundreds of
    # samples: this inlined form takes a third of the time of function calls.
    return [
        (
            ids[sample.host, sample.gpu],
            int(sample.at),
            round(v) if (v := sample.utilization) is not None and 0 <= v <= 100 else None,
            m // _MEMORY if (m := sample.memory_used) is not None and 0 <= m < _MOST else None,
            round(v) if (v := sample.power) is not None and 0 <= v < _MOST_POWER else None,
            round(v) if (v := sample.temperature) is not None and -_HOT < v < _HOT else None,
        )
        for sample in given
    ]


def series(
    connection: sqlite3.Connection, gpu: GpuKey, since: float, until: float, step: int
) -> GpuSeries:
    """Values from the averages per minute, and from samples for the time after these."""
    which = "SELECT id FROM gpus WHERE host = ? AND uuid = ?"
    found = connection.execute(which, gpu).fetchone()
    if found is None:
        return GpuSeries()
    first, last = int(since) // step * step, math.ceil(until)
    done: int = connection.execute("SELECT up_to FROM rolled").fetchone()[0]
    # A step with only some averaged minutes is computed from samples alone.
    border = done // step * step
    cursor = _plain(connection)
    query = _minutes(step, "gpu = ? AND")
    rows = cursor.execute(query, (found[0], first, min(last, border))).fetchall()
    if last > border:
        query = _columns_of("gpu_samples", step, "gpu = ? AND", percent="1.0", count="count(*)")
        rows += cursor.execute(query, (found[0], max(first, border), last)).fetchall()
    return _series(rows)


def sample_series(
    connection: sqlite3.Connection, gpu: GpuKey, since: float, until: float, step: int
) -> GpuSeries:
    """The samples of one GPU in steps that may be shorter than a minute."""
    which = "gpu = (SELECT id FROM gpus WHERE host = ? AND uuid = ?) AND"
    query = _columns_of("gpu_samples", step, which, percent="1.0", count="count(*)")
    values = (*gpu, int(since) // step * step, math.ceil(until))
    return _series(_plain(connection).execute(query, values).fetchall())


def totals(connection: sqlite3.Connection, since: float, until: float) -> FleetSeries:
    """The values of all GPUs together per minute, including the current minute."""
    first, last = int(since) // _MINUTE * _MINUTE, math.ceil(until)
    done: int = connection.execute("SELECT up_to FROM rolled").fetchone()[0]
    cursor = _plain(connection)
    rows = cursor.execute(_TOTALS_OF_MINUTES, (first, min(last, done))).fetchall()
    rows += cursor.execute(_TOTALS_OF_SAMPLES, (max(first, done), last)).fetchall()
    return FleetSeries(*zip(*rows, strict=True)) if rows else FleetSeries()


def gpus_of(connection: sqlite3.Connection, host: str) -> list[str]:
    """UUIDs of all GPUs that a host has reported."""
    rows = connection.execute("SELECT uuid FROM gpus WHERE host = ? ORDER BY id", (host,))
    return [row[0] for row in rows]


def _minutes(step: int, which: str) -> str:
    if step == _MINUTE:
        return (
            f"SELECT t + 0.0, utilization / 10.0, memory * {_MEMORY}, memory_peak * {_MEMORY},"
            " power / 10.0, temperature, samples FROM gpu_minutes"
            f" WHERE {which} t >= ? AND t < ? ORDER BY t"
        )
    return _columns_of("gpu_minutes", step, which, percent="10.0", count="sum(samples)")


def _columns_of(table: str, step: int, which: str, *, percent: str, count: str) -> str:
    """The query that returns one row per step; `percent`: parts of a percent, and of a watt, in the
    table."""
    peak = "memory" if table == "gpu_samples" else "memory_peak"
    return (
        f"SELECT t / {step} * {step} + 0.0, avg(utilization) / {percent},"
        f" CAST(round(avg(memory)) AS INTEGER) * {_MEMORY}, max({peak}) * {_MEMORY},"
        f" avg(power) / {percent}, max(temperature), {count} FROM {table}"
        f" WHERE {which} t >= ? AND t < ? GROUP BY t / {step} ORDER BY 1"
    )


def samples(
    connection: sqlite3.Connection, gpu: GpuKey, since: float, until: float
) -> list[GpuSample]:
    """The samples of one GPU."""
    return [
        GpuSample(
            host=row[0],
            gpu=row[1],
            at=float(row[2]),
            utilization=row[3],
            memory_used=None if row[4] is None else row[4] * _MEMORY,
            power=row[5],
            temperature=row[6],
        )
        for row in connection.execute(_SAMPLES, (*gpu, math.floor(since), math.ceil(until)))
    ]


def prune(connection: sqlite3.Connection, samples_before: float, minutes_before: float) -> int:
    """Delete older rows, and samples only after they are averaged. Returns the number of deleted
    rows."""
    done: int = connection.execute("SELECT up_to FROM rolled").fetchone()[0]
    minutes = int(minutes_before)
    gone = connection.execute("DELETE FROM fleet_minutes WHERE t < ?", (minutes,)).rowcount
    for (gpu,) in connection.execute("SELECT id FROM gpus").fetchall():
        for table, before in (
            ("gpu_samples", min(done, int(samples_before))),
            ("gpu_minutes", minutes),
        ):
            gone += connection.execute(
                f"DELETE FROM {table} WHERE gpu = ? AND t < ?", (gpu, before)
            ).rowcount
    return gone


def _plain(connection: sqlite3.Connection) -> sqlite3.Cursor:
    """A cursor that returns tuples, which are faster to read."""
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor


def _series(rows: Sequence[tuple[float, ...]]) -> GpuSeries:
    return GpuSeries(*zip(*rows, strict=True)) if rows else GpuSeries()
