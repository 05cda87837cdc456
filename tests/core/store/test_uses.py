"""Retention asks only about the files that are there, and about few of them; the plan is the one
that comes of looking at every run."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hostler.model.runs import Run
from hostler.store import reads, uses
from hostler.store.migrations import STATE
from hostler.store.opening import open_for_writing
from hostler.store.retention import Blob, GcPlan, RetentionLimits, RunUse, plan_gc
from tests.support.worlds.random_history import DIGESTS, RandomHistory

_UNKNOWN = "9" * 64


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "hostler.db"
    with closing(open_for_writing(path, STATE, synchronous="OFF", backups=False)) as connection:
        yield connection


def use_of(run: Run, artifacts: list[str], kept: set[str], sources_before: float) -> RunUse:
    made = [*run.attempts, *run.kept.values()]
    outputs = {digest for attempt in made for digest in attempt.outputs.values()} | {*artifacts}
    old = run.finished_at is not None and run.finished_at < sources_before
    return RunUse(run.run_id, run.finished_at, 7, None if old else run.source.digest,
                  tuple(sorted(outputs)), run.run_id in kept)  # fmt: skip


def plainly(db: sqlite3.Connection, limits: RetentionLimits, now: float, sources: float,
            kept: set[str], forgotten: set[str]) -> GcPlan:  # fmt: skip
    """By every run, and every blob."""
    every = reads.runs_needed_since(db, 0.0, ())
    runs = [run for run in every if run.run_id not in forgotten]
    made = {run.run_id: [a.digest for a in reads.artifacts(db, run.run_id)] for run in runs}
    found = [use_of(run, made[run.run_id], kept, sources) for run in runs]
    return plan_gc(found, {d: Blob(1, 0.0) for d in (*DIGESTS, _UNKNOWN)}, limits, now)


def as_the_daemon_does(db: sqlite3.Connection, limits: RetentionLimits, now: float, sources: float,
                       forgotten: set[str], history: float) -> GcPlan:  # fmt: skip
    """By what the database tells of files that are there."""
    logs = {row[0] for row in db.execute("SELECT run_id FROM runs")} | {"runknown"}
    old_logs = uses.old_logs(db, logs, now - (limits.logs_for or 0))
    outputs_before = max(now - (limits.outputs_for or 0), history)
    blobs = uses.old_blobs(db, {*DIGESTS, _UNKNOWN}, outputs_before, max(sources, history))
    found = [
        RunUse(use.run_id, use.finished_at, 7 if use.run_id in old_logs else 0,
               None if use.finished_at is not None and use.finished_at < sources else use.snapshot,
               use.outputs, use.is_kept)
        for use in uses.run_uses(db, now, old_logs, blobs)
        if use.run_id not in forgotten
    ]  # fmt: skip
    return plan_gc(found, {digest: Blob(1, 0.0) for digest in blobs}, limits, now)


@pytest.mark.parametrize("seed", range(6))
def test_the_plan_is_that_of_looking_at_every_run(db: sqlite3.Connection, seed: int) -> None:
    chance = random.Random(seed)
    made = RandomHistory(db, chance)
    plans = set()
    for _ in range(60):
        for _ in range(chance.choice((1, 3, 20))):
            made.step()
        now = chance.choice((202.0, 205.0, 208.0, 9000.0))
        limits = RetentionLimits(chance.choice((0.5, 3.0)), chance.choice((0.5, 2.0)), None, 1.0)
        sources = now - chance.choice((1.0, 4.0))
        kept = set(chance.sample(sorted(made.runs), min(2, len(made.runs))))
        db.executemany("INSERT INTO keeps VALUES (?, 'ana', 1.0, NULL)", [(one,) for one in kept])
        history = now - 2.5 if chance.random() < 0.3 else 0.0
        forgotten = {one for one in uses.ended_before(db, history) if one not in kept}
        expected = plainly(db, limits, now, sources, kept, forgotten)
        assert as_the_daemon_does(db, limits, now, sources, forgotten, history) == expected
        plans.add(expected)
        db.execute("DELETE FROM keeps")
    assert len(plans) > 3
