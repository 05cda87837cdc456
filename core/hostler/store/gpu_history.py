"""Samples of GPUs and their roll-ups by the minute, as statements on a connection."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence

from hostler.model.records import GpuPoint, GpuSample
from hostler.units import MIB

Row = tuple[str, str, int, int | None, int | None, int | None, int | None]

_MINUTE = 60
_LATE_S = 10
"""Hosts of one tick are not looked at in the same second: a minute is closed a little later."""

_ROLL_UP = """
INSERT OR REPLACE INTO gpu_minutes
SELECT gpus.id, s.t / 60 * 60, count(*), round(avg(s.utilization) * 10), round(avg(s.memory)),
       max(s.memory), round(avg(s.power) * 10), max(s.temperature)
FROM gpus CROSS JOIN gpu_samples s ON s.gpu = gpus.id AND s.t >= ? AND s.t < ?
GROUP BY gpus.id, s.t / 60
"""
# avg and round give REAL; STRICT columns take 12.0 for an INTEGER, so nothing has to be cast.

_MINUTES = """
SELECT m.t, m.utilization / 10.0, m.memory, m.memory_peak, m.power / 10.0, m.temperature, m.samples
FROM gpus JOIN gpu_minutes m ON m.gpu = gpus.id
WHERE gpus.uuid = ? AND m.t >= ? AND m.t < ? ORDER BY m.t
"""
_RUNNING_MINUTES = """
SELECT s.t / 60 * 60, avg(s.utilization), avg(s.memory), max(s.memory), avg(s.power),
       max(s.temperature), count(*)
FROM gpus JOIN gpu_samples s ON s.gpu = gpus.id
WHERE gpus.uuid = ? AND s.t >= ? AND s.t < ? GROUP BY s.t / 60 ORDER BY 1
"""
_FLEET = """
SELECT t, avg(utilization) / 10.0, avg(memory), max(memory_peak), avg(power) / 10.0,
       max(temperature), count(*)
FROM gpu_minutes WHERE t >= ? AND t < ? GROUP BY t ORDER BY t
"""
_SAMPLES = """
SELECT gpus.host, gpus.uuid, s.t, s.utilization, s.memory, s.power, s.temperature
FROM gpus JOIN gpu_samples s ON s.gpu = gpus.id
WHERE gpus.uuid = ? AND s.t >= ? AND s.t < ? ORDER BY s.t
"""


def encode(samples: Sequence[GpuSample]) -> list[Row]:
    """Whole numbers in the units of the table."""
    return [
        (
            sample.host,
            sample.gpu,
            int(sample.at),
            _whole(sample.utilization),
            None if sample.memory_used is None else sample.memory_used // MIB,
            _whole(sample.power),
            _whole(sample.temperature),
        )
        for sample in samples
    ]


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Write rows, and roll up every minute that is over. Not empty."""
    ids: dict[str, int] = dict(connection.execute("SELECT uuid, id FROM gpus").fetchall())
    for row in rows:
        if row[1] not in ids:
            made = connection.execute("INSERT INTO gpus (uuid, host) VALUES (?, ?)", row[1::-1])
            ids[row[1]] = made.lastrowid or 0
    connection.executemany(
        "INSERT OR REPLACE INTO gpu_samples VALUES (?, ?, ?, ?, ?, ?)",
        [(ids[row[1]], *row[2:]) for row in rows],
    )
    over = (max(row[2] for row in rows) - _LATE_S) // _MINUTE * _MINUTE
    done: int = connection.execute("SELECT up_to FROM rolled").fetchone()[0]
    if over > done:
        connection.execute(_ROLL_UP, (done, over))
        connection.execute("UPDATE rolled SET up_to = ?", (over,))


def series(connection: sqlite3.Connection, gpu: str, since: float, until: float) -> list[GpuPoint]:
    """Rolled-up minutes, and those not rolled up yet from the samples."""
    first, last = int(since) // _MINUTE * _MINUTE, math.ceil(until)
    done: int = connection.execute("SELECT up_to FROM rolled").fetchone()[0]
    points = [_point(row) for row in connection.execute(_MINUTES, (gpu, first, min(last, done)))]
    if last > done:
        rows = connection.execute(_RUNNING_MINUTES, (gpu, max(first, done), last))
        points.extend(_point(row) for row in rows)
    return points


def fleet(connection: sqlite3.Connection, since: float, until: float) -> list[GpuPoint]:
    """The mean over all GPUs of each rolled-up minute."""
    first = int(since) // _MINUTE * _MINUTE
    return [_point(row) for row in connection.execute(_FLEET, (first, math.ceil(until)))]


def samples(
    connection: sqlite3.Connection, gpu: str, since: float, until: float
) -> list[GpuSample]:
    """The samples of one GPU."""
    return [
        GpuSample(
            host=row[0],
            gpu=row[1],
            at=float(row[2]),
            utilization=row[3],
            memory_used=None if row[4] is None else row[4] * MIB,
            power=row[5],
            temperature=row[6],
        )
        for row in connection.execute(_SAMPLES, (gpu, math.floor(since), math.ceil(until)))
    ]


def prune(connection: sqlite3.Connection, samples_before: float, minutes_before: float) -> int:
    """Delete what is older; samples only where they are rolled up. How many rows went."""
    done: int = connection.execute("SELECT up_to FROM rolled").fetchone()[0]
    gone = 0
    for (gpu,) in connection.execute("SELECT id FROM gpus").fetchall():
        for table, before in (
            ("gpu_samples", min(done, int(samples_before))),
            ("gpu_minutes", int(minutes_before)),
        ):
            gone += connection.execute(
                f"DELETE FROM {table} WHERE gpu = ? AND t < ?",
                (gpu, before),
            ).rowcount
    return gone


def _point(row: sqlite3.Row) -> GpuPoint:
    at, utilization, memory, peak, power, temperature, count = tuple(row)
    return GpuPoint(
        at=float(at),
        utilization=utilization,
        memory_used=None if memory is None else int(memory) * MIB,
        memory_peak=None if peak is None else int(peak) * MIB,
        power=power,
        temperature=temperature,
        samples=count,
    )


def _whole(value: float | None) -> int | None:
    return round(value) if value is not None and math.isfinite(value) else None
