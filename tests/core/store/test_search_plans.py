"""No listing and no search reads every run, attempt or event, by the plans that SQLite makes."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from hostler.base.errors import NotFoundError
from hostler.insight.search import COLUMNS, Order, Search, read_conditions, read_order
from hostler.model.records import AttemptFilter, AuditFilter, RunFilter
from hostler.store import alerts, audit, filters, reads, uses
from hostler.store.history import summaries
from hostler.store.migrations import STATE
from hostler.store.opening import open_for_writing
from hostler.store.search_tables import METRIC, PARAM

_LARGE = {"runs", "attempts", "events", "artifacts", "run_values", "run_outputs", "run_texts",
          "stages", "audit"}  # fmt: skip
_SCAN = re.compile(r"SCAN (\w+)( USING (?:COVERING )?INDEX \w+)?")
_NEWEST = re.compile(r"FROM \w+( WHERE 1)? ORDER BY (seq|number) DESC LIMIT")
"""Row by row too, but no more than are asked for: the table itself has this order."""
_FILTERS: tuple[dict[str, Any], ...] = (
    {}, {"state": "failed"}, {"state": "open"}, {"state": "finished"}, {"pipeline": "a"},
    {"owner": "bo"}, {"since": 5.0}, {"until": 9.0}, {"owner": "bo", "state": "failed"},
)  # fmt: skip
_PARAMS = ((), ("lr=0.1",), ("lr>0.1", "n!=3"))
_METRICS = ((), ("acc>=0.5",), ("acc<0.5", "loss>1"))
_SORTS = (None, *COLUMNS, *(f"-{name}" for name in COLUMNS), "acc", "-lr")


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("plans") / "hostler.db"
    with closing(open_for_writing(path, STATE, synchronous="OFF", backups=False)) as connection:
        yield connection


def scans(db: sqlite3.Connection, statement: str, bound: Any) -> list[str]:
    """Large tables that are read row by row, in no order that an index gives."""
    if _NEWEST.search(statement):
        return []
    plan = [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", bound)]
    named = dict(re.findall(r"\b(?:FROM|JOIN) (\w+) (?:AS )?(\w+)", statement))
    tables = {alias: table for table, alias in named.items()}
    found = [match for line in plan for match in [_SCAN.match(line)] if match]
    return [
        f"{match.group(0)}: {statement}"
        for match in found
        if tables.get(match.group(1), match.group(1)) in _LARGE and not match.group(2)
    ]


def searches() -> Iterator[Search]:
    for given, params, metrics, sort in itertools.product(_FILTERS, _PARAMS, _METRICS, _SORTS):
        yield Search(
            runs=RunFilter(**given),
            params=read_conditions(params, numbers=False),
            metrics=read_conditions(metrics, numbers=True),
            order=read_order(sort),
        )


def test_no_search_reads_every_run(db: sqlite3.Connection) -> None:
    found: list[str] = []
    for wanted in searches():
        alone = filters.ordered_narrowing(wanted)
        statements = [*filters.narrowing(wanted), *([alone] if alone else [])]
        statements.append(filters.few_in_order(wanted.order, "[1]"))
        if wanted.order.name in COLUMNS:
            statements += filters.in_order(wanted.order)
        else:
            statements += [filters.by_value(kind, wanted.order) for kind in (PARAM, METRIC)]
        statements += [(f"SELECT count(*) FROM ({text})", bound) for text, bound in statements]
        found += [scan for statement in statements for scan in scans(db, *statement)]
    assert sorted(set(found)) == []


def test_no_order_is_made_by_sorting_all_runs(db: sqlite3.Connection) -> None:
    """But for those that are alike in it, and are next to each other."""
    for name in COLUMNS:
        for descending in (False, True):
            for statement, bound in filters.in_order(Order(name, descending)):
                plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", bound)]
                assert "USE TEMP B-TREE FOR ORDER BY" not in plan


Ask = Callable[[sqlite3.Connection], object]
_DIGESTS = ["a" * 64]
_ASKED: dict[str, Ask] = {
    "get_run": lambda db: with_nothing_found(lambda: reads.get_run(db, "raaa")),
    "resolve": lambda db: with_nothing_found(lambda: reads.resolve(db, "ra")),
    "pipeline_text": lambda db: with_nothing_found(lambda: reads.pipeline_text(db, "raaaaaa")),
    "open_runs": reads.open_runs,
    "runs_needed_since": lambda db: reads.runs_needed_since(db, 5.0, ["raaaaaa"]),
    "artifacts": lambda db: reads.artifacts(db, "raaaaaa"),
    "facts_of_attempt": lambda db: reads.facts_of_attempt(db, "raaaaaa-train-1"),
    "attempts": lambda db: reads.attempts(db, AttemptFilter(run_id="raaaaaa"), 10),
    "attempts of a host": lambda db: reads.attempts(db, AttemptFilter(host="gpu1"), 10),
    "is_over": lambda db: reads.is_over(db, "raaaaaa"),
    "events": lambda db: reads.events(db, 3, None, None, 10),
    "events of a run": lambda db: reads.events(db, 3, "raaaaaa", None, 10),
    "events of a host": lambda db: reads.events(db, 3, None, "gpu1", 10),
    "seq_before_last": lambda db: reads.seq_before_last(db, 10, None),
    "seq_before_last of a host": lambda db: reads.seq_before_last(db, 10, "gpu1"),
    "telling_events": lambda db: alerts.telling_events(db, 3, ["run.failed"], 10),
    "gpu_faults": alerts.gpu_faults,
    "run_uses": lambda db: uses.run_uses(db, 9.0, ["raaaaaa"], _DIGESTS),
    "old_logs": lambda db: uses.old_logs(db, ["raaaaaa"], 9.0),
    "old_blobs": lambda db: uses.old_blobs(db, _DIGESTS, 5.0, 6.0),
    "ended_before": lambda db: uses.ended_before(db, 9.0),
    "audit": lambda db: audit.audit(db, AuditFilter(), 10),
    "audit of a run": lambda db: audit.audit(db, AuditFilter(run="raaaaaa"), 10),
    "audit of a user": lambda db: audit.audit(db, AuditFilter(user="bo"), 10),
    "own audit": lambda db: audit.audit(db, AuditFilter(uid=1, user="bo", since=3.0), 10),
    "audit of a call": lambda db: audit.audit(db, AuditFilter(call="cancel"), 10),
    "audit since": lambda db: audit.audit(db, AuditFilter(since=3.0), 10),
    "was_removed": lambda db: audit.was_removed(db, "raaaaaa"),
}


def with_nothing_found(ask: Callable[[], object]) -> None:
    """In an empty database nothing is found; the statements were made."""
    with pytest.raises(NotFoundError):
        ask()


@pytest.mark.parametrize("name", _ASKED)
def test_nothing_that_is_asked_reads_every_row(db: sqlite3.Connection, name: str) -> None:
    assert traced_scans(db, _ASKED[name]) == []


@pytest.mark.parametrize("filters", _FILTERS, ids=str)
def test_no_list_of_runs_reads_every_run(db: sqlite3.Connection, filters: dict[str, Any]) -> None:
    assert traced_scans(db, lambda db: summaries(db, RunFilter(**filters), 10)) == []


def traced_scans(db: sqlite3.Connection, ask: Ask) -> list[str]:
    """Scans of the statements that a question makes, whatever values were bound."""
    made: list[str] = []
    db.set_trace_callback(made.append)
    try:
        ask(db)
    finally:
        db.set_trace_callback(None)
    assert made
    return [scan for statement in made for scan in scans(db, statement, ())]


def test_a_full_scan_would_be_noticed(db: sqlite3.Connection) -> None:
    assert scans(db, "SELECT * FROM runs r WHERE r.title = 'x'", ())
    assert scans(db, "SELECT * FROM attempts WHERE exit_code = 1", ())
