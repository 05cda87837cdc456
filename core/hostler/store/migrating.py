"""Fills the search tables of an older database from all its runs and metrics."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hostler.store import search_tables

_log = logging.getLogger("hostler.store")
_EVERY = 50_000

_TABLES = (
    # Stages, file, environment and diff of a run, compressed; see rows.py.
    """CREATE TABLE run_texts (
        run INTEGER PRIMARY KEY REFERENCES runs (number) ON DELETE CASCADE,
        packed BLOB NOT NULL
    ) STRICT""",
    "CREATE TABLE run_words (run INTEGER PRIMARY KEY REFERENCES runs (number) ON DELETE CASCADE,"
    " words TEXT NOT NULL) STRICT",
    # Parameters (kind 0) and last metrics (1); placed: number of the attempt that wrote the metric.
    """CREATE TABLE run_values (
        run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
        kind INTEGER NOT NULL,
        name TEXT NOT NULL,
        value ANY,
        placed INTEGER,
        PRIMARY KEY (run, kind, name)
    ) STRICT, WITHOUT ROWID""",
    # Outputs that a run made, or took from an earlier run.
    "CREATE TABLE run_outputs (digest TEXT NOT NULL, run INTEGER NOT NULL,"
    " PRIMARY KEY (digest, run)) STRICT, WITHOUT ROWID",
    "ALTER TABLE runs ADD COLUMN started_at REAL",
    "ALTER TABLE runs ADD COLUMN gpu_seconds REAL",
    "ALTER TABLE runs ADD COLUMN energy_wh REAL",
)
_INDEXES = (
    # Includes the columns that `gc` reads for the outputs of recent runs.
    "DROP INDEX artifacts_run",
    "CREATE INDEX artifacts_run ON artifacts (run_id, digest, index_digest)",
    "CREATE INDEX run_values_sorted ON run_values (kind, name, value)",
    "CREATE INDEX runs_state ON runs (coalesce(outcome, 'open'), submitted_at)",
    "CREATE INDEX runs_ended ON runs (submitted_at) WHERE outcome IS NOT NULL",
    "CREATE INDEX runs_finished ON runs (finished_at, run_id)",
    "CREATE INDEX runs_took ON runs (coalesce(finished_at, 1e300) - started_at)",
    "CREATE INDEX runs_gpu_seconds ON runs (gpu_seconds)",
    "CREATE INDEX runs_energy ON runs (energy_wh)",
    "CREATE INDEX runs_source ON runs (source_digest, finished_at) WHERE source_digest IS NOT NULL",
)

_INHERITED = (
    "CREATE TABLE inherited (run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,"
    " attempt_id TEXT NOT NULL, artifact TEXT NOT NULL) STRICT",
    "CREATE INDEX inherited_run ON inherited (run_id)",
    "CREATE INDEX inherited_attempt ON inherited (attempt_id)",
    "CREATE INDEX runs_keeping ON runs (number) WHERE kept <> '{}'",
)


def inherited_table(connection: sqlite3.Connection) -> None:
    """Artifacts of removed runs that other runs use, because they kept their stages."""
    for statement in _INHERITED:
        connection.execute(statement)


def history_tables(connection: sqlite3.Connection) -> None:
    """Create the tables, fill them from the existing rows, and create their indexes."""
    for statement in _TABLES:
        connection.execute(statement)
    fill(connection)
    for statement in _INDEXES:
        connection.execute(statement)


def fill(connection: sqlite3.Connection) -> None:
    """Fill the empty tables."""
    for what, steps in (("runs", _fill_runs), ("attempts", _fill_attempts)):
        count = connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0]
        for number, _ in enumerate(steps(connection), 1):
            if number % _EVERY == 0:
                _log.info("upgrading the history: %d of %d %s", number, count, what)
    if count > _EVERY:
        _log.info("upgrading the history: outputs and indexes")
    search_tables.fill_outputs(connection)


def _fill_runs(connection: sqlite3.Connection) -> Iterator[None]:
    for number, *words, params, source in connection.execute(
        "SELECT number, run_id, pipeline, owner, title, params, source FROM runs"
    ):
        given, code = json.loads(params), json.loads(source)
        more = (code.get(name) for name in ("path", "git_commit", "git_branch"))
        search_tables.put_words(connection, number, given, (*words, *more))
        search_tables.put_params(connection, number, given)
        yield


def _fill_attempts(connection: sqlite3.Connection) -> Iterator[None]:
    sums: defaultdict[str, _Sums] = defaultdict(_Sums)
    for run_id, placed, started_at, metrics, usage in connection.execute(
        "SELECT run_id, placed, started_at, metrics, usage FROM attempts ORDER BY placed"
    ):
        sums[run_id].add(started_at, json.loads(usage) if usage != "{}" else {})
        if metrics != "{}":
            search_tables.put_metrics(connection, run_id, placed, json.loads(metrics))
        yield
    connection.executemany(
        "UPDATE runs SET started_at = ?, gpu_seconds = ?, energy_wh = ? WHERE run_id = ?",
        ((s.started_at, s.gpu_seconds, s.energy_wh, run_id) for run_id, s in sums.items()),
    )


@dataclass(slots=True)
class _Sums:
    """Sums over the attempts of a run."""

    started_at: float | None = None
    gpu_seconds: float | None = None
    energy_wh: float | None = None

    def add(self, started_at: float | None, usage: Mapping[str, float]) -> None:
        """Add one attempt."""
        if started_at is not None and (self.started_at is None or started_at < self.started_at):
            self.started_at = started_at
        gpu_seconds, energy_wh = (usage.get(name) for name in search_tables.SUMS)
        if gpu_seconds is not None:
            self.gpu_seconds = (self.gpu_seconds or 0.0) + gpu_seconds
        if energy_wh is not None:
            self.energy_wh = (self.energy_wh or 0.0) + energy_wh


_OPEN_RELEASE = "('delivering', 'starting', 'ready', 'shifting', 'failed')"

_RELEASE_TABLES = (
    # `live` is the number of a release; the row of an open release is the deploy lock.
    "CREATE TABLE services (name TEXT PRIMARY KEY, uid INTEGER NOT NULL, owner TEXT NOT NULL,"
    " replicas INTEGER NOT NULL, live INTEGER, revision INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE releases (service TEXT NOT NULL REFERENCES services (name),"
    " number INTEGER NOT NULL, run_id TEXT NOT NULL UNIQUE, image TEXT, strategy TEXT NOT NULL,"
    " state TEXT NOT NULL, replicas INTEGER NOT NULL, surge INTEGER NOT NULL, replaces INTEGER,"
    " by TEXT NOT NULL, uid INTEGER NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL,"
    " changed_at REAL NOT NULL, PRIMARY KEY (service, number)) STRICT, WITHOUT ROWID",
    # The database enforces at most one open and one live release per service.
    f"CREATE UNIQUE INDEX releases_open ON releases (service) WHERE state IN {_OPEN_RELEASE}",
    "CREATE UNIQUE INDEX releases_live ON releases (service) WHERE state = 'live'",
    "CREATE TABLE release_steps (seq INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL,"
    " number INTEGER NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, state TEXT,"
    " slot_release INTEGER, slot_index INTEGER, next_release INTEGER, next_index INTEGER,"
    " reason TEXT NOT NULL) STRICT",
    "CREATE INDEX release_steps_of ON release_steps (service, number, seq)",
    "CREATE TRIGGER release_steps_only_grow_1 BEFORE UPDATE ON release_steps"
    " BEGIN SELECT RAISE(ABORT, 'the steps of releases are append only'); END",
    "CREATE TRIGGER release_steps_only_grow_2 BEFORE DELETE ON release_steps"
    " BEGIN SELECT RAISE(ABORT, 'the steps of releases are append only'); END",
)


def release_tables(connection: sqlite3.Connection) -> None:
    """Services, their releases, and the steps of releases."""
    for statement in _RELEASE_TABLES:
        connection.execute(statement)
