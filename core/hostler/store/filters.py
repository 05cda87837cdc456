"""From filters to WHERE clauses. Values are always bound, never part of the text. Pure."""

from __future__ import annotations

from hostler.base.errors import InputError
from hostler.base.terms import read_number
from hostler.model.pipelines import Scalar
from hostler.model.records import AttemptFilter, RunFilter
from hostler.model.runs import Outcome

Where = tuple[str, list[object]]


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
        return "coalesce(outcome, 'open') = ?"  # of which there is an index
    known = ", ".join(["open", "finished", *Outcome])
    raise InputError(f"no run can have the state {state!r}", remedy=f"states: {known}")


def _has_attempt(condition: str) -> str:
    return f"run_id IN (SELECT run_id FROM attempts WHERE {condition})"


def _param(name: str, wanted: Scalar) -> Where:
    """Equal as written, or equal as numbers: "1e-1" finds 0.1."""
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
