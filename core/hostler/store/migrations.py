"""Schema changes of the state database, by number: add a table or column here. A published change
is never edited: add another one."""

from __future__ import annotations

from sqlite_utils import Database

from hostler.store.migrating import history_tables, inherited_table, release_tables
from hostler.store.schema import Schema

_STATE_TABLES = (
    "CREATE TABLE identity (daemon_id TEXT NOT NULL) STRICT",
    # One row per submission. `env`, `source`, `params`, `kept` are JSON.
    """CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        pipeline TEXT NOT NULL,
        owner TEXT NOT NULL,
        uid INTEGER NOT NULL,
        submitted_at REAL NOT NULL,
        params TEXT NOT NULL,
        source TEXT NOT NULL,
        source_digest TEXT,
        priority INTEGER NOT NULL,
        cancelled_by TEXT,
        outcome TEXT,
        finished_at REAL,
        kept TEXT NOT NULL,
        retry_of TEXT,
        env TEXT NOT NULL,
        title TEXT NOT NULL,
        stage_count INTEGER NOT NULL,
        pipeline_text TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX runs_open ON runs (number) WHERE outcome IS NULL",
    "CREATE INDEX runs_submitted ON runs (submitted_at)",
    "CREATE INDEX runs_pipeline ON runs (pipeline, submitted_at)",
    "CREATE INDEX runs_owner ON runs (owner, submitted_at)",
    """CREATE TABLE stages (
        run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        spec TEXT NOT NULL,
        PRIMARY KEY (run, position)
    ) STRICT, WITHOUT ROWID""",
    # `gpus`, `metrics`, `outputs`, `usage` are JSON; `facts` is a digest in host_facts.
    """CREATE TABLE attempts (
        placed INTEGER PRIMARY KEY,
        attempt_id TEXT NOT NULL UNIQUE,
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        stage TEXT NOT NULL,
        number INTEGER NOT NULL,
        phase TEXT NOT NULL,
        host TEXT NOT NULL,
        gpus TEXT NOT NULL,
        placed_at REAL NOT NULL,
        runtime TEXT NOT NULL,
        launched_at REAL,
        ref TEXT,
        boot_id TEXT,
        started_at REAL,
        finished_at REAL,
        duration REAL,
        exit_code INTEGER,
        signal INTEGER,
        cause TEXT,
        detail TEXT NOT NULL,
        stop_reason TEXT,
        stop_detail TEXT NOT NULL,
        metrics TEXT NOT NULL,
        outputs TEXT NOT NULL,
        image_digest TEXT,
        usage TEXT NOT NULL,
        facts TEXT,
        UNIQUE (run_id, stage, number)
    ) STRICT""",
    "CREATE INDEX attempts_host ON attempts (host, placed_at)",
    "CREATE INDEX attempts_placed ON attempts (placed_at)",
    # The database enforces at most one open attempt per stage.
    """CREATE UNIQUE INDEX attempts_open ON attempts (run_id, stage)
        WHERE phase IN ('starting', 'running')""",
    # The database enforces at most one open attempt per GPU.
    """CREATE TABLE holds (
        host TEXT NOT NULL,
        gpu TEXT NOT NULL,
        attempt_id TEXT NOT NULL REFERENCES attempts (attempt_id) ON DELETE CASCADE,
        PRIMARY KEY (host, gpu)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX holds_attempt ON holds (attempt_id)",
    # AUTOINCREMENT: a number is never used again, even after runs were removed.
    """CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        message TEXT NOT NULL,
        severity TEXT NOT NULL,
        run_id TEXT,
        stage TEXT,
        attempt_id TEXT,
        host TEXT,
        actor TEXT
    ) STRICT""",
    "CREATE INDEX events_run ON events (run_id, seq) WHERE run_id IS NOT NULL",
    "CREATE INDEX events_host ON events (host, seq) WHERE host IS NOT NULL",
    """CREATE TABLE artifacts (
        attempt_id TEXT NOT NULL REFERENCES attempts (attempt_id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        run_id TEXT NOT NULL,
        stage TEXT NOT NULL,
        digest TEXT NOT NULL,
        size INTEGER NOT NULL,
        collected_at REAL NOT NULL,
        files INTEGER NOT NULL,
        tree_digest TEXT,
        PRIMARY KEY (attempt_id, name)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX artifacts_run ON artifacts (run_id)",
    "CREATE INDEX artifacts_digest ON artifacts (digest)",
    """CREATE TABLE host_facts (
        digest TEXT PRIMARY KEY,
        facts TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE hosts_seen (
        host TEXT PRIMARY KEY,
        facts TEXT NOT NULL REFERENCES host_facts (digest),
        at REAL NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE drains (
        host TEXT PRIMARY KEY,
        reason TEXT NOT NULL,
        by TEXT NOT NULL,
        at REAL NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        uid INTEGER NOT NULL,
        user TEXT NOT NULL,
        call TEXT NOT NULL,
        arguments TEXT NOT NULL
    ) STRICT""",
    """CREATE TRIGGER audit_only_grows_1 BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit table is append only'); END""",
    """CREATE TRIGGER audit_only_grows_2 BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit table is append only'); END""",
)


# Integers and no row id: a sample takes about 20 bytes, and the samples of a GPU lie together.
def m0001_first(db: Database) -> None:
    """Runs, attempts, events, audit."""
    for statement in _STATE_TABLES:
        db.execute(statement)


def m0002_alerts(db: Database) -> None:
    """The GPU of an event, and acknowledgements of alerts (by the number of the alert's first
    event)."""
    db.execute("ALTER TABLE events ADD COLUMN gpu TEXT")
    db.execute(
        "CREATE TABLE acknowledged"
        " (alert INTEGER PRIMARY KEY, by TEXT NOT NULL, at REAL NOT NULL) STRICT"
    )


def m0003_gpu_events(db: Database) -> None:
    """An index for the GPU faults, which are few among very many events and are read at each
    start."""
    db.execute("CREATE INDEX events_gpu ON events (host, gpu, seq) WHERE gpu IS NOT NULL")


def m0004_submissions(db: Database) -> None:
    """The run of each submission, so that a repeated submission makes no second run."""
    db.execute(
        "CREATE TABLE submissions (uid INTEGER NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL,"
        " run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,"
        " PRIMARY KEY (uid, key)) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE INDEX submissions_run ON submissions (run_id)")


def m0005_kept_files(db: Database) -> None:
    """Files that stay on hosts, runs that users keep, and downloads."""
    # Without a foreign key to runs: files on a host may remain after their run is removed.
    db.execute(
        "CREATE TABLE remainders (attempt_id TEXT PRIMARY KEY, run_id TEXT NOT NULL,"
        " stage TEXT NOT NULL, host TEXT NOT NULL, runtime TEXT NOT NULL, ref TEXT NOT NULL,"
        " path TEXT NOT NULL, files INTEGER NOT NULL, size INTEGER NOT NULL, since REAL NOT NULL,"
        " until REAL NOT NULL, names TEXT NOT NULL, why TEXT NOT NULL, fetched_at REAL,"
        " stood REAL, given_up_by TEXT) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE INDEX remainders_run ON remainders (run_id)")
    db.execute(
        "CREATE TABLE keeps (run_id TEXT PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,"
        " by TEXT NOT NULL, at REAL NOT NULL, until REAL) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE fetches"
        " (attempt_id TEXT NOT NULL REFERENCES attempts (attempt_id) ON DELETE CASCADE,"
        " digest TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (attempt_id, digest))"
        " STRICT, WITHOUT ROWID"
    )


def m0006_collecting(db: Database) -> None:
    """Outputs of ended work are copied without GPUs, and undeclared files are kept too."""
    db.execute("ALTER TABLE attempts ADD COLUMN verdict TEXT")
    db.execute("DROP INDEX attempts_open")
    db.execute(
        "CREATE UNIQUE INDEX attempts_open ON attempts (run_id, stage)"
        " WHERE phase IN ('starting', 'running', 'collecting')"
    )
    # The kind is part of the key: kept files have the name "files", which an output may have too.
    db.execute("ALTER TABLE artifacts RENAME TO artifacts_of_before")
    db.execute(
        "CREATE TABLE artifacts ("
        " attempt_id TEXT NOT NULL REFERENCES attempts (attempt_id) ON DELETE CASCADE,"
        " kind TEXT NOT NULL, name TEXT NOT NULL, run_id TEXT NOT NULL, stage TEXT NOT NULL,"
        " digest TEXT NOT NULL, size INTEGER NOT NULL, collected_at REAL NOT NULL,"
        " files INTEGER NOT NULL, tree_digest TEXT, partial INTEGER NOT NULL, index_digest TEXT,"
        " PRIMARY KEY (attempt_id, kind, name)) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "INSERT INTO artifacts (attempt_id, kind, name, run_id, stage, digest, size, collected_at,"
        " files, tree_digest, partial) SELECT attempt_id, 'output', name, run_id, stage, digest,"
        " size, collected_at, files, tree_digest, 0 FROM artifacts_of_before"
    )
    db.execute("DROP TABLE artifacts_of_before")
    db.execute("CREATE INDEX artifacts_run ON artifacts (run_id)")
    db.execute("CREATE INDEX artifacts_digest ON artifacts (digest)")
    db.execute(
        "CREATE INDEX artifacts_index ON artifacts (index_digest) WHERE index_digest IS NOT NULL"
    )


def m0007_history(db: Database) -> None:
    """Tables for the search of runs; texts that only one run needs are stored compressed."""
    history_tables(db.conn)


def m0008_retries(db: Database) -> None:
    """The name of a run's pipeline file; for a retry with changes, the source of its kept stages
    and its checkpoints."""
    db.execute("ALTER TABLE runs ADD COLUMN file TEXT NOT NULL DEFAULT ''")
    db.execute("UPDATE runs SET file = 'pipeline.toml' WHERE pipeline_text <> ''")
    db.execute("ALTER TABLE runs ADD COLUMN origins TEXT NOT NULL DEFAULT '{}'")
    db.execute("ALTER TABLE runs ADD COLUMN checkpoints TEXT NOT NULL DEFAULT '{}'")


def m0009_announced(db: Database) -> None:
    """For how many seconds an alert has announced the removal of a run's outputs."""
    db.execute(
        "CREATE TABLE announced (run_id TEXT PRIMARY KEY REFERENCES runs (run_id)"
        " ON DELETE CASCADE, stood REAL NOT NULL) STRICT, WITHOUT ROWID"
    )


def m0010_audit(db: Database) -> None:
    """Indexes for searches of the audit table."""
    for name, key in (("run", "run"), ("of", "of"), ("refused", "call")):
        value = f"json_extract(arguments, '$.{key}')"
        db.execute(f"CREATE INDEX audit_{name} ON audit ({value}) WHERE {value} IS NOT NULL")
    for column in ("uid", "user", "call", "at"):
        db.execute(f"CREATE INDEX audit_{column} ON audit ({column})")


def m0011_generations(db: Database) -> None:
    """The generation of the daemon; after a restore, the hosts whose notes are merged."""
    for column in (
        "generation INTEGER NOT NULL DEFAULT 1", "restored_at REAL", "superseded_by INTEGER",
    ):  # fmt: skip
        db.execute(f"ALTER TABLE identity ADD COLUMN {column}")
    db.execute("CREATE TABLE merged (host TEXT PRIMARY KEY, at REAL NOT NULL) STRICT")
    db.execute("CREATE TABLE restored_runs (run_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")


def m0012_inherited(db: Database) -> None:
    """Artifacts of removed runs that retries use, because they kept their stages."""
    inherited_table(db.conn)


def m0013_warnings(db: Database) -> None:
    """When a stage got the warning before its time limit, and the result."""
    db.execute("ALTER TABLE attempts ADD COLUMN warned_at REAL")
    db.execute("ALTER TABLE attempts ADD COLUMN warning TEXT NOT NULL DEFAULT ''")


def m0014_nested(db: Database) -> None:
    """The parent of each nested run."""
    db.execute("ALTER TABLE runs ADD COLUMN parent TEXT")
    db.execute("CREATE INDEX runs_parent ON runs (parent) WHERE parent IS NOT NULL")


def m0015_images(db: Database) -> None:
    """Images whose blobs lie in the content store."""
    db.execute(
        "CREATE TABLE images (digest TEXT PRIMARY KEY, name TEXT NOT NULL, host TEXT NOT NULL,"
        " ids TEXT NOT NULL, blobs TEXT NOT NULL, size INTEGER NOT NULL, taken_at REAL NOT NULL,"
        " used_at REAL NOT NULL) STRICT, WITHOUT ROWID"
    )


def m0016_services(db: Database) -> None:
    """When a replica of a service was ready, and its port."""
    db.execute("ALTER TABLE attempts ADD COLUMN ready_at REAL")
    db.execute("ALTER TABLE attempts ADD COLUMN port INTEGER")


def m0017_tokens(db: Database) -> None:
    """Tokens of the gateway, by their SHA-256."""
    db.execute(
        "CREATE TABLE gateway_tokens (token_id TEXT PRIMARY KEY, owner TEXT NOT NULL,"
        " uid INTEGER NOT NULL, digest TEXT NOT NULL UNIQUE, services TEXT NOT NULL,"
        " made_at REAL NOT NULL, until REAL NOT NULL, revoked_at REAL) STRICT, WITHOUT ROWID"
    )


def m0018_service_wishes(db: Database) -> None:
    """What users requested for the services of a run, different from its file."""
    db.execute("ALTER TABLE runs ADD COLUMN services TEXT NOT NULL DEFAULT '{}'")


def m0019_releases(db: Database) -> None:
    """Services, their releases, and the steps of releases."""
    release_tables(db.conn)


def m0020_reach(db: Database) -> None:
    """The address of the host at which a replica is reached; NULL: loopback."""
    db.execute("ALTER TABLE attempts ADD COLUMN address TEXT")


def m0021_token_owners(db: Database) -> None:
    """The owner of each service that a token names, at the time of its creation; {}: any owner."""
    db.execute("ALTER TABLE gateway_tokens ADD COLUMN owners TEXT NOT NULL DEFAULT '{}'")


STATE = Schema(
    "hostler",
    (
        m0001_first,
        m0002_alerts,
        m0003_gpu_events,
        m0004_submissions,
        m0005_kept_files,
        m0006_collecting,
        m0007_history,
        m0008_retries,
        m0009_announced,
        m0010_audit,
        m0011_generations,
        m0012_inherited,
        m0013_warnings,
        m0014_nested,
        m0015_images,
        m0016_services,
        m0017_tokens,
        m0018_service_wishes,
        m0019_releases,
        m0020_reach,
        m0021_token_owners,
    ),
)
