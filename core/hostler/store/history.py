"""The search through all runs: how many match, and a page of them.

No run is read but those of the page. Each condition gives the numbers of the runs that hold it, by
an index; what all of them give matches. The page is picked out of the numbers of all runs in the
order that is asked for, by an index too; where few match, these are sorted instead.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from hostler.insight.search import Search
from hostler.model.views.runs import RunRow
from hostler.store import run_search
from hostler.store.filters import Where
from hostler.store.search_tables import METRIC, PARAM
from hostler.store.summaries import summaries_of

_FEW = 1000
"""So many runs are sorted in the time in which the order of all is read, or less."""


def search(
    connection: sqlite3.Connection, wanted: Search, limit: int, offset: int
) -> tuple[int, list[RunRow]]:
    """How many runs match, and a page of them."""
    total, numbers = _find(connection, wanted, limit, offset)
    return total, summaries_of(connection, list(numbers))


def _find(
    connection: sqlite3.Connection, wanted: Search, limit: int, offset: int
) -> tuple[int, Iterable[int]]:
    alone = run_search.ordered_narrowing(wanted)
    if alone is not None:
        statement, bound = alone
        page = (f"{statement} LIMIT ? OFFSET ?", [*bound, limit, offset])
        return _count(connection, run_search.narrowing(wanted)[0]), _numbers(connection, page)
    members = _members(connection, wanted)
    if members is None:
        total = _count(connection, ("SELECT number FROM runs", []))
        found = _picked(connection, wanted, None)
    elif (total := len(members)) <= _FEW:
        few = run_search.few_in_order(wanted.order, json.dumps(list(members)))
        found = _numbers(connection, few)
    else:
        found = _picked(connection, wanted, members)
    return total, islice(found, offset, offset + limit) if offset < total else ()


def _members(connection: sqlite3.Connection, wanted: Search) -> Collection[int] | None:
    """The runs that match; None: all do."""
    members: set[int] | None = None
    for statement in run_search.narrowing(wanted):
        if members is None:
            members = set(_numbers(connection, statement))
        elif members:
            members = members.intersection(_numbers(connection, statement))
    return members


def _picked(
    connection: sqlite3.Connection, wanted: Search, members: Collection[int] | None
) -> Iterator[int]:
    """Those of all runs that match, in order, as they are asked for."""
    if wanted.order.name in run_search.COLUMNS:
        for statement in run_search.in_order(wanted.order):
            yield from _only(_numbers(connection, statement), members)
        return
    having: list[int] = []
    # Never one run by its metric and the next by its parameter: they need not be of one kind.
    for kind in (METRIC, PARAM):
        for number in _only(_numbers(connection, run_search.by_value(kind, wanted.order)), members):
            having.append(number)
            yield number
        if having:
            break
    there = set(having)
    newest = _only(_numbers(connection, next(run_search.in_order(Search().order))), members)
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
