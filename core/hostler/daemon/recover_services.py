"""Restores the deployed services of a lost database from the notes on hosts."""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hostler.base.errors import ConflictError, NotFoundError
from hostler.daemon.copy_format import Signer, decode_spec
from hostler.decide.releases.notes import Found
from hostler.model.events import EventKind
from hostler.model.records import NewEvent
from hostler.model.releases import Release, ReleaseState
from hostler.model.runs import Outcome, Run, RunChange
from hostler.model.service_wishes import ServiceWish, WishChange, newest_wishes
from hostler.store.database import Store
from hostler.store.recovered_services import take_service
from hostler.store.releases import Releases

_MOST_UNSIGNED = 24 * 1024 * 1024
"""Bytes of unsigned specifications once unpacked, in all."""


@dataclass(frozen=True, slots=True)
class LostService:
    """A service that hosts know and the database does not know, or knows less about."""

    found: Found
    runs: Mapping[str, tuple[Run, str]]
    """Run id of a release -> the run as submitted, and its pipeline file."""

    @property
    def name(self) -> str:
        """The name of the service."""
        return self.found.name

    @property
    def is_signed(self) -> bool:
        """All known data about it is signed by the daemon."""
        return not self.found.doubts


def lost_services(found: Iterable[Found], signer: Signer) -> tuple[LostService, ...]:
    """Lost services, with the runs of their releases. Unsigned ones only as far as they can be
    shown."""
    made, left = [], _MOST_UNSIGNED
    for each in found:
        runs: dict[str, tuple[Run, str]] = {}
        for run_id, run, text, size in _decoded(each, signer):
            left -= size if each.doubts else 0
            if left >= 0:
                runs[run_id] = run, text
        made.append(LostService(each, runs))
    return tuple(made)


def _decoded(found: Found, signer: Signer) -> Iterator[tuple[str, Run, str, int]]:
    for run_id, packed in found.note.specs.items():
        try:
            spec = decode_spec(packed, run_id, signer)
        except (ValueError, zlib.error, RecursionError):
            continue
        if spec.is_signed or found.doubts:
            yield run_id, spec.run, spec.pipeline_text, spec.size


async def known_services(store: Store) -> Mapping[str, int]:
    """Service -> its revision in the database."""
    stored = await Releases(*store.connections).services()
    return {deployment.name: deployment.revision for deployment in stored}


async def restore_services(
    store: Store, services: Sequence[LostService], ended: Collection[str], actor: str
) -> dict[str, str]:
    """Write them into the database, after the runs that hosts hold; `ended`: runs that are known to
    have ended. May be repeated. Returns service -> why it could not be restored."""
    failed: dict[str, str] = {}
    for service in services:
        try:
            await restore_service(store, service, ended, actor)
        except (ConflictError, NotFoundError) as error:
            failed[service.name] = error.message
    return failed


async def restore_service(
    store: Store, service: LostService, ended: Collection[str], actor: str | None
) -> list[str]:
    """Restore a service; returns the runs that were added as open ones, because no host held them.
    Raises ConflictError."""
    note, begun = service.found.note, []
    for release in sorted(note.releases, key=lambda r: r.number):
        if release.run_id not in service.runs:
            continue
        is_over = await store.is_over(release.run_id)
        if is_over is False and service.is_signed:
            await _wish_again(store, service.runs[release.run_id][0])
        if is_over is not None:
            continue
        run, text = service.runs[release.run_id]
        run = replace(run, outcome=None, finished_at=None)
        await store.create_run(run, text, [])
        if service.is_signed and release.run_id not in ended and _serves(release):
            begun.append(run.run_id)
        else:
            at = max(release.changed_at, run.submitted_at)
            await store.end_run(run.run_id, _outcome(release), at)
    writer, _ = store.connections
    await take_service(writer, note, _event(service, actor))
    return begun


async def _wish_again(store: Store, told: Run) -> None:
    """The last target of a run, if the run's copies do not contain it yet."""
    known = (await store.get_run(told.run_id)).services
    for base, wish in newest_wishes([known, told.services]).items():
        if wish != known.get(base):
            await wish_again(store, told.run_id, base, wish)


async def wish_again(store: Store, run_id: str, base: str, wish: ServiceWish) -> RunChange:
    """Restore the target of a service from the hosts' notes; returns the changed values of the run.
    Raises ConflictError."""
    change: WishChange = {
        "replicas": wish.replicas, "scaled_by": wish.scaled_by, "until": wish.until,
        "stopped": wish.stopped, "at": wish.at,
    }  # fmt: skip
    said = f"the settings of {base} were recovered from a host"
    event = NewEvent(at=time.time(), kind=EventKind.SERVICE_SCALED, message=said, run_id=run_id)
    return await store.wish_service(run_id, base, change, event)


def _serves(release: Release) -> bool:
    return release.state is ReleaseState.LIVE or release.state.is_open


def _outcome(release: Release) -> Outcome:
    if release.state is ReleaseState.RETIRED:
        return Outcome.SUCCEEDED
    return Outcome.FAILED if release.state is ReleaseState.RESTORED else Outcome.CANCELLED


def _event(service: LostService, actor: str | None) -> NewEvent:
    note, hosts = service.found.note, ", ".join(service.found.hosts)
    live = note.deployment.live
    said = f"service {service.name} was recovered from {hosts}"
    return NewEvent(
        at=time.time(),
        kind=EventKind.RUN_RECOVERED,
        message=said + (f": release {live} is live" if live is not None else ""),
        severity="warning",
        run_id=next((r.run_id for r in note.releases if r.number == live), None),
        actor=actor,
    )
