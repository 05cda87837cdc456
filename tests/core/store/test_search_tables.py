"""What runs are searched by is after every change what it would be if it were made anew; and a
search finds what looking at every run finds."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hostler.base.terms import COMPARISONS
from hostler.insight.search import COLUMNS, Condition, Order, Search
from hostler.model.records import RunFilter
from hostler.model.runs import Outcome, Phase, Run
from hostler.store import history, migrating, reads, writes
from hostler.store.migrations import STATE
from hostler.store.opening import open_for_writing
from tests.support.values import stored
from tests.support.worlds.random_history import DIGESTS, RandomHistory

STATES = ("open", "finished", *Outcome)
TABLES = ("run_values", "run_words", "run_outputs")
SUMS = "SELECT run_id, started_at, gpu_seconds, energy_wh FROM runs ORDER BY number"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "hostler.db"
    with closing(open_for_writing(path, STATE, synchronous="OFF", backups=False)) as connection:
        yield connection


def contents(db: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    found = {table: [tuple(r) for r in db.execute(f"SELECT * FROM {table}")] for table in TABLES}
    return {**found, "sums": [tuple(row) for row in db.execute(SUMS)]}


def made_anew(db: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    for table in TABLES:
        db.execute(f"DELETE FROM {table}")
    db.execute("UPDATE runs SET started_at = NULL, gpu_seconds = NULL, energy_wh = NULL")
    migrating.fill(db)
    return contents(db)


@pytest.mark.parametrize("seed", range(4))
def test_every_change_keeps_it_in_step(db: sqlite3.Connection, seed: int) -> None:
    made = RandomHistory(db, random.Random(seed))
    for _ in range(400):
        made.step()
    now = contents(db)
    assert all(now.values())
    assert now == made_anew(db)


def test_a_number_that_is_given_again_brings_nothing_of_the_run_before(
    db: sqlite3.Connection,
) -> None:
    for digest in DIGESTS[:2]:
        writes.create_run(db, stored.run("raaaaaa"), "", [])
        one = stored.attempt(gpus=(), phase=Phase.SUCCEEDED, outputs={"m": digest})
        writes.add_attempt(db, one, None, None)
        writes.change_attempt(db, one.attempt_id, {"outputs": {"m": DIGESTS[5]}}, None)
        writes.end_run(db, "raaaaaa", Outcome.SUCCEEDED, 9.0, None)
        assert [row[0] for row in db.execute("SELECT digest FROM run_outputs")] == [DIGESTS[5]]
        writes.delete_run(db, "raaaaaa")
        assert not any(rows for table, rows in contents(db).items() if table != "sums")


Value = float | int | str | bool | None


def last_metrics(run: Run) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for attempt in run.attempts:
        found |= attempt.metrics
    return {name: None if value != value else value for name, value in found.items()}


def holds(condition: Condition, value: Value) -> bool:
    if value is None:
        return False
    number, operator = condition.number, condition.operator
    if operator in ("=", "!="):
        flag = {"true": 1, "false": 0}.get(condition.value)
        alike = [condition.value, number if number is not None else flag]
        same = any(isinstance(value, str) is isinstance(a, str) and value == a for a in alike)
        return same is (operator == "=")
    if isinstance(value, str) or number is None:
        return False
    compared: dict[str, Callable[[Any], bool]] = {
        "<": number.__gt__, "<=": number.__ge__, ">": number.__lt__, ">=": number.__le__,
    }  # fmt: skip
    return compared[operator](float(value))


def sort_values(runs: list[Run], order: Order) -> list[Value]:
    """What each run is sorted by."""
    if order.name not in COLUMNS:
        metrics = [last_metrics(run).get(order.name) for run in runs]
        params: list[Value] = [run.params.get(order.name) for run in runs]
        return metrics if any(value is not None for value in metrics) else params
    return [column(run, order.name) for run in runs]


def column(run: Run, name: str) -> Value:
    begun = [a.started_at for a in run.attempts if a.started_at is not None]
    hours = [a.usage["gpu_seconds_allocated"] for a in run.attempts
             if "gpu_seconds_allocated" in a.usage]  # fmt: skip
    energy = [a.usage["energy_wh"] for a in run.attempts if "energy_wh" in a.usage]
    end = run.finished_at if run.finished_at is not None else 1e300
    return {
        "submitted": run.submitted_at,
        "finished": run.finished_at,
        "took": end - min(begun) if begun else None,
        "pipeline": run.pipeline,
        "owner": run.owner,
        "state": run.outcome.value if run.outcome else "open",
        "gpu_hours": sum(hours) if hours else None,
        "energy": sum(energy) if energy else None,
        "run": run.run_id,
    }[name]


def plainly(runs: list[Run], wanted: Search) -> list[str]:
    """The ids of all that match, in order; `runs` are the newest first."""
    only = wanted.runs
    matching = [
        run
        for run in runs
        if only.owner in (None, run.owner)
        and only.pipeline in (None, run.pipeline)
        and (only.since is None or run.submitted_at >= only.since)
        and is_in_state(run, only.state)
        and all(holds(c, run.params.get(c.name)) for c in wanted.params)
        and all(holds(c, last_metrics(run).get(c.name)) for c in wanted.metrics)
        and (not wanted.text or wanted.text.lower() in f"{run.title}\n{run.owner}".lower())
    ]
    values = sort_values(matching, wanted.order)
    pairs = [(v, run.run_id) for v, run in zip(values, matching, strict=True) if v is not None]
    # Numbers before words, as SQLite has it.
    pairs.sort(key=lambda p: (isinstance(p[0], str), p[0]), reverse=wanted.order.descending)
    without = [run.run_id for v, run in zip(values, matching, strict=True) if v is None]
    return [run_id for _, run_id in pairs] + without


def is_in_state(run: Run, state: str | None) -> bool:
    now = run.outcome.value if run.outcome else "open"
    return state in (None, now, "finished" if run.outcome else "open")


def random_search(chance: random.Random) -> Search:
    pick = chance.choice
    filters: dict[str, Any] = {"owner": pick(("ana", "bo")), "pipeline": pick(("digits", "audio")),
                               "state": pick(STATES), "since": 30.0}  # fmt: skip
    names = chance.sample(list(filters), pick((0, 0, 1, 2)))

    def conditions(known: tuple[str, ...], values: tuple[str, ...]) -> tuple[Condition, ...]:
        made = [
            Condition(pick(known), pick(COMPARISONS), pick(values))
            for _ in range(pick((0, 0, 1, 2)))
        ]
        return tuple(c for c in made if c.number is not None or c.operator in ("=", "!="))

    return Search(
        runs=RunFilter(**{name: filters[name] for name in names}),
        params=conditions(("lr", "n"), ("0.1", "1", "2", "warm", "true", "no")),
        metrics=conditions(("acc", "loss"), ("0.5", "1", "0.7")),
        text=pick((None, None, None, "größe", "bo", "%")),
        order=Order(pick((*COLUMNS, "acc", "loss", "lr", "n", "nothing")), pick((True, False))),
    )


_NEWEST = "SELECT run_id FROM runs ORDER BY submitted_at DESC, number DESC"


@pytest.mark.parametrize("few", [0, 10, 1000])
def test_a_search_finds_what_looking_at_every_run_finds(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    chance = random.Random(7)
    made = RandomHistory(db, chance)
    for _ in range(600):
        made.step()
    newest = [row[0] for row in db.execute(_NEWEST)]
    runs = sorted(reads.runs_needed_since(db, 0.0, ()), key=lambda run: newest.index(run.run_id))
    assert len(runs) > 40
    monkeypatch.setattr(history, "_FEW", few)
    for _ in range(400):
        wanted = random_search(chance)
        expected = plainly(runs, wanted)
        limit, offset = chance.choice((1, 5, 100)), chance.choice((0, 0, 3, 20))
        total, found = history.search(db, wanted, limit, offset)
        assert total == len(expected), wanted
        page = [summary.run_id for summary in found]
        assert page == expected[offset : offset + limit], wanted
