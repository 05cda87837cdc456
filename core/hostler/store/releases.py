"""Services, their releases and the steps of releases: SQL statements, and the deploy lock. A step
is stored in one transaction with all its changes, so that after a kill either all are stored or
none."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from hostler.base.errors import ConflictError, NotFoundError
from hostler.decide.releases.opening import locked
from hostler.model.calls import AuditEntry, Caller
from hostler.model.records import NewEvent, SubmissionKey
from hostler.model.releases import (
    Deployment,
    Lock,
    NewStep,
    Release,
    ReleaseState,
    Slot,
    Step,
    StepKind,
    Strategy,
)
from hostler.model.runs import Run, RunChange
from hostler.model.service_wishes import WishChange
from hostler.store import writes
from hostler.store.audit import add_audit
from hostler.store.connections import Readers, Writer
from hostler.store.rows import SqlValue, storable

Connection = sqlite3.Connection

_RELEASE = (
    "service", "number", "run_id", "image", "strategy", "state", "replicas", "surge", "replaces",
    "by", "uid", "at", "reason", "changed_at",
)  # fmt: skip
_STEP = (
    "service", "number", "at", "kind", "state", "slot_release", "slot_index", "next_release",
    "next_index", "reason",
)  # fmt: skip
SELECT_RELEASE = f"SELECT {', '.join(_RELEASE)} FROM releases"
IS_OPEN = "state NOT IN ('live', 'retired', 'restored')"


@dataclass(frozen=True, slots=True)
class Opening:
    """A release that is to be opened, together with its run."""

    release: Release
    """With the next number of its service."""
    owner: Caller
    """The service's owner, as used for the check of the caller's rights."""
    run: Run
    pipeline_text: str


@dataclass(frozen=True, slots=True)
class Scaling:
    """A new number of replicas of a live release."""

    service: str
    number: int
    """Number of the release."""
    replicas: int
    run_id: str
    base: str
    wish: WishChange | None = None
    """The change that gives its run more slots, if it has too few."""


@dataclass(frozen=True, slots=True)
class LastRelease:
    """The release of a service that was live last; if none was, the newest one."""

    service: str
    number: int
    run_id: str
    reason: str
    """Why it is in its state, for people."""
    ended_at: float | None
    """When its run ended; None: it has not."""


class Releases:
    """The tables `services`, `releases` and `release_steps`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def services(self) -> list[Deployment]:
        """All services, by name."""
        return await self._readers.run(_services)

    async def releases(self, service: str, limit: int = 100) -> list[Release]:
        """The releases of a service, newest first."""
        return await self._readers.run(lambda db: _releases(db, service, limit))

    async def last(self, services: Sequence[str]) -> list[LastRelease]:
        """The last release of each of these services, in their order."""
        return await self._readers.run(lambda db: _last(db, services))

    async def steps(self, service: str, number: int) -> list[Step]:
        """The steps of a release, in order."""
        return await self._readers.run(lambda db: steps_of(db, service, number))

    async def open(
        self,
        opening: Opening,
        events: Sequence[NewEvent],
        key: SubmissionKey | None = None,
        asked: AuditEntry | None = None,
    ) -> Release:
        """Store a release together with its run, and with its service if that is new. It holds the
        deploy lock from then on.

        Raises ConflictError if another release is open, another one went live meanwhile, or the
        service belongs to another user; SubmittedBefore like `create_run`.
        """
        return await self._writer.submit(lambda db: _open(db, opening, events, key, asked))

    async def scale(
        self, scaling: Scaling, event: NewEvent, asked: AuditEntry | None = None
    ) -> RunChange:
        """Store a new number of replicas, and the slots for them; returns the changes of the run.
        Raises ConflictError if a release is open, or another release is live."""
        return await self._writer.submit(lambda db: _scale(db, scaling, event, asked))

    async def written(self) -> None:
        """Wait until all earlier changes are stored. Raises StateError."""
        await self._writer.submit(lambda db: None)

    async def add_step(self, step: NewStep, event: NewEvent | None = None) -> Step:
        """Store a step with all its changes. If the release already has the step's state, nothing
        is written.

        Raises ConflictError for a step that is not allowed in the release's state.
        """
        return await self._writer.submit(lambda db: _add_step(db, step, event))


def _services(connection: Connection) -> list[Deployment]:
    rows = connection.execute("SELECT name FROM services ORDER BY name").fetchall()
    return [_service(connection, row["name"]) for row in rows]


def _service(connection: Connection, name: str) -> Deployment:
    row = connection.execute("SELECT * FROM services WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotFoundError(f"no service {name}", remedy="list them: hostler services")
    opened = _opened(connection, name)
    lock = None if opened is None else Lock(opened.number, opened.by, opened.uid, opened.at)
    return Deployment(
        row["name"], row["uid"], row["owner"], row["replicas"], row["live"], lock, row["revision"]
    )


def _opened(connection: Connection, service: str) -> Release | None:
    row = connection.execute(
        f"{SELECT_RELEASE} WHERE service = ? AND {IS_OPEN}", (service,)
    ).fetchone()
    return None if row is None else _release(row)


def _releases(connection: Connection, service: str, limit: int) -> list[Release]:
    rows = connection.execute(
        f"{SELECT_RELEASE} WHERE service = ? ORDER BY number DESC LIMIT ?", (service, limit)
    )
    return [_release(row) for row in rows]


def _last(connection: Connection, services: Sequence[str]) -> list[LastRelease]:
    text = (
        "SELECT r.service, r.number, r.run_id, r.reason, runs.finished_at AS ended_at"
        " FROM services s JOIN releases r ON r.service = s.name AND r.number = coalesce(s.live,"
        " (SELECT max(number) FROM releases WHERE service = s.name))"
        " JOIN runs ON runs.run_id = r.run_id WHERE s.name = ?"
    )
    rows = (connection.execute(text, (name,)).fetchone() for name in services)
    return [LastRelease(**dict(row)) for row in rows if row is not None]


def _find(connection: Connection, service: str, number: int) -> Release:
    key = (service, number)
    row = connection.execute(f"{SELECT_RELEASE} WHERE service = ? AND number = ?", key).fetchone()
    if row is None:
        raise NotFoundError(
            f"service {service} has no release {number}", remedy=f"hostler releases {service}"
        )
    return _release(row)


def _release(row: sqlite3.Row) -> Release:
    values = dict(zip(row.keys(), row, strict=True))
    strategy, state = Strategy(values["strategy"]), ReleaseState(values["state"])
    return Release(**{**values, "strategy": strategy, "state": state})


def steps_of(connection: Connection, service: str, number: int) -> list[Step]:
    """The steps of a release, in order."""
    rows = connection.execute(
        f"SELECT seq, {', '.join(_STEP)} FROM release_steps WHERE service = ? AND number = ?"
        " ORDER BY seq",
        (service, number),
    )
    return [_step(row) for row in rows]


def _step(row: sqlite3.Row) -> Step:
    state = row["state"]
    return Step(
        row["service"], row["number"], row["at"], StepKind(row["kind"]),
        None if state is None else ReleaseState(state),
        _slot(row["slot_release"], row["slot_index"]),
        _slot(row["next_release"], row["next_index"]),
        row["reason"], row["seq"],
    )  # fmt: skip


def _slot(release: int | None, index: int | None) -> Slot | None:
    return None if release is None or index is None else Slot(release, index)


def _open(
    connection: Connection,
    opening: Opening,
    events: Sequence[NewEvent],
    key: SubmissionKey | None,
    asked: AuditEntry | None,
) -> Release:
    run, release = opening.run, opening.release
    made = writes.create_run(connection, run, opening.pipeline_text, events, key, asked)
    there = connection.execute(f"{SELECT_RELEASE} WHERE run_id = ?", (run.run_id,)).fetchone()
    if not made and there is not None:
        return _release(there)
    _ensure_service(connection, opening)
    _check_may_open(connection, release)
    _check_number(connection, release)
    stored = replace(release, run_id=run.run_id, state=ReleaseState.DELIVERING)
    put_release(connection, stored)
    _grow(connection, release.service)
    return stored


def _scale(
    connection: Connection, scaling: Scaling, event: NewEvent, asked: AuditEntry | None
) -> RunChange:
    there = _service(connection, scaling.service)
    if there.lock is not None or there.live != scaling.number:
        raise ConflictError(
            f"another release of {scaling.service} was deployed at the same time",
            remedy="wait until it is over, and scale that one",
        )
    change: RunChange = {}
    if scaling.wish is not None:
        change = writes.wish_service(connection, scaling.run_id, scaling.base, scaling.wish, None)
    connection.execute(
        "UPDATE services SET replicas = ? WHERE name = ?", (scaling.replicas, scaling.service)
    )
    _grow(connection, scaling.service)
    writes.add_events(connection, [event])
    if asked is not None:
        add_audit(connection, asked)
    return change


def _ensure_service(connection: Connection, opening: Opening) -> None:
    name, owner = opening.release.service, opening.owner
    connection.execute(
        "INSERT OR IGNORE INTO services (name, uid, owner, replicas, live, revision)"
        " VALUES (?, ?, ?, 0, NULL, 0)",
        (name, owner.uid, storable(owner.user)),
    )
    there = _service(connection, name)
    if there.uid != owner.uid:
        raise ConflictError(
            f"service {name} belongs to {there.owner}", remedy="choose another name for yours"
        )


def _check_may_open(connection: Connection, release: Release) -> None:
    service = release.service
    if (opened := _opened(connection, service)) is not None:
        since = release.at - opened.at
        raise ConflictError(
            locked(service, opened.number, opened.by, since, opened.state),
            remedy=f"wait until it is over, or stop it: hostler rollback {service}",
        )
    live = _service(connection, service).live
    if live != release.replaces:
        raise ConflictError(
            f"release {live} of {service} went live at the same time", remedy="deploy again"
        )


def _check_number(connection: Connection, release: Release) -> None:
    found = "SELECT coalesce(max(number), 0) FROM releases WHERE service = ?"
    last = int(connection.execute(found, (release.service,)).fetchone()[0])
    if release.number != last + 1:
        raise ConflictError(
            f"release {last} of {release.service} was deployed at the same time",
            remedy="deploy again",
        )


def put_release(connection: Connection, release: Release) -> None:
    """Store a new release; of an existing one, only the state is changed."""
    values = [_column(getattr(release, name)) for name in _RELEASE]
    marks = ", ".join("?" * len(_RELEASE))
    connection.execute(
        f"INSERT INTO releases ({', '.join(_RELEASE)}) VALUES ({marks})"
        " ON CONFLICT (service, number) DO UPDATE SET state = excluded.state,"
        " reason = excluded.reason, changed_at = excluded.changed_at",
        values,
    )


def _column(value: object) -> SqlValue:
    if isinstance(value, StrEnum):
        return value.value
    assert value is None or isinstance(value, (str, int, float))
    return storable(value) if isinstance(value, str) else value


def _grow(connection: Connection, service: str) -> None:
    """Increase the revision of a service: of several notes on hosts, the highest revision is
    used."""
    connection.execute("UPDATE services SET revision = revision + 1 WHERE name = ?", (service,))


def _add_step(connection: Connection, step: NewStep, event: NewEvent | None) -> Step:
    release = _find(connection, step.service, step.number)
    if step.state is not None and step.state is release.state:
        return steps_of(connection, step.service, step.number)[-1]
    _check_follows(release, step)
    if step.state is not None:
        _change_state(connection, release, step, step.state)
    stored = put_step(connection, step)
    _grow(connection, step.service)
    if event is not None:
        writes.add_events(connection, [event])
    return stored


def _check_follows(release: Release, step: NewStep) -> None:
    is_live = release.state is ReleaseState.LIVE
    if step.state is None:
        follows = release.state.is_open or is_live
    else:
        follows = release.state.may_become(step.state) and not is_live
    if not follows:
        raise ConflictError(
            f"release {release.number} of {release.service} is {release.state}: it cannot become "
            f"{step.state or step.kind}"
        )


def _change_state(
    connection: Connection, release: Release, step: NewStep, state: ReleaseState
) -> None:
    if state is ReleaseState.LIVE:
        connection.execute(
            "UPDATE releases SET state = ?, changed_at = ? WHERE service = ? AND state = ?",
            (ReleaseState.RETIRED.value, step.at, release.service, ReleaseState.LIVE.value),
        )
        connection.execute(
            "UPDATE services SET live = ?, replicas = ? WHERE name = ?",
            (release.number, release.replicas, release.service),
        )
    connection.execute(
        "UPDATE releases SET state = ?, reason = ?, changed_at = ? WHERE service = ?"
        " AND number = ?",
        (state.value, storable(step.reason), step.at, release.service, release.number),
    )


def put_step(connection: Connection, step: NewStep) -> Step:
    """Add a step with the next number."""
    slot, after = step.slot, step.successor
    values = (
        step.service, step.number, step.at, step.kind.value,
        None if step.state is None else step.state.value,
        None if slot is None else slot.release, None if slot is None else slot.index,
        None if after is None else after.release, None if after is None else after.index,
        storable(step.reason),
    )  # fmt: skip
    marks = ", ".join("?" * len(_STEP))
    statement = f"INSERT INTO release_steps ({', '.join(_STEP)}) VALUES ({marks})"
    seq = connection.execute(statement, values).lastrowid
    assert seq is not None  # SQLite numbers every row
    return Step(
        step.service, step.number, step.at, step.kind, step.state, slot, after, step.reason, seq
    )
