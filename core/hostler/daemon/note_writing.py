"""Writes notes about deployed services to their hosts and the gateway's host, from which a lost
database is rebuilt: on which hosts, and when.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence

from hostler.base.errors import AgentError, HostError, NotFoundError, StateError
from hostler.base.failpoints import failpoint
from hostler.daemon.context import Context
from hostler.daemon.copy_format import encode_spec
from hostler.daemon.jobs import build_of
from hostler.daemon.release_images import with_images_of
from hostler.daemon.service_notes import MOST_NOTE, encode_service
from hostler.decide.releases.notes import noted, noted_steps
from hostler.model.releases import Release, ServiceNote, ServiceState
from hostler.model.runs import Run
from hostler.store.releases import Releases

_log = logging.getLogger("hostler.daemon")
_NEWEST = 100
"""Newest releases of a service that are considered."""
_LONGEST_SPEC = MOST_NOTE // 8
"""Most characters of one specification: a longer one is left out, and that release is lost with the
database."""


async def note_service(context: Context, name: str) -> None:
    """Write the stored state of a service to its hosts: the planner sees a new decision only once
    it is there. A host that does not answer gets it later; a host that cannot store it (its disk is
    full) is not awaited. Raises StateError."""
    note = await _note(context, name)
    if note is None:
        return
    line = await asyncio.to_thread(encode_service, note, context.signer)
    failpoint("before_service_note")
    hosts = [host for host in _hosts(context, note) if context.may_clean(host)]
    await asyncio.gather(*(_write_quietly(context, host, note, line) for host in hosts))
    failpoint("after_service_note")


async def note_services_on(context: Context, host: str) -> None:
    """Write the notes that are newer than those on a host. Raises HostError, StateError."""
    for name in [*lacking(context, host)]:
        note = await _note(context, name)
        if note is not None:
            line = await asyncio.to_thread(encode_service, note, context.signer)
            await _write(context, host, note, line)


def lacking(context: Context, host: str) -> Iterator[str]:
    """Services whose newest note should be on a host, and is not, as far as this daemon knows."""
    for name, state in context.services.items():
        sent = context.noted.revisions.get((host, name))
        concerned = sent is not None or host in _workplaces(context, state)
        if concerned and (sent is None or sent < state.deployment.revision):
            yield name


def _workplaces(context: Context, state: ServiceState) -> set[str]:
    """The hosts of its replicas, and of its gateway."""
    runs = (context.run_cache.find(release.run_id) for release in state.releases)
    hosts = {a.host for run in runs if run for a in run.attempts if not a.phase.is_final}
    gateway = context.config.gateway.host
    return hosts | ({gateway} if gateway is not None else set())


def _hosts(context: Context, note: ServiceNote) -> list[str]:
    """Hosts for the note, also those with an older one: it must not become the newest one left."""
    name = note.deployment.name
    state = context.services.get(name)
    hosts = {host for host, of in context.noted.revisions if of == name}
    if state is not None:
        hosts |= _workplaces(context, state)
    return sorted(hosts & context.monitors.keys())


async def _write_quietly(context: Context, host: str, note: ServiceNote, line: str) -> None:
    try:
        async with asyncio.timeout(context.timings.service_note):
            await _write(context, host, note, line)
    except (HostError, TimeoutError) as error:
        name = note.deployment.name
        _log.info("the note about service %s is not on %s yet: %s", name, host, error)


async def _write(context: Context, host: str, note: ServiceNote, line: str) -> None:
    """Write a note, but never after a newer one. Raises HostError."""
    name, sent = note.deployment.name, context.noted.revisions
    async with context.noted.turns.setdefault(host, asyncio.Lock()):
        if sent.get((host, name), -1) >= note.deployment.revision:
            return
        asked = {"daemon_id": context.daemon_id, "name": name, "line": line}
        try:
            await context.link(host).call("service.keep", asked)
        except AgentError as error:
            _log.warning("no note about service %s on %s: %s", name, host, error)
        sent[host, name] = note.deployment.revision


async def _note(context: Context, name: str) -> ServiceNote | None:
    """The note of the stored state. None: the service is unknown, or its note would be too long."""
    stored = Releases(*context.store.connections)
    deployment = next((d for d in await stored.services() if d.name == name), None)
    if deployment is None:
        return None
    lock = deployment.lock
    number = lock.number if lock is not None else deployment.live
    steps = await stored.steps(name, number) if number is not None else []
    releases = noted(deployment.live, await stored.releases(name, _NEWEST))
    generation = context.standing.generation.number
    return ServiceNote(
        context.daemon_id, generation, deployment, releases,
        noted_steps(steps, is_open=lock is not None), await _specs(context, releases),
    )  # fmt: skip


async def _specs(context: Context, releases: Sequence[Release]) -> Mapping[str, str]:
    """The known specifications that are not too long. Those of ended runs do not change."""
    known, found = context.noted.specs, {}
    for release in releases:
        run_id = release.run_id
        text = known.get(run_id) or await _spec(context, run_id)
        if text is not None and len(text) <= _LONGEST_SPEC:
            found[run_id] = text
            if context.run_cache.find(run_id) is None:
                known[run_id] = text
    return found


async def _spec(context: Context, run_id: str) -> str | None:
    """A run's specification to start it again, with the images that it has built."""
    try:
        run = context.run_cache.find(run_id) or await context.store.get_run(run_id)
        text = await context.store.pipeline_text(run_id)
    except NotFoundError:
        return None
    again = run if context.run_cache.find(run_id) is not None else _with_images(run)
    return await asyncio.to_thread(encode_spec, again, text, context.signer)


def _with_images(run: Run) -> Run:
    """An ended run, with the images that only its attempts know: a note contains no attempts."""
    builds = {b.host for s in run.stages if s.built_by and (b := build_of(run, s.built_by))}
    return with_images_of(run, run, builds, ())


async def note_quietly(context: Context, host: str) -> None:
    """Bring a host that answers up to date; the next look tries again."""
    try:
        await note_services_on(context, host)
    except (HostError, StateError) as error:
        _log.info("the notes about services on %s are not written yet: %s", host, error)
