"""A database of before gets what runs are searched by, and loses nothing."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.insight.search import Search, read_conditions, read_order
from hostler.model.pipelines import Scalar
from hostler.model.runs import Attempt, Outcome, Phase, Run, Source
from hostler.store import migrating, run_texts
from hostler.store.database import Store
from hostler.store.migrations import STATE
from hostler.store.opening import open_for_writing
from hostler.store.rows import attempt_values, dump, run_values
from hostler.store.schema import Schema
from tests.support.values import stored

BEFORE = Schema("hostler", STATE.steps[: [s.__name__ for s in STATE.steps].index("m0007_history")])
DIGESTS = [letter * 64 for letter in "abcdef"]


def insert(db: sqlite3.Connection, table: str, values: Mapping[str, object]) -> int:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"
    return db.execute(statement, tuple(values.values())).lastrowid or 0


def write(db: sqlite3.Connection, run: Run, text: str) -> None:
    """As a version without that step did."""
    more = {"source": dump(run.source), "env": dump(run.env), "pipeline_text": text}
    known = {row["name"] for row in db.execute("PRAGMA table_info(runs)")}
    values = {name: value for name, value in run_values(run).items() if name in known}
    number = insert(db, "runs", {**values, **more})
    for position, stage in enumerate(run.stages):
        kind = stage.kind
        insert(db, "stages", {"run": number, "position": position, "name": stage.name,
                              "kind": kind, "spec": dump(stage)})  # fmt: skip
    known = {row["name"] for row in db.execute("PRAGMA table_info(attempts)")}
    for attempt in run.attempts:
        values = {name: v for name, v in attempt_values(attempt).items() if name in known}
        insert(db, "attempts", values)


def made(number: int) -> Run:
    run_id = f"r{number:03}aaa"
    params: dict[str, Scalar] = {
        "lr": number / 10,
        "model": f"m{number % 3}",
        "amp": number % 2 == 0,
    }
    first = stored.attempt(run_id, "a", gpus=(), phase=Phase.FAILED, started_at=110.0 + number,
                           metrics={"acc": 0.9, "loss": math.nan},
                           usage={"gpu_seconds_allocated": 8.0, "energy_wh": 1.0})  # fmt: skip
    second = stored.attempt(run_id, "a", 2, gpus=(), phase=Phase.SUCCEEDED, started_at=120.0,
                            metrics={"acc": number / 100, "loss": math.inf},
                            outputs={"model": DIGESTS[number % 3]},
                            usage={"gpu_seconds_allocated": 4.0 * number})  # fmt: skip
    attempts: tuple[Attempt, ...] = (first, second) if number % 4 else ()
    return stored.run(
        run_id,
        submitted_at=100.0 + number,
        owner="bo" if number % 2 else "ana",
        title=f"Größe {number}",
        file="pipeline.toml",
        stages=tuple(stored.stage(name) for name in ("a", "b", "c")),
        params=params,
        env={"PATH": f"/usr/bin:/home/{number}"},
        source=Source(digest=DIGESTS[3], path="/home/ana", git_commit="c0ffee", git_diff="+x\n\n"),
        attempts=attempts,
        kept={"b": replace(second, stage="b", outputs={"model": DIGESTS[4]})}
        if number == 7
        else {},
        outcome=Outcome.SUCCEEDED if number % 5 else None,
        finished_at=300.0 + number if number % 5 else None,
    )


RUNS = [made(number) for number in range(60)]


def old_folder(folder: Path) -> None:
    path = folder / "hostler.db"
    with closing(open_for_writing(path, BEFORE, synchronous="OFF", backups=False)) as db:
        for run in RUNS:
            write(db, run, f"name = {run.run_id}\n")


async def look(store: Store) -> dict[str, object]:
    """What can be asked, of all kinds."""
    found: dict[str, object] = {run.run_id: await store.get_run(run.run_id) for run in RUNS}
    found["texts"] = [await store.pipeline_text(run.run_id) for run in RUNS]
    found["uses"] = sorted(map(repr, await store.run_uses(0.0, ["r009aaa"], DIGESTS)))
    found["open"] = await store.open_runs()
    for name in ("-acc", "lr", "took", "-gpu_hours", "energy", "state"):
        found[name] = await store.search_runs(Search(order=read_order(name)), 100, 0)
    for metrics, params in (("acc>=0.3", "lr<5"), ("acc<0.5", "model!=m1"), ("loss>1", "amp=true")):
        wanted = Search(
            metrics=read_conditions([metrics], numbers=True),
            params=read_conditions([params], numbers=False),
        )
        found[metrics] = await store.search_runs(wanted, 100, 0)
    for text in ("größe 3", "c0ffee", '"lr":0.3', "no such"):
        found[text] = await store.search_runs(Search(text=text), 100, 0)
    return found


async def anew(folder: Path) -> dict[str, object]:
    """The same runs, written by this version."""
    store = await Store.open(folder)
    for run in RUNS:
        fresh = replace(run, attempts=(), outcome=None, finished_at=None)
        await store.create_run(fresh, f"name = {run.run_id}\n", [])
        for attempt in run.attempts:
            await store.add_attempt(replace(attempt, phase=Phase.STARTING, metrics={}, usage={},
                                            outputs={}, cause=None, started_at=None))  # fmt: skip
            await stored.put_attempt(store, attempt)
        if run.outcome is not None:
            await store.end_run(run.run_id, run.outcome, run.finished_at or 0.0)
    found = await look(store)
    await store.close()
    return found


async def test_a_history_of_before_is_as_if_this_version_had_written_it(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old_folder(tmp_path / "old")
    expected = await anew(tmp_path / "new")
    store = await Store.open(tmp_path / "old")
    async with asyncio.timeout(60):
        found = await look(store)
        assert repr(found) == repr(expected)  # NaN equals nothing
        assert [repr(found[run.run_id]) for run in RUNS] == [repr(run) for run in RUNS]
        while await store._readers.run(run_texts.are_unpacked):
            await asyncio.sleep(0.01)
        assert repr(await look(store)) == repr(expected)
    await store.close()
    with closing(sqlite3.connect(tmp_path / "old" / "hostler.db")) as db:
        left = (
            "SELECT count(*) FROM runs"
            " WHERE pipeline_text <> '' OR instr(source, '+x') OR env <> ''"
        )
        assert db.execute(left).fetchone() == (0,)


async def test_the_log_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old_folder(tmp_path)
    monkeypatch.setattr(migrating, "_EVERY", 25)
    with caplog.at_level("INFO", "hostler.store"):
        await (await Store.open(tmp_path)).close()
    said = [record.getMessage() for record in caplog.records]
    assert said[:3] == [
        "hostler.db is copied to backups, then upgraded",
        "upgrading the history: 25 of 60 runs",
        "upgrading the history: 50 of 60 runs",
    ]


async def test_packing_goes_on_after_a_stop(tmp_path: Path) -> None:
    old_folder(tmp_path)
    store = await Store.open(tmp_path)
    await store.close()
    again = await Store.open(tmp_path)
    async with asyncio.timeout(60):
        while await again._readers.run(run_texts.are_unpacked):
            await asyncio.sleep(0.01)
    assert repr(await again.get_run(RUNS[9].run_id)) == repr(RUNS[9])
    await again.close()
