"""The list of past runs and their search: the number of matches, and one page of rows.

Only the runs of the page are read. Each condition returns the numbers of matching runs from an
index; a run matches if all conditions return it. An index also gives the numbers of all runs in the
requested order, from which the page is taken. If only a few runs match, these are sorted instead.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from hostler.insight.search import Search
from hostler.model.records import RunFilter
from hostler.model.views.runs import RunRow
from hostler.store import filters
from hostler.store.filters import Where, run_where
from hostler.store.search_tables import METRIC, PARAM

_FEW = 1000
"""Sorting this many runs takes no longer than reading the order of all runs."""

_CHUNK = 500
_COLUMNS = (
    "run_id, pipeline, owner, uid, submitted_at, title, params, source, priority, retry_of,"
    " cancelled_by, outcome, finished_at, stage_count"
)


def search(
    connection: sqlite3.Connection, wanted: Search, limit: int, offset: int
) -> tuple[int, list[RunRow]]:
    """The number of matching runs, and a page of them."""
    total, numbers = _find(connection, wanted, limit, offset)
    return total, summaries_of(connection, list(numbers))


def _find(
    connection: sqlite3.Connection, wanted: Search, limit: int, offset: int
) -> tuple[int, Iterable[int]]:
    alone = filters.ordered_narrowing(wanted)
    if alone is not None:
        statement, bound = alone
        page = (f"{statement} LIMIT ? OFFSET ?", [*bound, limit, offset])
        return _count(connection, filters.narrowing(wanted)[0]), _numbers(connection, page)
    members = _members(connection, wanted)
    if members is None:
        total = _count(connection, ("SELECT number FROM runs", []))
        found = _picked(connection, wanted, None)
    elif (total := len(members)) <= _FEW:
        few = filters.few_in_order(wanted.order, json.dumps(list(members)))
        found = _numbers(connection, few)
    else:
        found = _picked(connection, wanted, members)
    return total, islice(found, offset, offset + limit) if offset < total else ()


def _members(connection: sqlite3.Connection, wanted: Search) -> Collection[int] | None:
    """The matching runs; None: all runs match."""
    members: set[int] | None = None
    for statement in filters.narrowing(wanted):
        if members is None:
            members = set(_numbers(connection, statement))
        elif members:
            members = members.intersection(_numbers(connection, statement))
    return members


def _picked(
    connection: sqlite3.Connection, wanted: Search, members: Collection[int] | None
) -> Iterator[int]:
    """The matching runs in the requested order, read as the caller needs them."""
    if wanted.order.name in filters.COLUMNS:
        for statement in filters.in_order(wanted.order):
            yield from _only(_numbers(connection, statement), members)
        return
    having: list[int] = []
    # If a metric and a parameter share a name, the metric is used for all runs: their values may
    # not be comparable.
    for kind in (METRIC, PARAM):
        for number in _only(_numbers(connection, filters.by_value(kind, wanted.order)), members):
            having.append(number)
            yield number
        if having:
            break
    there = set(having)
    newest = _only(_numbers(connection, next(filters.in_order(Search().order))), members)
    yield from (number for number in newest if number not in there)


def _only(numbers: Iterator[int], members: Collection[int] | None) -> Iterator[int]:
    return numbers if members is None else (number for number in numbers if number in members)


def _count(connection: sqlite3.Connection, statement: Where) -> int:
    text, bound = statement
    return int(connection.execute(f"SELECT count(*) FROM ({text})", bound).fetchone()[0])


def _numbers(connection: sqlite3.Connection, statement: Where) -> Iterator[int]:
    cursor = connection.cursor()
    cursor.row_factory = None
    return (row[0] for row in cursor.execute(*statement))


def summaries(connection: sqlite3.Connection, wanted: RunFilter, limit: int) -> list[RunRow]:
    """Matching runs, newest first."""
    where, values = run_where(wanted)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM runs WHERE {where}"
        " ORDER BY submitted_at DESC, number DESC LIMIT ?",
        (*values, limit),
    ).fetchall()
    return _summaries(connection, rows)


def summaries_of(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[RunRow]:
    """The runs with these numbers, in this order."""
    found: dict[int, sqlite3.Row] = {}
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        query = f"SELECT number, {_COLUMNS} FROM runs WHERE number IN ({marks})"
        found |= {row["number"]: row for row in connection.execute(query, chunk)}
    return _summaries(connection, [found[number] for number in numbers])


def _summaries(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[RunRow]:
    tried = _attempts(connection, [row["run_id"] for row in rows])
    return [_summary(row, tried[row["run_id"]]) for row in rows]


def _attempts(
    connection: sqlite3.Connection, run_ids: Sequence[str]
) -> defaultdict[str, list[sqlite3.Row]]:
    found: defaultdict[str, list[sqlite3.Row]] = defaultdict(list)
    for start in range(0, len(run_ids), _CHUNK):
        chunk = run_ids[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        for row in connection.execute(
            "SELECT run_id, stage, number, phase, host, cause, started_at, finished_at, metrics,"
            f" usage FROM attempts WHERE run_id IN ({marks}) ORDER BY placed",
            chunk,
        ):
            found[row["run_id"]].append(row)
    return found


def _summary(row: sqlite3.Row, attempts: Sequence[sqlite3.Row]) -> RunRow:
    source = json.loads(row["source"])
    newest = {a["stage"]: a for a in sorted(attempts, key=lambda a: a["number"])}
    metrics: dict[str, float] = {}
    gpu_seconds = 0.0
    energies = []
    begun = [attempt["started_at"] for attempt in attempts if attempt["started_at"] is not None]
    failed = _failed(list(newest.values()))
    for attempt in attempts:
        if attempt["metrics"] != "{}":
            metrics |= json.loads(attempt["metrics"])
        if attempt["usage"] != "{}":
            usage = json.loads(attempt["usage"])
            gpu_seconds += usage.get("gpu_seconds_allocated", 0.0)
            energies += [usage["energy_wh"]] if "energy_wh" in usage else []
    return RunRow(
        run_id=row["run_id"],
        pipeline=row["pipeline"],
        owner=row["owner"],
        uid=row["uid"],
        submitted_at=row["submitted_at"],
        title=row["title"],
        params=json.loads(row["params"]),
        git_commit=source["git_commit"],
        git_branch=source["git_branch"],
        git_dirty=source["git_dirty"],
        priority=row["priority"],
        retry_of=row["retry_of"],
        cancelled_by=row["cancelled_by"],
        outcome=row["outcome"],
        finished_at=row["finished_at"],
        stage_count=row["stage_count"],
        phases=dict(Counter(attempt["phase"] for attempt in newest.values())),
        hosts=tuple(sorted({attempt["host"] for attempt in attempts})),
        gpu_seconds=gpu_seconds,
        metrics=metrics,
        cause=f"{failed['stage']}: {failed['cause']}" if failed else None,
        failed_stage=failed["stage"] if failed else None,
        started_at=min(begun, default=None),
        energy_wh=sum(energies) if energies else None,
        state=row["outcome"] or ("running" if newest else "waiting"),
    )


def _failed(newest: Sequence[sqlite3.Row]) -> sqlite3.Row | None:
    """The failed attempt that ended last."""
    ended = [a for a in newest if a["cause"] is not None and a["phase"] in ("failed", "lost")]
    return max(ended, key=lambda attempt: attempt["finished_at"] or 0.0, default=None)
