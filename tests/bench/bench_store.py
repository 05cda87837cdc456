"""The store: one transition, many at once, large runs, long lists, GPU history.

    python -m tests.bench.bench_store [FOLDER]

Bars, against plain sqlite3 on the same disk in the same run: a lone transition <= 2x; metrics of a
fleet >= 0.5x executemany with 400 rows a transaction (CPU, since other work on the machine disturbs
it less); a day's chart <= 3x its bare query (best of 50). And:
10,000 stages stored in <= 2 s, 1,000 runs of 10 stages listed in <= 0.25 s, <= 25 bytes a sample.
Exits 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from hostler.base.units import GIB
from hostler.model.records import GpuSample
from hostler.model.runs import Attempt, Outcome, Phase
from hostler.store.database import Store
from tests.support.values.stored import attempt, event, put_attempt, run, stage

_DAY = 86_400
_BEGIN = 1_700_006_400
_missed: list[str] = []


def _report(name: str, value: float, unit: str, bar: float, *, at_most: bool = True) -> None:
    held = value <= bar if at_most else value >= bar
    sign = "<=" if at_most else ">="
    print(f"{name:<44} {value:>10.3f} {unit:<10} bar {sign} {bar:g}  {'ok' if held else 'MISSED'}")
    if not held:
        _missed.append(name)


async def _best(work: Callable[[], Awaitable[object]], times: int = 9) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def _plain(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _floor(folder: Path) -> sqlite3.Connection:
    db = _plain(folder / "floor.db")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE a (id TEXT PRIMARY KEY, phase TEXT, detail TEXT)")
    db.execute("CREATE TABLE e (seq INTEGER PRIMARY KEY, at REAL, message TEXT)")
    db.execute("INSERT INTO a VALUES ('x', 'starting', '')")
    return db


def _floor_transition(db: sqlite3.Connection, number: int) -> float:
    """An update and an insert in one synced transaction, on the caller's thread."""
    begun = time.perf_counter()
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE a SET phase = ? WHERE id = 'x'", (str(number),))
    db.execute("INSERT INTO e (at, message) VALUES (?, ?)", (1.0, "it started"))
    db.execute("COMMIT")
    return time.perf_counter() - begun


async def _transitions(store: Store, folder: Path) -> None:
    await store.create_run(run("rlone00"), "", [])
    one = attempt("rlone00", gpus=())
    await store.add_attempt(one)
    ours, plain = [], []
    with closing(_floor(folder)) as db:
        for number in range(400):  # in turn: the disk is slow for both while others use it
            plain.append(_floor_transition(db, number))
            made = replace(one, launched_at=float(number))
            begun = time.perf_counter()
            await put_attempt(store, made, event("attempt.started"))
            ours.append(time.perf_counter() - begun)
    lone, floor = statistics.median(ours), statistics.median(plain)
    print(f"{'a transition alone':<44} {1e3 * lone:>10.3f} ms (plain sqlite3 {1e3 * floor:.3f} ms)")
    _report("a transition alone / plain sqlite3", lone / floor, "x", 2.0)
    count, commits = 5000, store._writer.commits
    begun = time.perf_counter()
    await asyncio.gather(
        *(put_attempt(store, replace(one, launched_at=float(n)), event()) for n in range(count))
    )
    took = time.perf_counter() - begun
    print(f"{count} at once: {store._writer.commits - commits} commits")
    _report("transitions a second, all at once", count / took, "/s", 2 / lone, at_most=False)


async def _runs(store: Store) -> None:
    stages = tuple(stage(f"s{number}", cell={"shard": number}) for number in range(10_000))
    begun = time.perf_counter()
    await store.create_run(run("rlarge0", stages=stages), "text", [])
    _report("a run of 10,000 stages stored", time.perf_counter() - begun, "s", 2.0)
    begun = time.perf_counter()
    assert len((await store.get_run("rlarge0")).stages) == 10_000
    print(f"{'the same read back':<44} {time.perf_counter() - begun:>10.3f} s")
    ten = tuple(stage(f"s{number}") for number in range(10))
    await asyncio.gather(*(_whole_run(store, f"r{number:06}", ten) for number in range(1000)))
    listed = await _best(lambda: store.list_runs(limit=1000))
    _report("1,000 runs of 10 stages listed", listed, "s", 0.25)


async def _whole_run(store: Store, run_id: str, stages: tuple[object, ...]) -> None:
    made = run(run_id, stages=stages, submitted_at=200.0)
    await store.create_run(made, "text", [])

    async def one(name: str) -> None:
        placed = attempt(run_id, name, gpus=(), usage={"gpu_seconds_allocated": 1.0})
        await store.add_attempt(placed)
        done: Attempt = replace(placed, phase=Phase.SUCCEEDED, metrics={"loss": 1.0})
        await put_attempt(store, done)

    await asyncio.gather(*(one(f"s{number}") for number in range(len(stages))))
    await store.end_run(run_id, Outcome.SUCCEEDED, 300.0)


async def _inserts(store: Store, folder: Path) -> None:
    ticks = 150

    def samples(tick: int) -> list[GpuSample]:
        at = float(_BEGIN - 7200 + 2 * tick)
        return [GpuSample("h", f"F{n}", at, n % 100, n * 10**8, 200, 60) for n in range(400)]

    made = [samples(tick) for tick in range(ticks)]
    ours = []
    for each in made:
        begun = time.process_time()
        await store.metrics.add_gpu_samples(each)
        ours.append(time.process_time() - begun)
    floor = _floor_inserts(folder, ticks)
    cost = statistics.median(ours)
    print(
        f"{'a tick of 400 GPUs':<44} {1e3 * cost:>10.3f} ms of CPU (executemany {1e3 * floor:.3f})"
    )
    _report("executemany of 400 rows / a tick, CPU", floor / cost, "x", 0.5, at_most=False)


def _floor_inserts(folder: Path, ticks: int) -> float:
    with closing(_plain(folder / "floor-metrics.db")) as db:
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(
            "CREATE TABLE m (g INTEGER, t INTEGER, a INTEGER, b INTEGER, c INTEGER, d INTEGER,"
            " PRIMARY KEY (g, t)) WITHOUT ROWID"
        )
        taken = []
        for tick in range(ticks):
            rows = [(n, 2 * tick, n % 100, n * 95, 200, 60) for n in range(400)]
            begun = time.process_time()
            db.execute("BEGIN")
            db.executemany("INSERT INTO m VALUES (?, ?, ?, ?, ?, ?)", rows)
            db.execute("COMMIT")
            taken.append(time.process_time() - begun)
    return statistics.median(taken)


def _fill_day(path: Path) -> float:
    """A day of 10 GPUs every 2 s, tick by tick; bytes a sample on disk."""
    with closing(_plain(path)) as db:
        db.execute("VACUUM")
        before = path.stat().st_size
        db.execute("BEGIN")
        gpus = range(1000, 1010)
        db.executemany("INSERT INTO gpus VALUES (?, ?, 'h')", [(g, f"GPU-{g}") for g in gpus])
        db.executemany(
            "INSERT INTO gpu_samples VALUES (?, ?, ?, ?, ?, ?)",
            (
                (gpu, t, t % 101, 7500 + t % 99, 200 + t % 200, 60)
                for t in range(_BEGIN, _BEGIN + _DAY, 2)
                for gpu in gpus
            ),
        )
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return (path.stat().st_size - before) / (10 * _DAY / 2)


async def _charts(folder: Path) -> None:
    _report("bytes a sample", await asyncio.to_thread(_fill_day, folder / "metrics.db"), "B", 25.0)
    store = await Store.open(folder)
    begun = time.perf_counter()
    await store.metrics.add_gpu_samples([GpuSample("h", "GPU-x", _BEGIN + _DAY + 30.0, 1, GIB)])
    print(f"{'a missed day of 10 GPUs rolled up':<44} {time.perf_counter() - begun:>10.3f} s")
    since, until = float(_BEGIN), float(_BEGIN + _DAY)
    read = partial(store.metrics.gpu_series_of, "h", ["GPU-1003"], since, until, 300)
    assert len((await read())["GPU-1003"].at) == _DAY // 300
    chart = await _best(read, 50)
    with closing(_plain(folder / "metrics.db")) as db:

        async def bare() -> None:
            db.execute(
                "SELECT t, utilization FROM gpu_minutes WHERE gpu = 1003 AND t >= ? AND t < ?",
                (_BEGIN, _BEGIN + _DAY),
            ).fetchall()

        floor = await _best(bare, 50)
    print(f"{'chart of a day':<44} {1e3 * chart:>10.3f} ms (bare query {1e3 * floor:.3f} ms)")
    _report("chart of a day, all columns / bare query", chart / floor, "x", 3.0)
    await store.close()


async def _main(folder: Path) -> int:
    store = await Store.open(folder)
    try:
        await _transitions(store, folder)
        await _runs(store)
        await _inserts(store, folder)
    finally:
        await store.close()
    begun = time.perf_counter()
    store = await Store.open(folder)
    print(f"{'opening it again, with check and backup':<44} {time.perf_counter() - begun:>10.3f} s")
    await store.close()
    await _charts(folder)
    return 1 if _missed else 0


if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=where) as name:
        sys.exit(asyncio.run(_main(Path(name) / "state")))
