"""The tables for search and sorting of runs (sums, parameters, metrics, words, digests), updated
with every change.

The statements run inside a transaction of the caller. Without these tables a search would read the
attempts of all runs, and would become slower with each run.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping

from hostler.model.pipelines import Scalar
from hostler.model.runs import Attempt, AttemptChange, Run
from hostler.store.rows import SqlValue, storable

PARAM, METRIC = 0, 1
"""Kinds of values."""
SUMS = ("gpu_seconds_allocated", "energy_wh")
"""Usage values of attempts; their sums are the columns gpu_seconds and energy_wh of `runs`."""

_SEARCHED = ("metrics", "outputs", "started_at", "usage")
"""Columns of an attempt from which these tables are computed."""

_PUT_PARAM = f"INSERT INTO run_values (run, kind, name, value) VALUES (?, {PARAM}, ?, ?)"
_PUT_METRIC = (
    "INSERT INTO run_values (run, kind, name, value, placed)"
    f" SELECT number, {METRIC}, ?, ?, ? FROM runs WHERE run_id = ?"
    " ON CONFLICT DO UPDATE SET value = excluded.value, placed = excluded.placed"
    " WHERE excluded.placed >= placed"
)
"""If two stages have a metric of this name, the value of the stage placed later is stored."""
_PUT_OUTPUT = (
    "INSERT OR IGNORE INTO run_outputs (run, digest) SELECT number, ? FROM runs WHERE run_id = ?"
)
_PUT_OUTPUTS = "INSERT OR IGNORE INTO run_outputs (digest, run)"
_DROP_OUTPUT = (
    "DELETE FROM run_outputs WHERE digest = ? AND run = (SELECT number FROM runs WHERE run_id = ?)"
)
_SUM = (
    "(SELECT sum(json_extract(a.usage, '$.{0}')) FROM attempts a"
    " WHERE a.run_id = runs.run_id AND a.usage <> '{{}}')"
)
_SUM_UP = (
    "UPDATE runs SET"
    " started_at = (SELECT min(a.started_at) FROM attempts a WHERE a.run_id = runs.run_id),"
    f" gpu_seconds = {_SUM.format(SUMS[0])}, energy_wh = {_SUM.format(SUMS[1])}"
)
_BEGIN = (
    "UPDATE runs SET started_at = ? WHERE run_id = ? AND (started_at IS NULL OR started_at > ?)"
)
_ADD_UP = (
    "UPDATE runs SET gpu_seconds = CASE WHEN :seconds IS NULL THEN gpu_seconds"
    " ELSE coalesce(gpu_seconds, 0) + :seconds END, energy_wh = CASE WHEN :energy IS NULL"
    " THEN energy_wh ELSE coalesce(energy_wh, 0) + :energy END WHERE run_id = :run"
)
_OUTPUTS = (
    "SELECT f.digest, r.number FROM runs r JOIN artifacts f ON f.run_id = r.run_id{0}"
    " UNION SELECT f.index_digest, r.number FROM runs r JOIN artifacts f ON f.run_id = r.run_id{0}"
    " AND f.index_digest IS NOT NULL"
    " UNION SELECT j.value, r.number FROM runs r JOIN attempts a ON a.run_id = r.run_id,"
    " json_each(a.outputs) j{0} AND a.outputs <> '{{}}'"
    " UNION SELECT o.value, r.number FROM runs r, json_each(r.kept) k,"
    " json_each(k.value, '$.outputs') o{0} AND r.kept <> '{{}}'"
)
_OF_KEPT = (
    " UNION SELECT f.digest, r.number FROM runs r, json_each(r.kept) k"
    " JOIN artifacts f ON f.attempt_id = json_extract(k.value, '$.attempt_id'){0}"
    " AND r.kept <> '{{}}'"
    " UNION SELECT f.index_digest, r.number FROM runs r, json_each(r.kept) k"
    " JOIN artifacts f ON f.attempt_id = json_extract(k.value, '$.attempt_id'){0}"
    " AND r.kept <> '{{}}' AND f.index_digest IS NOT NULL"
    " UNION SELECT j.value, r.number FROM runs r JOIN inherited i ON i.run_id = r.run_id,"
    " json_each(json_array(json_extract(i.artifact, '$.digest'),"
    " json_extract(i.artifact, '$.index'))) j{0} AND j.value IS NOT NULL"
)
_OF_RUN, _OF_ALL = " WHERE r.run_id = :run", " WHERE 1"


def add_run(connection: sqlite3.Connection, number: int, run: Run) -> None:
    """Add the rows of a new run."""
    code = run.source
    words = (run.run_id, run.pipeline, run.owner, run.title)
    more = (code.path, code.git_commit, code.git_branch)
    put_words(connection, number, run.params, (*words, *more))
    put_params(connection, number, run.params)
    for attempt in run.kept.values():
        _put_outputs(connection, run.run_id, attempt.outputs.values())
        _put_outputs(connection, run.run_id, _saved_of(connection, attempt.attempt_id))


def add_attempt(connection: sqlite3.Connection, placed: int, attempt: Attempt) -> None:
    """Add the values of a new attempt, which mostly has none yet."""
    if attempt.started_at is not None or attempt.usage:
        _sum_up(connection, attempt.run_id)
    put_metrics(connection, attempt.run_id, placed, attempt.metrics)
    _put_outputs(connection, attempt.run_id, attempt.outputs.values())


def change_attempt(
    connection: sqlite3.Connection,
    before: sqlite3.Row,
    now: Mapping[str, SqlValue],
    changes: AttemptChange,
) -> None:
    """Store the differences between an attempt's row and its changed columns."""
    run_id = before["run_id"]
    changed = {name for name in _SEARCHED if name in now and before[name] != now[name]}
    if "metrics" in changed:
        put_metrics(connection, run_id, before["placed"], changes["metrics"])
    if "outputs" in changed:
        there = {*json.loads(before["outputs"]).values()}
        change_outputs(connection, run_id, there, {*changes["outputs"].values()})
    if ("started_at" in changed and before["started_at"] is not None) or (
        "usage" in changed and before["usage"] != "{}"
    ):
        # A stored value was corrected. This is rare, and slow for a run with very many stages.
        _sum_up(connection, run_id)
        return
    if "started_at" in changed:
        connection.execute(_BEGIN, (now["started_at"], run_id, now["started_at"]))
    if "usage" in changed:
        seconds, energy = (changes["usage"].get(name) for name in SUMS)
        connection.execute(_ADD_UP, {"seconds": seconds, "energy": energy, "run": run_id})


def change_outputs(
    connection: sqlite3.Connection, run_id: str, before: Collection[str], now: Collection[str]
) -> None:
    """Replace digests of a run by others; an old one stays if the run still needs it elsewhere."""
    _put_outputs(connection, run_id, now)
    gone = [(digest, run_id) for digest in before if digest not in now]
    if gone:
        connection.executemany(_DROP_OUTPUT, gone)
        connection.execute(
            f"{_PUT_OUTPUTS} {(_OUTPUTS + _OF_KEPT).format(_OF_RUN)}", {"run": run_id}
        )


def remove_outputs(connection: sqlite3.Connection, run_id: str) -> None:
    """Delete the digests of a run that will be removed."""
    connection.execute(
        f"DELETE FROM run_outputs WHERE (digest, run) IN ({(_OUTPUTS + _OF_KEPT).format(_OF_RUN)})",
        {"run": run_id},
    )


def put_words(
    connection: sqlite3.Connection,
    number: int,
    params: Mapping[str, Scalar],
    words: Iterable[str | None],
) -> None:
    """Store the lower-case text in which a run is searched: words, and its parameters."""
    given = json.dumps(dict(params), separators=(",", ":"), ensure_ascii=False)
    text = "\n".join((*(word or "" for word in words), given)).lower()
    connection.execute("INSERT INTO run_words (run, words) VALUES (?, ?)", (number, storable(text)))


def put_params(connection: sqlite3.Connection, number: int, params: Mapping[str, Scalar]) -> None:
    """Store the parameters of a run that has none stored."""
    connection.executemany(_PUT_PARAM, ((number, *pair) for pair in _values(params)))


def put_metrics(
    connection: sqlite3.Connection, run_id: str, placed: int, metrics: Mapping[str, float]
) -> None:
    """Store the last metrics of one attempt of a run."""
    connection.executemany(_PUT_METRIC, ((*pair, placed, run_id) for pair in _values(metrics)))


def _put_outputs(connection: sqlite3.Connection, run_id: str, digests: Iterable[str]) -> None:
    """Store digests that a run needs."""
    connection.executemany(_PUT_OUTPUT, ((digest, run_id) for digest in digests))


def _saved_of(connection: sqlite3.Connection, attempt_id: str) -> list[str]:
    """Digests of the stored artifacts of an attempt whose stage this run keeps; for an attempt of a
    removed run they are in `inherited`."""
    rows = connection.execute(
        "SELECT digest, index_digest FROM artifacts WHERE attempt_id = :attempt"
        " UNION ALL SELECT json_extract(artifact, '$.digest'), json_extract(artifact, '$.index')"
        " FROM inherited WHERE attempt_id = :attempt",
        {"attempt": attempt_id},
    )
    return [digest for row in rows for digest in row if digest is not None]


def fill_outputs(connection: sqlite3.Connection) -> None:
    """Store the digests that all runs need, in a database of an earlier version."""
    connection.execute(f"{_PUT_OUTPUTS} {_OUTPUTS.format(_OF_ALL)}")


def _sum_up(connection: sqlite3.Connection, run_id: str) -> None:
    connection.execute(f"{_SUM_UP} WHERE run_id = ?", (run_id,))


def _values(values: Mapping[str, Scalar]) -> Iterator[tuple[str, Scalar | None]]:
    for name, value in values.items():
        yield storable(name), _value(value)


def _value(value: Scalar) -> Scalar | None:
    """The value as SQLite compares it; NaN, which equals no value, becomes NULL."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < 2**1023 else math.copysign(math.inf, value)
    return value
