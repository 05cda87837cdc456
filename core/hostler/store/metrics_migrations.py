"""Schema changes of the metrics database, by number. A published change is never edited: add
another one."""

from __future__ import annotations

from sqlite_utils import Database

from hostler.store.schema import Schema

_METRICS_TABLES = (
    """CREATE TABLE gpus (
        id INTEGER PRIMARY KEY,
        uuid TEXT NOT NULL UNIQUE,
        host TEXT NOT NULL
    ) STRICT""",
    # t: seconds; utilization: %; memory: 8 MiB, so that two bytes are enough; power: W.
    """CREATE TABLE gpu_samples (
        gpu INTEGER NOT NULL,
        t INTEGER NOT NULL,
        utilization INTEGER,
        memory INTEGER,
        power INTEGER,
        temperature INTEGER,
        PRIMARY KEY (gpu, t)
    ) STRICT, WITHOUT ROWID""",
    # t: start of the minute; mean utilization in 0.1 %, memory in 8 MiB, power in 0.1 W.
    """CREATE TABLE gpu_minutes (
        gpu INTEGER NOT NULL,
        t INTEGER NOT NULL,
        samples INTEGER NOT NULL,
        utilization INTEGER,
        memory INTEGER,
        memory_peak INTEGER,
        power INTEGER,
        temperature INTEGER,
        PRIMARY KEY (gpu, t)
    ) STRICT, WITHOUT ROWID""",
    # The mean of all GPUs; samples: the number of GPUs.
    """CREATE TABLE fleet_minutes (
        t INTEGER PRIMARY KEY,
        samples INTEGER NOT NULL,
        utilization INTEGER,
        memory INTEGER,
        memory_peak INTEGER,
        power INTEGER,
        temperature INTEGER
    ) STRICT""",
    "CREATE TABLE rolled (up_to INTEGER NOT NULL) STRICT",
    "INSERT INTO rolled VALUES (0)",
    "CREATE TABLE metric_attempts (id INTEGER PRIMARY KEY, attempt_id TEXT NOT NULL UNIQUE) STRICT",
    "CREATE TABLE metric_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    # value: NULL is NaN, which SQLite does not store.
    """CREATE TABLE stage_metrics (
        attempt INTEGER NOT NULL,
        row INTEGER NOT NULL,
        name INTEGER NOT NULL,
        t REAL NOT NULL,
        step INTEGER,
        value REAL,
        PRIMARY KEY (attempt, row)
    ) STRICT, WITHOUT ROWID""",
)


def m0001_first_metrics(db: Database) -> None:
    """Samples of GPUs with their averages, and metrics of stages."""
    for statement in _METRICS_TABLES:
        db.execute(statement)


def m0002_gpus_of_hosts(db: Database) -> None:
    """A GPU belongs to one host: reports of other hosts about the same UUID are not part of its
    history."""
    db.execute("ALTER TABLE gpus RENAME TO gpus_of_before")
    db.execute(
        "CREATE TABLE gpus (id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, host TEXT NOT NULL,"
        " UNIQUE (host, uuid)) STRICT"
    )
    db.execute("INSERT INTO gpus (id, uuid, host) SELECT id, uuid, host FROM gpus_of_before")
    db.execute("DROP TABLE gpus_of_before")


_TRAFFIC_TABLES = (
    # Totals of all requests so far. steps: "FIRST:COUNT,COUNT,..."; FIRST is the first step that is
    # not 0.
    """CREATE TABLE traffic_of (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL,
        stage TEXT NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        requests INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        cut INTEGER NOT NULL,
        steps TEXT NOT NULL,
        UNIQUE (run_id, stage)
    ) STRICT""",
    # t: start of the minute, or of the hour for old rows.
    """CREATE TABLE traffic (
        of INTEGER NOT NULL,
        t INTEGER NOT NULL,
        requests INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        cut INTEGER NOT NULL,
        steps TEXT NOT NULL,
        PRIMARY KEY (of, t)
    ) STRICT, WITHOUT ROWID""",
    # The seconds of a minute in which requests were counted; without a row, the counts are unknown.
    "CREATE TABLE traffic_counted (t INTEGER PRIMARY KEY, seconds REAL NOT NULL) STRICT",
)


def m0003_traffic(db: Database) -> None:
    """Requests of services, per minute."""
    for statement in _TRAFFIC_TABLES:
        db.execute(statement)


METRICS = Schema("hostler-metrics", (m0001_first_metrics, m0002_gpus_of_hosts, m0003_traffic))
