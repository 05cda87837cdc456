"""`hostler daemon recover`: asks all hosts for their copies of runs and rebuilds a lost database;
decisions are in `decide.recovery`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hostler.base.errors import ConflictError, HostError, HostlerError, NotFoundError, StateError
from hostler.daemon.copy_format import Signer
from hostler.daemon.copy_reading import read_copies
from hostler.daemon.recover_services import (
    LostService,
    known_services,
    lost_services,
    restore_services,
)
from hostler.daemon.service_notes import read_services
from hostler.daemon.token_notes import newest, read_tokens
from hostler.decide.recovery import Kept, Rebuilt, Recovery, rebuild, with_gpus_once
from hostler.decide.releases.notes import Told, choose
from hostler.model.config import HostConfig
from hostler.model.events import EventKind
from hostler.model.files import Artifact
from hostler.model.hosts import Look
from hostler.model.records import NewEvent
from hostler.model.runs import Attempt
from hostler.model.runtimes import traits_of
from hostler.model.timings import DEFAULT, Timings
from hostler.model.tokens import StoredToken, TokensNote
from hostler.ports import HostLink, Outside
from hostler.store.content import ContentStore
from hostler.store.copy_key import ended_runs, read_copy_key
from hostler.store.database import Store
from hostler.store.opening import read_identity


@dataclass(frozen=True, slots=True)
class Survey:
    """The answers of the hosts."""

    recovery: Recovery
    services: tuple[LostService, ...]
    heard: tuple[str, ...]
    silent: Mapping[str, str] = field(default_factory=dict)
    """Host that did not answer -> why."""
    tokens: tuple[StoredToken, ...] = ()
    """Tokens of the gateway, by the last signed note about them."""
    problems: tuple[str, ...] = ()
    """Copies that could not be read, and Dockers that do not answer, in sentences."""


def known_identity(state: Path) -> str:
    """The daemon's id, by the file beside the database. Raises StateError where it is lost too."""
    if not (state / "id").exists():
        raise StateError(
            f"{state}/id is missing; it identifies this daemon's work on the hosts",
            remedy="write the 32 hex digits into it again; they are the label hostler.daemon of "
            "its containers (docker inspect), and the names of folders in "
            "/var/tmp/hostler-UID/runs on the hosts",
        )
    return read_identity(state)


async def survey(
    hosts: Sequence[HostConfig],
    state: Path,
    daemon_id: str,
    outside: Outside,
    timings: Timings = DEFAULT,
) -> Survey:
    """Ask all hosts at once. Changes nothing, here or there."""
    signer = Signer(daemon_id, read_copy_key(state))
    results = await asyncio.gather(*(_ask(host, signer, outside, timings) for host in hosts))
    looks: dict[str, Look] = {}
    kept: list[Kept] = []
    noted: list[Told] = []
    silent: dict[str, str] = {}
    problems: list[str] = []
    tokens: list[TokensNote] = []
    for host, (found, why) in zip(hosts, results, strict=True):
        if found is None:
            silent[host.name] = why
        else:
            looks[host.name] = found.look
            kept += found.kept
            noted += found.noted
            tokens += [found.tokens] if found.tokens is not None else []
            problems += found.problems
    known = await _known(state, {item.run.run_id for item in kept} | _of_workloads(looks))
    recovery = rebuild(kept, looks, daemon_id, known.runs)
    services, ignored = choose(noted, known.services)
    return Survey(
        recovery, lost_services(services, signer), tuple(looks), silent,
        newest(tokens, time.time()), (*problems, *recovery.ignored, *ignored),
    )  # fmt: skip


async def restore(
    state: Path,
    runs: Sequence[Rebuilt],
    actor: str,
    services: Sequence[LostService] = (),
    tokens: Sequence[StoredToken] = (),
) -> dict[str, str]:
    """Write runs and services into the database, which is made if missing; the next start of the
    daemon continues them. May be repeated. Returns runs and services with contradictory notes of
    hosts, and why. Raises StateError."""
    store = await Store.open(state)
    failed: dict[str, str] = {}
    try:
        content = ContentStore(state)
        for rebuilt in with_gpus_once(runs):
            try:
                await _restore(store, content, rebuilt, actor)
            except (ConflictError, NotFoundError) as error:
                failed[rebuilt.run.run_id] = error.message
        await store.tokens.take(tokens)
        failed |= {
            service_key(name): why
            for name, why in (
                await restore_services(store, services, ended_runs(state), actor)
            ).items()
        }
        if (await store.generations.life()).restored_at is not None:
            # They wait for the hosts that are not merged yet, as those of the backup do.
            await store.generations.add_restored(rebuilt.run.run_id for rebuilt in runs)
    finally:
        await store.close()
    return failed


def with_own_address(item: Kept, address: str | None) -> Kept:
    """The copies, without replica addresses in unsigned notes that are not the host's own address
    by the config: the gateway would send requests there."""
    if not item.notes_doubt:
        return item
    attempts = (note.attempt for note in item.notes)
    own = (a if a.address in (None, address) else replace(a, address=None) for a in attempts)
    notes = (replace(note, attempt=a) for note, a in zip(item.notes, own, strict=True))
    return replace(item, notes=tuple(notes))


def service_key(name: str) -> str:
    """The key by which a user names a service among runs: no run has such a name."""
    return f"service:{name}"


@dataclass(frozen=True, slots=True)
class _Found:
    """The data of one host."""

    look: Look
    kept: list[Kept]
    noted: list[Told]
    tokens: TokensNote | None
    problems: list[str]


@dataclass(frozen=True, slots=True)
class _Known:
    """The database's data about it."""

    runs: Collection[str]
    services: Mapping[str, int]


async def _ask(
    host: HostConfig, signer: Signer, outside: Outside, timings: Timings
) -> tuple[_Found | None, str]:
    """The data of one host, or why it could not be asked."""
    link = outside.link(host, signer.daemon_id)
    try:
        async with asyncio.timeout(timings.recover_timeout):
            await link.connect()
            found = await _read(link, signer, timings)
            kept = [with_own_address(item, host.lan_address) for item in found.kept]
            return replace(found, kept=kept), ""
    except TimeoutError:
        return None, f"no answer within {timings.recover_timeout:g} s"
    except HostlerError as error:
        return None, error.message
    finally:
        with contextlib.suppress(HostError):
            await link.close()


async def _read(link: HostLink, signer: Signer, timings: Timings) -> _Found:
    kept, problems = await read_copies(link, signer)
    noted, unreadable = await read_services(link, signer)
    problems += unreadable
    wanted = any(_may_run_in_docker(item) for item in kept)
    look = await _look(link, timings, patience=timings.recover_docker if wanted else 0.0)
    if wanted and look.docker_problem is not None:
        unknown = "its containers are unknown until it answers"
        problems.append(f"{link.host}: {look.docker_problem}: {unknown}")
    return _Found(look, kept, noted, await read_tokens(link, signer), problems)


def _may_run_in_docker(item: Kept) -> bool:
    """Whether, by its notes, a stage is in a container there without a stored end."""
    newest = {note.attempt.attempt_id: note.attempt for note in item.notes}
    return any(traits_of(a.runtime).has_engine and not a.phase.is_final for a in newest.values())


async def _look(link: HostLink, timings: Timings, *, patience: float) -> Look:
    """A look at the host, with its containers if Docker answers within that time."""
    deadline = time.monotonic() + patience
    while True:
        look = await link.look(time.time(), timings.recover_look)
        if look.docker_problem is None or time.monotonic() >= deadline:
            return look
        await asyncio.sleep(timings.recover_again)


def _of_workloads(looks: Mapping[str, Look]) -> set[str]:
    return {w.attempt_id.partition("-")[0] for look in looks.values() for w in look.workloads}


async def _known(state: Path, run_ids: Collection[str]) -> _Known:
    """The runs that the database has, or that a user removed, and those that have ended: a host may
    have kept their copies. Also its services. Does not create the database."""
    known = set(run_ids) & ended_runs(state)
    if not (state / "hostler.db").exists():
        return _Known(known, {})
    store = await Store.open(state)
    try:
        for run_id in run_ids:
            if await store.is_over(run_id) is not None:
                known.add(run_id)
        return _Known(known, await known_services(store))
    finally:
        await store.close()


async def _restore(store: Store, content: ContentStore, rebuilt: Rebuilt, actor: str) -> None:
    run = rebuilt.run
    hosts = ", ".join(rebuilt.hosts)
    event = NewEvent(
        at=time.time(),
        kind=EventKind.RUN_RECOVERED,
        message=f"run {run.run_id} ({run.pipeline}) was recovered from {hosts}",
        severity="warning",
        run_id=run.run_id,
        actor=actor,
    )
    await store.create_run(run, rebuilt.pipeline_text, [event])
    for attempt in run.attempts:
        await store.add_attempt(attempt)
        for artifact in artifacts_of(attempt, content):
            await store.add_artifact(artifact)
    for artifact in still_here(rebuilt.artifacts, content):
        await store.add_artifact(artifact)
    if run.cancelled_by is not None:
        await store.request_cancel(run.run_id, run.cancelled_by)


def still_here(artifacts: Iterable[Artifact], content: ContentStore) -> Iterator[Artifact]:
    """The artifacts whose bytes, and list of files, are in the content store."""
    for artifact in artifacts:
        if content.has(artifact.digest) and (artifact.index is None or content.has(artifact.index)):
            yield artifact


def artifacts_of(attempt: Attempt, content: ContentStore) -> list[Artifact]:
    """Its outputs whose bytes are still in the content store."""
    return [
        Artifact(
            run_id=attempt.run_id,
            stage=attempt.stage,
            attempt_id=attempt.attempt_id,
            name=name,
            digest=digest,
            size=content.size(digest),
            collected_at=attempt.finished_at or attempt.placed_at,
        )
        for name, digest in attempt.outputs.items()
        if content.has(digest)
    ]
