"""The schema of a database as numbered steps. An old file gets the missing steps one by one, an
empty file all at once."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations


@dataclass(frozen=True)
class Schema:
    """The numbered steps of one database, oldest first."""

    name: str
    steps: tuple[Callable[[Database], None], ...]
    migrations: Migrations = field(init=False)

    def __post_init__(self) -> None:
        migrations = Migrations(self.name)
        for step in self.steps:
            migrations(name=step.__name__)(step)
        object.__setattr__(self, "migrations", migrations)

    def newer(self, db: Database) -> list[str]:
        """Steps of the database that this version does not know."""
        known = {step.__name__ for step in self.steps}
        return [done.name for done in self.migrations.applied(db) if done.name not in known]

    def is_pending(self, db: Database) -> bool:
        """Whether the database lacks a step. Only reads."""
        return bool(self.migrations.pending(db))

    def apply(self, db: Database) -> None:
        """Apply the missing steps, each with its record in one transaction. An empty database gets
        all steps in one transaction: after a crash it is complete or still empty."""
        if db.table_names():
            self.migrations.apply(db)
            return
        with contextlib.closing(_in_memory()) as made:
            made.deserialize(empty_database(self))
            made.backup(db.conn)


@functools.cache
def empty_database(schema: Schema) -> bytes:
    """A database with all steps and no rows, made in memory, where no step needs a sync."""
    with contextlib.closing(_in_memory()) as made:
        schema.migrations.apply(Database(made, recursive_triggers=False, execute_plugins=False))
        return made.serialize()


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)
