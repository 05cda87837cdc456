"""Services that come from notes of hosts into a database that lacks them, or knows less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError
from hostler.model.releases import ReleaseState, ServiceNote, Slot, StepKind
from hostler.store.database import Store
from hostler.store.recovered_services import take_service
from hostler.store.releases import Releases
from tests.core.store.test_releases import opened, releases, step, went_live
from tests.support.values.stored import event, run

__all__ = ("releases",)
ID = "d" * 32


async def test_a_service_comes_back_from_a_note(releases: Releases, tmp_path: Path) -> None:
    await opened(releases)
    await went_live(releases)
    await opened(releases, "rbbbbbb", replaces=1)
    await releases.add_step(step(ReleaseState.STARTING, 2))
    await releases.add_step(step(None, 2, successor=Slot(2, 1)))
    (service,) = await releases.services()
    found = tuple(await releases.releases("digits"))
    note = ServiceNote(ID, 1, service, found, tuple(await releases.steps("digits", 2)))
    anew = await Store.open(tmp_path / "anew")
    try:
        others = Releases(*anew.connections)
        await opened(others, "rzzzzzz", service="other")
        await others.add_step(replace(step(ReleaseState.STARTING), service="other"))
        with pytest.raises(ConflictError, match="of no release of digits the run is known"):
            await take_service(anew.connections[0], note)
        await anew.create_run(run("rbbbbbb"), "text", [])
        await take_service(anew.connections[0], note)
        (part,) = [s for s in await others.services() if s.name == "digits"]
        assert (part.live, [r.number for r in await others.releases("digits")]) == (None, [2])
        await anew.create_run(run("raaaaaa"), "text", [])
        await take_service(anew.connections[0], note, event("run.recovered"))
        await take_service(anew.connections[0], note)
        assert (await others.services())[0] == service
        assert tuple(await others.releases("digits")) == found
        steps = await others.steps("digits", 2)
        assert [replace(s, seq=0) for s in steps] == [replace(s, seq=0) for s in note.steps]
    finally:
        await anew.close()


async def test_a_note_that_is_newer_goes_on_where_a_backup_ended(
    releases: Releases, store: Store
) -> None:
    await opened(releases)
    first = await releases.add_step(step(ReleaseState.STARTING))
    (service,), (release,) = await releases.services(), await releases.releases("digits")
    later = replace(first, kind=StepKind.DRAIN, state=None, slot=Slot(1, 0), seq=9)
    more = replace(service, revision=40, owner="eve", uid=7)
    shifting = replace(release, state=ReleaseState.SHIFTING)
    await take_service(store.connections[0], ServiceNote(ID, 1, more, (shifting,), (first, later)))
    assert [s.kind for s in await releases.steps("digits", 1)] == [StepKind.STATE, StepKind.DRAIN]
    (now,) = await releases.services()
    assert (now.revision, now.owner, now.uid) == (40, "ana", 1000)
    assert (await releases.releases("digits"))[0].state is ReleaseState.SHIFTING


async def test_a_note_takes_no_run_from_another_service(releases: Releases, store: Store) -> None:
    await opened(releases)
    (service,), (release,) = await releases.services(), await releases.releases("digits")
    other = replace(release, service="other")
    with pytest.raises(ConflictError, match="run raaaaaa is release 1 of digits already"):
        await take_service(
            store.connections[0], ServiceNote(ID, 1, replace(service, name="other"), (other,))
        )
    assert [s.name for s in await releases.services()] == ["digits"]
