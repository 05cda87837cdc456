"""The search through all runs: one pass over the table, whatever is asked for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from hostler.decide.search import Condition, Order, Search
from hostler.model.records import RunSummary
from hostler.store.filters import Where, run_where
from hostler.store.summaries import summaries_of

_METRICS = "a.metrics"
if sqlite3.sqlite_version_info < (3, 42):  # which refuse the NaN and Infinity that Python writes
    for written, read in (
        (": NaN", ": null"),
        (": Infinity", ": 9e999"),
        (": -Infinity", ": -9e999"),
    ):
        _METRICS = f"replace({_METRICS}, '{written}', '{read}')"
# One pass over the attempts for each name: asking for every run by itself takes four times as long.
_METRIC = (
    f" LEFT JOIN (SELECT a.run_id AS id, json_extract({_METRICS}, ?) AS value, max(a.placed)"
    " FROM attempts a WHERE instr(a.metrics, ?) GROUP BY a.run_id) {0} ON {0}.id = runs.run_id"
)
"""The last value of a metric: of two stages that have one of this name, the later's."""

_USAGE = (
    "(SELECT sum(json_extract(a.usage, '$.{0}')) FROM attempts a"
    " WHERE a.run_id = runs.run_id AND a.usage <> '{{}}')"
)
_BEGUN = "(SELECT min(a.started_at) FROM attempts a WHERE a.run_id = runs.run_id)"
_COLUMNS = {
    "submitted": "submitted_at",
    "finished": "finished_at",
    "took": f"coalesce(finished_at, 1e300) - {_BEGUN}",
    "pipeline": "pipeline",
    "owner": "owner",
    "state": "coalesce(outcome, 'open')",
    "gpu_hours": _USAGE.format("gpu_seconds_allocated"),
    "energy": _USAGE.format("energy_wh"),
    "run": "run_id",
}
_TEXT_IN = ("run_id", "pipeline", "owner", "title", "params", "substr(source, 1, 1000)")
"""The source begins with its path and commit; the difference to it may be long."""


def search(
    connection: sqlite3.Connection, wanted: Search, limit: int, offset: int
) -> tuple[int, list[RunSummary]]:
    """How many runs match, and a page of them."""
    tables = _tables(wanted)
    joins = "".join(_METRIC.format(table) for table in tables.values())
    joined = [bound for name in tables for bound in (path(name), json.dumps(name))]
    where, values = _where(wanted, tables)
    order, ordered = _order(wanted.order, tables)
    found = connection.execute(
        f"SELECT number FROM runs{joins} WHERE {where} ORDER BY {order}, number DESC",
        (*joined, *values, *ordered),
    ).fetchall()
    return len(found), summaries_of(connection, [row[0] for row in found[offset : offset + limit]])


def _tables(wanted: Search) -> dict[str, str]:
    """Name of each metric that is needed -> the table that has its last values."""
    names = [condition.name for condition in wanted.metrics]
    if wanted.order.name not in _COLUMNS:
        names.append(wanted.order.name)
    return {name: f"m{index}" for index, name in enumerate(dict.fromkeys(names))}


def _where(wanted: Search, tables: Mapping[str, str]) -> Where:
    where, values = run_where(wanted.runs)
    parts = [where]
    for condition in wanted.params:
        part, bound = _compare(condition, "json_extract(params, ?)", [path(condition.name)])
        parts.append(part)
        values.extend(bound)
    for condition in wanted.metrics:
        part, bound = _compare(condition, f"{tables[condition.name]}.value", [])
        parts.append(part)
        values.extend(bound)
    if wanted.text:
        parts.append("(" + " OR ".join(f"instr(lower({c}), ?)" for c in _TEXT_IN) + ")")
        values.extend([wanted.text.lower()] * len(_TEXT_IN))
    return " AND ".join(parts), values


def _compare(condition: Condition, value: str, bound: list[object]) -> Where:
    """A number is compared as one, a word as it is written: each value is looked up once, since
    SQLite takes neither for the other."""
    number, operator = condition.number, condition.operator
    if operator in ("=", "!="):
        flags = {"true": 1, "false": 0}
        alike = flags.get(condition.value) if number is None else number
        word = "IN" if operator == "=" else "NOT IN"
        # Its own text twice where it is a word: a NULL in the list would make NOT IN unknown.
        second = condition.value if alike is None else alike
        return f"{value} {word} (?, ?)", [*bound, condition.value, second]
    if operator in ("<", "<="):
        return f"{value} {operator} ?", [*bound, number]
    # A word is more than any number to SQLite.
    return f"({value} {operator} ? AND {value} <= 9e999)", [*bound, number, *bound]


def _order(order: Order, tables: Mapping[str, str]) -> Where:
    """What a run does not have comes last, whichever way the rest is sorted."""
    way = "DESC" if order.descending else "ASC"
    column = _COLUMNS.get(order.name)
    if column is not None:
        return f"{column} {way} NULLS LAST", []
    metric = f"{tables[order.name]}.value"
    # Never one run by its metric and the next by its parameter: they need not be of one kind.
    given = "json_extract(params, ?)"
    value = f"CASE WHEN count({metric}) OVER () > 0 THEN {metric} ELSE {given} END"
    return f"{value} {way} NULLS LAST", [path(order.name)]


def path(name: str) -> str:
    """The JSON path of a member; names with quotation marks are refused where they are read."""
    return f'$."{name}"'
