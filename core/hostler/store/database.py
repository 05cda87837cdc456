"""The state database: the store's methods, durable when they return; the form of run ids."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Unpack

from hostler.insight.search import Search
from hostler.model.calls import AuditEntry
from hostler.model.files import Artifact
from hostler.model.hosts import HostFacts
from hostler.model.records import (
    Acknowledged,
    AttemptFilter,
    AuditFilter,
    Drain,
    MetricPoint,
    NewEvent,
    RunFilter,
    SubmissionKey,
)
from hostler.model.runs import Attempt, AttemptChange, Event, Outcome, Run, RunChange
from hostler.model.service_wishes import WishChange
from hostler.model.views.runs import RunRow
from hostler.store import alerts, audit, history, reads, run_texts, writes
from hostler.store.connections import LateParts, Readers, Writer
from hostler.store.files import private_folder
from hostler.store.generations import Generations, identity
from hostler.store.history import summaries
from hostler.store.images import Images
from hostler.store.inherited import inherited
from hostler.store.kept import KeptMethods
from hostler.store.log_store import LogStore
from hostler.store.logs import LogFile
from hostler.store.metrics import MetricStore
from hostler.store.migrations import STATE
from hostler.store.nested import NestedMethods
from hostler.store.opening import DailyCopy, back_up, is_copy_due, open_for_writing
from hostler.store.tokens import Tokens
from hostler.store.uses import UseMethods

__all__ = ["NewEvent", "Store", "new_run_id"]

_ANY_RUN = RunFilter()
_ANY_ATTEMPT = AttemptFilter()
_ANY_ENTRY = AuditFilter()

_RUN_ID_CHARACTERS = "0123456789abcdefghjkmnpqrstuvwxyz"
"""Without i, l and o, which look like digits."""


def new_run_id() -> str:
    """A new id like `r7f3a2k`: short, easy to type, without a dash. It is one of 1.3 billion;
    `create_run` refuses an id that is in use."""
    return "r" + "".join(secrets.choice(_RUN_ID_CHARACTERS) for _ in range(6))


class Store(KeptMethods, NestedMethods, UseMethods, LateParts):
    """Runs, attempts, events, drains and audit in `hostler.db`; `metrics` in a second file; `logs`.

    Each method that changes data returns after the commit is synced, and may be repeated. `asked`,
    the audit entry of a user's request, is stored in the same commit. All raise StateError for
    errors of the disk or database.
    """

    def __init__(
        self, folder: Path, daemon_id: str, writer: Writer, readers: Readers, metrics: MetricStore
    ) -> None:
        self.folder = folder
        self.daemon_id = daemon_id
        """32 hex digits; part of the name and labels of every container."""
        self.metrics = metrics
        self.logs = LogStore(folder / "logs")
        self.generations = Generations(writer, readers)
        self.images = Images(writer, readers)
        self.tokens = Tokens(writer, readers)
        self._writer = writer
        self._readers = readers
        self._copy: DailyCopy | None = None
        self._packing: asyncio.Task[None] | None = None
        """Compresses texts of runs that an earlier version stored, a few at a time."""

    @classmethod
    async def open(cls, folder: Path) -> Store:
        """Open the state folder (0700) and its files, or make them.

        Raises StateError (unusable, or damaged: kept) or SchemaTooNew (nothing is changed).
        """
        path = folder / "hostler.db"
        is_old = path.exists()
        store = await asyncio.to_thread(_open, cls, folder)
        if is_old and is_copy_due(path):
            store._copy = DailyCopy(path)
        if await store._readers.run(run_texts.are_unpacked):
            store._packing = asyncio.create_task(run_texts.pack_all(store._write))
        return store

    async def close(self) -> None:
        """Finish waiting changes, close all files. May be called twice."""
        if self._packing is not None:
            self._packing.cancel()
            await asyncio.wait([self._packing])
        if self._copy is not None:
            await self._copy.stop()
        self.logs.close()
        await self.metrics.close()
        await asyncio.to_thread(self._readers.close)
        await asyncio.to_thread(self._writer.close)

    @property
    def commits(self) -> int:
        """Number of committed transactions: while it is unchanged, a read returns the same."""
        return self._writer.commits

    async def back_up(self) -> Path:
        """Make a consistent copy of the state database in `backups/`; returns its path."""
        return await asyncio.to_thread(back_up, self.folder / "hostler.db")

    async def create_run(
        self,
        run: Run,
        pipeline_text: str,
        events: Sequence[NewEvent],
        key: SubmissionKey | None = None,
        asked: AuditEntry | None = None,
    ) -> tuple[Event, ...]:
        """Store a new run; returns its events with numbers, or none if the run already exists.

        Raises ConflictError if another run has this id, SubmittedBefore if a run has this key.
        """
        return await self._write(
            lambda db: writes.create_run(db, run, pipeline_text, events, key, asked)
        )

    async def find_submission(self, uid: int, key: str) -> tuple[str, str] | None:
        """Digest and run of the submission with this key."""
        return await self._readers.run(lambda db: reads.find_submission(db, uid, key))

    async def add_attempt(
        self, attempt: Attempt, event: NewEvent | None = None, facts: HostFacts | None = None
    ) -> Event | None:
        """Store the intent to start an attempt, which holds its GPUs from then on.

        Raises ConflictError if another open attempt of any run holds one of the GPUs, if the stage
        has an open attempt, or if the run has ended; NotFoundError if the run does not exist.
        """
        return await self._write(lambda db: writes.add_attempt(db, attempt, event, facts))

    async def change_attempt(
        self, attempt_id: str, event: NewEvent | None = None, **changes: Unpack[AttemptChange]
    ) -> Event | None:
        """Store these fields of an attempt, with the event. A final phase releases the GPUs.

        Raises NotFoundError for an unknown attempt, ConflictError if it ended in another way.
        """
        return await self._write(lambda db: writes.change_attempt(db, attempt_id, changes, event))

    async def end_run(
        self, run_id: str, outcome: Outcome, at: float, event: NewEvent | None = None
    ) -> Event | None:
        """Store the outcome. Raises ConflictError if the run has another outcome already, or while
        an attempt is open."""
        return await self._write(lambda db: writes.end_run(db, run_id, outcome, at, event))

    async def request_cancel(
        self,
        run_id: str,
        by: str,
        event: NewEvent | None = None,
        asked: AuditEntry | None = None,
    ) -> RunChange:
        """Store who cancelled the run; returns the stored value. Raises ConflictError if it has
        ended."""
        return await self._write(lambda db: writes.request_cancel(db, run_id, by, event), asked)

    async def wish_service(
        self, run_id: str, base: str, changes: WishChange, event: NewEvent,
        asked: AuditEntry | None = None,
    ) -> RunChange:  # fmt: skip
        """Store the requests for a service; returns those for all services of the run. Raises
        ConflictError if it has ended."""
        return await self._write(
            lambda db: writes.wish_service(db, run_id, base, changes, event), asked
        )

    async def lower_priority(
        self,
        run_id: str,
        priority: int,
        event: NewEvent | None = None,
        asked: AuditEntry | None = None,
    ) -> RunChange:
        """Store a run's new priority if it is lower; returns the stored one. Raises ConflictError
        if it has ended."""
        return await self._write(
            lambda db: writes.lower_priority(db, run_id, priority, event), asked
        )

    async def delete_run(
        self,
        run_id: str,
        event: NewEvent | None = None,
        now: float = -math.inf,
        asked: AuditEntry | None = None,
    ) -> None:
        """Remove a finished run: rows, events, metrics, logs. The next gc removes its blobs. The
        event, which belongs to no run, names the user; without an event, `now` is the time of the
        removal. Raises ConflictError if a user keeps the run, or if files of it stay on a host and
        no user requested the removal."""
        attempts = await self._write(lambda db: writes.delete_run(db, run_id, event, now), asked)
        await self.metrics.forget(attempts)
        await asyncio.to_thread(self.logs.remove_run, run_id)

    async def add_event(self, event: NewEvent) -> Event:
        """Add an event; returns it with its number."""
        return (await self._write(lambda db: writes.add_events(db, [event])))[0]

    async def add_artifact(self, artifact: Artifact) -> None:
        """Store a collected output."""
        await self._write(lambda db: writes.put_artifact(db, artifact))

    async def call_partial(self, attempt_id: str) -> None:
        """Mark the collected outputs of an attempt that did not succeed as partial."""
        await self._write(lambda db: writes.call_partial(db, attempt_id))

    async def set_drain(
        self, drain: Drain, event: NewEvent | None = None, asked: AuditEntry | None = None
    ) -> Event | None:
        """Drain a host: it gets no new work."""
        return await self._write(lambda db: writes.set_drain(db, drain, event), asked)

    async def clear_drain(
        self, host: str, event: NewEvent | None = None, asked: AuditEntry | None = None
    ) -> Event | None:
        """End the drain of a host; returns no event if the host was not drained."""
        return await self._write(lambda db: writes.clear_drain(db, host, event), asked)

    async def add_audit(self, entry: AuditEntry) -> None:
        """Add the entry of a call that changes data. Its secrets must be masked already."""
        await self._write(lambda db: audit.add_audit(db, entry))

    async def put_stage_metrics(
        self, attempt_id: str, points: Sequence[MetricPoint], first: int = 0
    ) -> None:
        """Store points of an attempt's metrics file from row `first` on; repeatable."""
        await self.metrics.put_stage_metrics(attempt_id, points, first)

    def open_log(
        self, run_id: str, attempt_id: str, cap: int, secrets: Sequence[str] | None = ()
    ) -> LogFile:
        """The log file of an attempt, for appending; the same object while it is open."""
        return self.logs.open(run_id, attempt_id, cap, secrets)

    async def open_runs(self) -> list[Run]:
        """Runs without an outcome, with all their stages and attempts, oldest first."""
        return await self._readers.run(reads.open_runs)

    async def get_run(self, run_id: str) -> Run:
        """A run with stages and attempts, by id or unique prefix. Raises like `resolve`."""
        return await self._readers.run(lambda db: reads.get_run(db, run_id))

    async def get_outcome(self, run_id: str) -> Outcome | None:
        """The outcome of the run with exactly this id; None: it is open. Raises NotFoundError."""
        return await self._readers.run(lambda db: reads.get_outcome(db, run_id))

    async def resolve(self, prefix: str) -> str:
        """The run id with this prefix. Raises NotFoundError, or InputError naming candidates."""
        return await self._readers.run(lambda db: reads.resolve(db, prefix))

    async def tagged(self, uid: int, tag: str) -> str | None:
        """Id of the newest image that a user built under a name; None: there is none."""
        from hostler.store.tags import tagged  # few runs name an image of a build

        return await self._readers.run(lambda db: tagged(db, uid, tag))

    async def list_runs(self, wanted: RunFilter = _ANY_RUN, limit: int = 100) -> list[RunRow]:
        """Rows for a list, newest first."""
        return await self._readers.run(lambda db: summaries(db, wanted, limit))

    async def search_runs(
        self, wanted: Search, limit: int, offset: int
    ) -> tuple[int, list[RunRow]]:
        """The number of matching runs, and a page of them. Raises InputError."""
        return await self._readers.run(lambda db: history.search(db, wanted, limit, offset))

    async def pipeline_text(self, run_id: str) -> str:
        """The submitted pipeline file of a run. Raises NotFoundError."""
        return await self._readers.run(lambda db: reads.pipeline_text(db, run_id))

    async def attempts(
        self, wanted: AttemptFilter = _ANY_ATTEMPT, limit: int = 1000
    ) -> list[Attempt]:
        """Attempts; the one placed last comes first."""
        return await self._readers.run(lambda db: reads.attempts(db, wanted, limit))

    async def events(
        self,
        after_seq: int = 0,
        run_id: str | None = None,
        limit: int = 1000,
        *,
        host: str | None = None,
    ) -> list[Event]:
        """Events with a number above `after_seq`, in order."""
        return await self._readers.run(lambda db: reads.events(db, after_seq, run_id, host, limit))

    async def seq_before_last(self, limit: int, host: str | None = None) -> int:
        """The number before the newest `limit` events, of all hosts or of one."""
        return await self._readers.run(lambda db: reads.seq_before_last(db, limit, host))

    async def last_seq(self) -> int:
        """The number of the newest event; 0 if there is none."""
        return await self._readers.run(reads.last_seq)

    async def telling_events(
        self, after_seq: int, kinds: Sequence[str], limit: int
    ) -> tuple[list[Event], int]:
        """See `alerts.telling_events`."""
        return await self._readers.run(
            lambda db: alerts.telling_events(db, after_seq, kinds, limit)
        )

    async def gpu_faults(self) -> Mapping[tuple[str, str], str]:
        """See `alerts.gpu_faults`."""
        return await self._readers.run(alerts.gpu_faults)

    async def acknowledged(self) -> Mapping[int, Acknowledged]:
        """Number of an alert -> who acknowledged it, and when."""
        return await self._readers.run(alerts.acknowledged)

    async def acknowledge(
        self, seen: Acknowledged, event: NewEvent | None = None, asked: AuditEntry | None = None
    ) -> None:
        """Store an acknowledgement of an alert."""
        await self._write(lambda db: _with_event(db, event, lambda: alerts.put(db, seen)), asked)

    async def unacknowledge(
        self, alert: int, event: NewEvent | None = None, asked: AuditEntry | None = None
    ) -> None:
        """Remove the acknowledgement of an alert."""
        await self._write(lambda db: _with_event(db, event, lambda: alerts.drop(db, alert)), asked)

    async def artifacts(self, run_id: str) -> list[Artifact]:
        """Artifacts of a run."""
        return await self._readers.run(lambda db: reads.artifacts(db, run_id))

    async def inherited(self, run_id: str) -> list[Artifact]:
        """Artifacts of removed runs that a run uses, because it kept their stages."""
        return await self._readers.run(lambda db: inherited(db, run_id))

    async def drains(self) -> Mapping[str, Drain]:
        """Drained hosts by name."""
        return await self._readers.run(reads.drains)

    async def facts_of_attempt(self, attempt_id: str) -> HostFacts | None:
        """Facts of the attempt's host at its placement; None: not stored."""
        return await self._readers.run(lambda db: reads.facts_of_attempt(db, attempt_id))

    async def is_over(self, run_id: str) -> bool | None:
        """Whether a run that a host reports is ended or removed; None: it was never here."""
        return await self._readers.run(lambda db: reads.is_over(db, run_id))

    async def audit(self, wanted: AuditFilter = _ANY_ENTRY, limit: int = 100) -> list[AuditEntry]:
        """Calls that changed data, newest first."""
        return await self._readers.run(lambda db: audit.audit(db, wanted, limit))

    async def runs_needed_since(self, since: float, spared: Collection[str]) -> list[Run]:
        """Whole runs that are open, ended after `since`, or have one of the ids `spared`."""
        return await self._readers.run(lambda db: reads.runs_needed_since(db, since, spared))


def _open(cls: type[Store], folder: Path) -> Store:
    private_folder(folder)
    path = folder / "hostler.db"
    with contextlib.ExitStack() as undo:
        connection = open_for_writing(path, STATE, synchronous="FULL", backups=True)
        undo.callback(connection.close)
        daemon_id = identity(folder, connection)
        readers = Readers(path)
        undo.callback(readers.close)
        metrics = MetricStore.open(folder / "metrics.db")
        store = cls(folder, daemon_id, Writer(connection, path), readers, metrics)
        undo.pop_all()
    return store


def _with_event(
    connection: sqlite3.Connection, event: NewEvent | None, change: Callable[[], None]
) -> None:
    """Make a change and add its event, in one transaction."""
    change()
    if event is not None:
        writes.add_events(connection, [event])
