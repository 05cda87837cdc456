"""The search through all runs: how many match, and a page of them.

What is asked for is never read of every run. A page is found in one of two ways: where many match,
runs are walked in the order that was asked for until the page is full, each looked up by what it
must be; where few match, these are collected and sorted.
"""

from __future__ import annotations

import sqlite3

from hostler.decide.search import Search
from hostler.model.records import RunSummary
from hostler.store.matching import COLUMNS, Matching
from hostler.store.search_index import METRIC, PARAM
from hostler.store.summaries import summaries_of

_WORTH = 2
"""How many runs can be walked past in the time in which one is collected and sorted, at least."""


def search(
    connection: sqlite3.Connection, wanted: Search, limit: int, offset: int
) -> tuple[int, list[RunSummary]]:
    """How many runs match, and a page of them."""
    matching = Matching(wanted)
    if wanted.text:
        total, numbers = _collected(connection, matching, limit, offset)
    else:
        total = _count(connection, matching)
        if offset >= total:
            numbers = []
        elif _is_walked(connection, total, limit + offset):
            numbers = _walked(connection, matching, limit, offset, total)
        else:
            _, numbers = _collected(connection, matching, limit, offset)
    return total, summaries_of(connection, numbers)


def _is_walked(connection: sqlite3.Connection, total: int, needed: int) -> bool:
    (known,) = connection.execute("SELECT count(*) FROM runs").fetchone()
    return bool(needed * known <= _WORTH * total * total)


def _count(connection: sqlite3.Connection, matching: Matching) -> int:
    return int(connection.execute(*matching.count()).fetchone()[0])


def _collected(
    connection: sqlite3.Connection, matching: Matching, limit: int, offset: int
) -> tuple[int, list[int]]:
    rows = connection.execute(*matching.collect(limit, offset)).fetchall()
    if not rows and offset:
        return _count(connection, matching), []
    return (rows[0][1] if rows else 0), [row[0] for row in rows]


def _walked(
    connection: sqlite3.Connection, matching: Matching, limit: int, offset: int, total: int
) -> list[int]:
    if matching.order.name in COLUMNS:
        return _numbers(connection, matching.walk(limit, offset))
    # Never one run by its metric and the next by its parameter: they need not be of one kind.
    has_metric = connection.execute(*matching.walk_values(METRIC, 1, 0)).fetchone() is not None
    kind = METRIC if has_metric else PARAM
    found = _numbers(connection, matching.walk_values(kind, limit, offset))
    if len(found) == limit:
        return found
    having = offset + len(found)
    if not found and offset:
        having = int(connection.execute(*matching.count_values(kind)).fetchone()[0])
    if having < total:
        rest = matching.walk_without(kind, limit - len(found), max(0, offset - having))
        found += _numbers(connection, rest)
    return found


def _numbers(connection: sqlite3.Connection, statement: tuple[str, list[object]]) -> list[int]:
    return [row[0] for row in connection.execute(*statement)]
