"""SQL for filters and search of runs: WHERE clauses, and the SQL of each sort column. Each
statement reads one index and no rows. Values are always bound, never part of the text. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hostler.base.errors import InputError
from hostler.base.terms import read_number
from hostler.insight.search import Condition, Order, Search
from hostler.model.pipelines import Scalar
from hostler.model.records import AttemptFilter, RunFilter
from hostler.model.runs import Outcome
from hostler.store.search_tables import METRIC, PARAM

Where = tuple[str, list[object]]

_NUMBER = "number DESC"
_NEWEST = f"submitted_at DESC, {_NUMBER}"
COLUMNS = {
    "submitted": ("submitted_at", _NUMBER),
    "finished": ("finished_at", _NUMBER),
    "took": ("coalesce(finished_at, 1e300) - started_at", _NUMBER),
    "pipeline": ("pipeline", _NEWEST),
    "owner": ("owner", _NEWEST),
    "state": ("coalesce(outcome, 'open')", _NEWEST),
    "gpu_hours": ("gpu_seconds", _NUMBER),
    "energy": ("energy_wh", _NUMBER),
    "run": ("run_id", _NUMBER),
}
"""Sort column -> its SQL, for which an index exists, and the order of runs with equal values. Where
many runs have equal values, that order uses further columns of the same index."""
_NEVER_NULL = ("submitted", "pipeline", "owner", "state", "run")


def run_where(wanted: RunFilter) -> Where:
    """The condition on `runs`. Raises InputError for a state that does not exist."""
    parts: list[str] = []
    values: list[object] = []
    if wanted.state is not None:
        parts.append(_state(wanted.state))
        values.extend([wanted.state] if wanted.state in set(Outcome) else [])
    for column, value in (
        ("pipeline = ?", wanted.pipeline),
        ("owner = ?", wanted.owner),
        ("submitted_at >= ?", wanted.since),
        ("submitted_at < ?", wanted.until),
        (_has_attempt("host = ?"), wanted.host),
        (_has_attempt("exit_code = ?"), wanted.exit_code),
    ):
        if value is not None:
            parts.append(column)
            values.append(value)
    if not wanted.releases:
        parts.append("run_id NOT IN (SELECT run_id FROM releases)")
    for name, scalar in wanted.params.items():
        part, bound = _param(name, scalar)
        parts.append(part)
        values.extend(bound)
    return " AND ".join(parts) or "1", values


def attempt_where(wanted: AttemptFilter) -> Where:
    """The condition on `attempts`."""
    parts: list[str] = []
    values: list[object] = []
    for column, value in (
        ("run_id = ?", wanted.run_id),
        ("stage = ?", wanted.stage),
        ("host = ?", wanted.host),
        ("phase = ?", wanted.phase.value if wanted.phase is not None else None),
        ("exit_code = ?", wanted.exit_code),
        ("placed_at >= ?", wanted.since),
        ("placed_at < ?", wanted.until),
    ):
        if value is not None:
            parts.append(column)
            values.append(value)
    if wanted.is_open is not None:
        word = "IN" if wanted.is_open else "NOT IN"
        parts.append(f"phase {word} ('starting', 'running', 'collecting')")
    return " AND ".join(parts) or "1", values


def _state(state: str) -> str:
    if state == "open":
        return "outcome IS NULL"
    if state == "finished":
        return "outcome IS NOT NULL"
    if state in set(Outcome):
        return "coalesce(outcome, 'open') = ?"  # this expression has an index
    known = ", ".join(["open", "finished", *Outcome])
    raise InputError(f"no run can have the state {state!r}", remedy=f"states: {known}")


def _has_attempt(condition: str) -> str:
    return f"run_id IN (SELECT run_id FROM attempts WHERE {condition})"


def _param(name: str, wanted: Scalar) -> Where:
    """Equal as text, or equal as numbers: "1e-1" finds 0.1."""
    text = str(wanted).lower() if isinstance(wanted, bool) else str(wanted)
    written = (
        "CASE p.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
        " ELSE CAST(p.value AS TEXT) END = ?"
    )
    values: list[object] = [name, text]
    number = read_number(text)
    if number is not None:
        written = f"({written} OR (p.type IN ('integer', 'real') AND p.value = ?))"
        values.append(number)
    clause = f"EXISTS (SELECT 1 FROM json_each(params) p WHERE p.key = ? AND {written})"
    return clause, values


def narrowing(wanted: Search) -> list[Where]:
    """One statement per condition; a run matches if every statement returns it."""
    found = [_of_filter(one) for one in _parts(wanted.runs)]
    found += [_of_value(PARAM, condition) for condition in wanted.params]
    found += [_of_value(METRIC, condition) for condition in wanted.metrics]
    if wanted.text:
        found.append(("SELECT run FROM run_words WHERE instr(words, ?)", [wanted.text.lower()]))
    return found


def ordered_narrowing(wanted: Search) -> Where | None:
    """The statement that both filters and sorts. None: there are several conditions, or one index
    cannot do both."""
    order, way = wanted.order, _way(wanted.order)
    if len(narrowing(wanted)) != 1 or wanted.text:
        return None
    if wanted.metrics and wanted.metrics[0].name == order.name:
        statement, bound = _of_value(METRIC, wanted.metrics[0])
        return f"{statement} ORDER BY value {way}, run DESC", bound
    if order == Order() and not wanted.params and not wanted.metrics:
        statement, bound = _of_filter(_parts(wanted.runs)[0])
        return f"{statement} ORDER BY {_NEWEST}", bound
    return None


def in_order(order: Order) -> Iterator[Where]:
    """Statements for all runs, sorted by a column. Runs without a value come last, newest first."""
    column, alike = COLUMNS[order.name]
    known = "" if order.name in _NEVER_NULL else f" WHERE {column} IS NOT NULL"
    yield f"SELECT number FROM runs{known} ORDER BY {column} {_way(order)}, {alike}", []
    if known:
        # Runs that have not ended have an index of their own.
        lacking = "outcome" if order.name == "finished" else column
        yield f"SELECT number FROM runs WHERE {lacking} IS NULL ORDER BY {_NUMBER}", []


def by_value(kind: int, order: Order) -> Where:
    """The runs that have this metric or parameter, sorted by its value."""
    return (
        "SELECT run FROM run_values WHERE kind = ? AND name = ? AND value IS NOT NULL"
        f" ORDER BY value {_way(order)}, run DESC",
        [kind, order.name],
    )


def few_in_order(order: Order, numbers: str) -> Where:
    """The statement that sorts a few runs, given as JSON, instead of reading the order of all."""
    column, alike, joins, bound = *COLUMNS.get(order.name, ("", _NUMBER)), "", list[object]()
    if not column:
        joins = "".join(
            f" LEFT JOIN run_values s{kind} ON s{kind}.run = number AND s{kind}.kind = {kind}"
            f" AND s{kind}.name = ?"
            for kind in (PARAM, METRIC)
        )
        # If a metric and a parameter share a name, the metric is used for all runs: their values
        # may not be comparable.
        metric, param = f"s{METRIC}.value", f"s{PARAM}.value"
        column = f"CASE WHEN count({metric}) OVER () > 0 THEN {metric} ELSE {param} END"
        bound = [order.name, order.name]
    return (
        f"SELECT number FROM json_each(?) f CROSS JOIN runs ON number = f.value{joins}"
        f" ORDER BY {column} {_way(order)} NULLS LAST, {alike}",
        [numbers, *bound],
    )


def _way(order: Order) -> str:
    return "DESC" if order.descending else "ASC"


def _parts(wanted: RunFilter) -> list[RunFilter]:
    """One filter per given word; each keeps the times, like the indexes."""
    times = RunFilter(since=wanted.since, until=wanted.until, releases=wanted.releases)
    words = replace(wanted, state=None, pipeline=None, owner=None)
    only = replace(words, since=None, until=None, releases=True)
    parts = [
        replace(times, state=wanted.state) if wanted.state is not None else None,
        replace(times, pipeline=wanted.pipeline) if wanted.pipeline is not None else None,
        replace(times, owner=wanted.owner) if wanted.owner is not None else None,
        only if only != RunFilter() else None,
    ]
    found = [part for part in parts if part is not None]
    return found or ([times] if times != RunFilter() else [])


def _of_filter(wanted: RunFilter) -> Where:
    where, bound = run_where(wanted)
    return f"SELECT number FROM runs WHERE {where}", bound


def _of_value(kind: int, condition: Condition) -> Where:
    part, bound = _compare(condition)
    return (
        f"SELECT run FROM run_values WHERE kind = ? AND name = ? AND {part}",
        [kind, condition.name, *bound],
    )


def _compare(condition: Condition) -> Where:
    """Numbers are compared as numbers, text as text."""
    number, operator = condition.number, condition.operator
    if operator in ("=", "!="):
        flags = {"true": 1, "false": 0}
        alike = flags.get(condition.value) if number is None else number
        word = "IN" if operator == "=" else "NOT IN"
        # A text value is bound twice, because a NULL in the list would make NOT IN unknown.
        return f"value {word} (?, ?)", [
            condition.value, condition.value if alike is None else alike,
        ]  # fmt: skip
    if operator in ("<", "<="):
        return f"value {operator} ?", [number]
    # SQLite sorts every text after all numbers, so text is excluded here.
    return f"(value {operator} ? AND value <= 9e999)", [number]
