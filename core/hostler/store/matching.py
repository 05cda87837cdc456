"""From a search to statements. Values are always bound, never part of the text. Pure.

The order in which tables are joined is written down (CROSS JOIN), as is which condition may not
choose the index (a unary plus): SQLite would have to guess how many runs match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hostler.decide.search import Condition, Search
from hostler.store.filters import Where, run_where
from hostler.store.search_index import METRIC, PARAM

COLUMNS = {
    "submitted": "submitted_at",
    "finished": "finished_at",
    "took": "coalesce(finished_at, 1e300) - started_at",
    "pipeline": "pipeline",
    "owner": "owner",
    "state": "coalesce(outcome, 'open')",
    "gpu_hours": "gpu_seconds",
    "energy": "energy_wh",
    "run": "run_id",
}
"""What runs are sorted by -> of which there is an index."""
_NEWEST = "submitted_at DESC, number DESC"


@dataclass(frozen=True, slots=True)
class _Value:
    """A parameter or metric that runs must have, in a range."""

    kind: int
    condition: Condition

    def where(self, table: str) -> Where:
        part, bound = _compare(self.condition, f"{table}.value")
        return f"{table}.kind = ? AND {table}.name = ? AND {part}", [
            self.kind, self.condition.name, *bound,
        ]  # fmt: skip


class Matching:
    """The statements of one search."""

    def __init__(self, wanted: Search) -> None:
        self.order = wanted.order
        self._wanted = wanted
        params = (_Value(PARAM, condition) for condition in wanted.params)
        metrics = (_Value(METRIC, condition) for condition in wanted.metrics)
        # What is equal first: fewer runs are mostly left to look at.
        self._values = sorted((*params, *metrics), key=lambda v: v.condition.operator != "=")
        self._where, self._bound = run_where(wanted.runs)
        self._way = "DESC" if wanted.order.descending else "ASC"

    def count(self) -> Where:
        """How many match."""
        tables, parts, bound = self._from_values()
        if not tables or self._where != "1":
            tables.append("runs")
            parts += ["runs.number = " + self._key(tables)] if len(tables) > 1 else []
            parts.append(self._where)
            bound += self._bound
        return f"SELECT count(*) FROM {_joined(tables)} WHERE {_all(parts)}", bound

    def collect(self, limit: int, offset: int) -> Where:
        """Number and count of those that match, for a page of them."""
        tables, parts, bound = self._from_values()
        tables.append("runs")
        parts += ["runs.number = " + self._key(tables)] if len(tables) > 1 else []
        parts.append(self._where)
        bound += self._bound
        column, joins, joined = self._sorting()
        found = (
            f"SELECT number, {column} AS sorted FROM {_joined(tables)}{joins} WHERE {_all(parts)}"
        )
        return (
            f"WITH found AS MATERIALIZED ({found})"
            " SELECT number, (SELECT count(*) FROM found) FROM found"
            f" ORDER BY sorted {self._way} NULLS LAST, number DESC LIMIT ? OFFSET ?",
            [*joined, *bound, limit, offset],
        )

    def walk(self, limit: int, offset: int) -> Where:
        """A page in the order of a column."""
        tables, parts, bound = self._from_runs()
        return (
            f"SELECT number FROM {_joined(tables)} WHERE {_all(parts)}"
            f" ORDER BY {COLUMNS[self.order.name]} {self._way} NULLS LAST, number DESC"
            " LIMIT ? OFFSET ?",
            [*bound, limit, offset],
        )

    def walk_values(self, kind: int, limit: int, offset: int) -> Where:
        """A page in the order of a metric or parameter, of the runs that have it."""
        where, bound = self._having(kind)
        return (
            f"SELECT s.run {where} ORDER BY s.value {self._way}, s.run DESC LIMIT ? OFFSET ?",
            [*bound, limit, offset],
        )

    def count_values(self, kind: int) -> Where:
        """How many match and have what is sorted by."""
        where, bound = self._having(kind)
        return f"SELECT count(*) {where}", bound

    def walk_without(self, kind: int, limit: int, offset: int) -> Where:
        """A page of the runs that do not have what is sorted by, the newest first."""
        tables, parts, bound = self._from_runs()
        parts.append(
            "NOT EXISTS (SELECT 1 FROM run_values s WHERE s.run = runs.number AND s.kind = ?"
            " AND s.name = ? AND s.value IS NOT NULL)"
        )
        return (
            f"SELECT number FROM {_joined(tables)} WHERE {_all(parts)}"
            f" ORDER BY {_NEWEST} LIMIT ? OFFSET ?",
            [*bound, kind, self.order.name, limit, offset],
        )

    def _from_values(self) -> tuple[list[str], list[str], list[object]]:
        """What leads to the runs without reading them, each next table found by the first."""
        tables, parts, bound = self._probes(self._values, None)
        if self._wanted.text:
            tables.append("run_words w")
            parts += [f"w.run = {self._key(tables)}"] if len(tables) > 1 else []
            parts.append("instr(w.words, ?)")
            bound.append(self._wanted.text.lower())
        return tables, parts, bound

    def _key(self, tables: Sequence[str]) -> str:
        return f"{tables[0].split()[-1]}.run"

    def _from_runs(self) -> tuple[list[str], list[str], list[object]]:
        """The runs in some order, each looked up by the values that it must have."""
        tables, parts, bound = self._probes(self._values, "runs.number")
        free = self.order.name == "submitted"  # of which filters have indexes of their own
        where, values = run_where(self._wanted.runs, chooses=free)
        return ["runs", *tables], [where, *parts], [*values, *bound]

    def _having(self, kind: int) -> Where:
        tables, parts = ["run_values s"], ["s.kind = ? AND s.name = ? AND s.value IS NOT NULL"]
        bound: list[object] = [kind, self.order.name]
        others = []
        for value in self._values:
            if (value.kind, value.condition.name) == (kind, self.order.name):
                part, more = _compare(value.condition, "s.value")
                parts.append(part)
                bound += more
            else:
                others.append(value)
        joined, wheres, values = self._probes(others, "s.run")
        tables, parts, bound = tables + joined, parts + wheres, bound + values
        if self._where != "1":
            tables.append("runs")
            parts += ["runs.number = s.run", run_where(self._wanted.runs, chooses=False)[0]]
            bound += self._bound
        return f"FROM {_joined(tables)} WHERE {_all(parts)}", bound

    def _probes(
        self, values: Sequence[_Value], key: str | None
    ) -> tuple[list[str], list[str], list[object]]:
        """A table for each value; all are of the run `key`, or of the first one's."""
        tables: list[str] = []
        parts: list[str] = []
        bound: list[object] = []
        for index, value in enumerate(values):
            tables.append(f"run_values v{index}")
            where, more = value.where(f"v{index}")
            parts.append(where)
            bound += more
            if key is not None:
                parts.append(f"v{index}.run = {key}")
            key = key or "v0.run"
        return tables, parts, bound

    def _sorting(self) -> tuple[str, str, list[object]]:
        """The column to sort what was collected by, and the tables it is in."""
        name = self.order.name
        if name in COLUMNS:
            return COLUMNS[name], "", []
        joins = "".join(
            f" LEFT JOIN run_values s{kind} ON s{kind}.run = runs.number AND s{kind}.kind = {kind}"
            f" AND s{kind}.name = ?"
            for kind in (PARAM, METRIC)
        )
        metric, param = f"s{METRIC}.value", f"s{PARAM}.value"
        column = f"CASE WHEN count({metric}) OVER () > 0 THEN {metric} ELSE {param} END"
        return column, joins, [name, name]


def _joined(tables: Sequence[str]) -> str:
    return " CROSS JOIN ".join(tables)


def _all(parts: Sequence[str]) -> str:
    return " AND ".join(parts) or "1"


def _compare(condition: Condition, value: str) -> Where:
    """A number is compared as one, a word as it is written: SQLite takes neither for the other."""
    number, operator = condition.number, condition.operator
    if operator in ("=", "!="):
        flags = {"true": 1, "false": 0}
        alike = flags.get(condition.value) if number is None else number
        word = "IN" if operator == "=" else "NOT IN"
        # Its own text twice where it is a word: a NULL in the list would make NOT IN unknown.
        second = condition.value if alike is None else alike
        return f"{value} {word} (?, ?)", [condition.value, second]
    if operator in ("<", "<="):
        return f"{value} {operator} ?", [number]
    # A word is more than any number to SQLite.
    return f"({value} {operator} ? AND {value} <= 9e999)", [number]
