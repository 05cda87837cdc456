"""Services and their releases in the database: each step with all that it changes, or nothing."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from hostler.base.errors import ConflictError, NotFoundError
from hostler.model.calls import AuditEntry, Caller
from hostler.model.records import SubmissionKey
from hostler.model.releases import (
    Deployment,
    Lock,
    NewStep,
    Release,
    ReleaseState,
    Slot,
    StepKind,
    Strategy,
)
from hostler.model.runs import Outcome
from hostler.model.service_wishes import ServiceWish, WishChange
from hostler.store.database import Store
from hostler.store.releases import LastRelease, Opening, Releases, Scaling
from hostler.store.writes import SubmittedBefore
from tests.support.values.stored import event, run

ANA, BO = Caller(1000, "ana"), Caller(1001, "bo")
STATES = (
    ReleaseState.STARTING, ReleaseState.READY, ReleaseState.SHIFTING, ReleaseState.LIVE,
)  # fmt: skip


@pytest.fixture
def releases(store: Store) -> Releases:
    return Releases(*store.connections)


def opening(run_id: str = "raaaaaa", owner: Caller = ANA, **changes: Any) -> Opening:
    release = Release(
        "digits", 1, "", "sha256:1", Strategy.SURGE, ReleaseState.DELIVERING, 2, owner.user,
        owner.uid, 200.0, 1,
    )  # fmt: skip
    made = run(run_id, owner=owner.user, uid=owner.uid)
    return Opening(replace(release, **changes), owner, made, "text")


async def opened(releases: Releases, run_id: str = "raaaaaa", **changes: Any) -> Release:
    service = changes.get("service", "digits")
    number = len(await releases.releases(service)) + 1
    made = opening(run_id, **{"number": number, **changes})
    return await releases.open(made, [event("run.submitted")])


def step(state: ReleaseState | None, number: int = 1, **changes: Any) -> NewStep:
    kind = StepKind.STATE if state is not None else StepKind.DRAIN
    slot = None if state is not None else Slot(1, 0)
    return replace(NewStep("digits", number, 210.0, kind, state, slot, reason="why"), **changes)


async def went_live(releases: Releases, number: int = 1) -> None:
    for state in STATES:
        await releases.add_step(step(state, number))


async def test_a_release_is_stored_with_its_run_and_its_service(
    releases: Releases, store: Store
) -> None:
    entry = AuditEntry(200.0, 1000, "ana", "deploy", {"service": "digits"})
    made = await releases.open(opening(), [event("run.submitted")], None, entry)
    assert (made.number, made.run_id, made.state) == (1, "raaaaaa", ReleaseState.DELIVERING)
    assert await releases.releases("digits") == [made]
    lock = Lock(1, "ana", 1000, 200.0)
    assert await releases.services() == [Deployment("digits", 1000, "ana", 0, None, lock, 1)]
    assert (await store.get_run("raaaaaa")).owner == "ana"
    assert [e.call for e in await store.audit()] == ["deploy"]
    assert [e.kind for e in await store.events()] == ["run.submitted"]


async def test_the_same_release_is_stored_once(releases: Releases) -> None:
    first = await opened(releases)
    assert await opened(releases, number=1) == first
    assert len(await releases.releases("digits")) == 1


async def test_a_run_that_was_stored_without_its_release_gets_it(
    releases: Releases, store: Store
) -> None:
    asked = opening()
    await store.create_run(asked.run, asked.pipeline_text, [event("run.submitted")])
    made = await releases.open(asked, [event("run.submitted")])
    assert await releases.releases("digits") == [made]


async def test_a_submission_that_is_sent_again_makes_no_second_release(releases: Releases) -> None:
    key = SubmissionKey(1000, "k", "d")
    await releases.open(opening(), [event("run.submitted")], key)
    with pytest.raises(SubmittedBefore):
        await releases.open(opening("rbbbbbb"), [event("run.submitted")], key)
    assert len(await releases.releases("digits")) == 1


async def test_an_open_release_locks_its_service(releases: Releases, store: Store) -> None:
    await opened(releases)
    with pytest.raises(ConflictError) as refused:
        await opened(releases, "rbbbbbb", at=440.0)
    assert refused.value.message == (
        "ana has been deploying release 1 of digits for 4m (delivering)"
    )
    assert "hostler rollback digits" in refused.value.remedy
    with pytest.raises(NotFoundError):  # nothing of it was stored
        await store.get_run("rbbbbbb")
    await opened(releases, "rcccccc", service="other")


async def test_the_lock_is_free_again_when_the_release_is_over(releases: Releases) -> None:
    await opened(releases)
    await went_live(releases)
    (now,) = await releases.services()
    assert (now.live, now.replicas, now.lock) == (1, 2, None)
    await opened(releases, "rbbbbbb", replaces=1)
    await releases.add_step(step(ReleaseState.FAILED, 2))
    assert (await releases.services())[0].lock is not None
    await releases.add_step(step(ReleaseState.RESTORED, 2))
    (now,) = await releases.services()
    assert (now.live, now.lock) == (1, None)


async def test_a_release_that_goes_live_retires_the_one_before(releases: Releases) -> None:
    await opened(releases)
    await went_live(releases)
    await opened(releases, "rbbbbbb", replaces=1, replicas=3)
    await went_live(releases, 2)
    found = await releases.releases("digits")
    assert [(r.number, r.state.value) for r in found] == [(2, "live"), (1, "retired")]
    assert (await releases.services())[0].replicas == 3


async def test_somebody_elses_service_is_not_taken_over(releases: Releases) -> None:
    await opened(releases)
    await went_live(releases)
    with pytest.raises(ConflictError, match="service digits belongs to ana"):
        await opened(releases, "rbbbbbb", owner=BO, replaces=1)


async def test_a_deploy_by_an_old_state_is_refused(releases: Releases) -> None:
    await opened(releases)
    await went_live(releases)
    with pytest.raises(ConflictError, match="release 1 of digits went live at the same time"):
        await opened(releases, "rbbbbbb", replaces=None)
    with pytest.raises(ConflictError, match="release 1 of digits was deployed at the same time"):
        await opened(releases, "rbbbbbb", replaces=1, number=1)


async def test_steps_come_back_as_stored_and_in_order(releases: Releases) -> None:
    await opened(releases)
    drain = step(None, successor=Slot(2, 1))
    first = await releases.add_step(step(ReleaseState.STARTING))
    second = await releases.add_step(drain)
    assert await releases.steps("digits", 1) == [first, second]
    assert (second.slot, second.successor, second.reason) == (Slot(1, 0), Slot(2, 1), "why")
    assert second.seq > first.seq


async def test_a_state_that_is_stored_already_is_not_stored_again(
    releases: Releases, store: Store
) -> None:
    await opened(releases)
    one = await releases.add_step(step(ReleaseState.STARTING), event("run.submitted"))
    again = await releases.add_step(step(ReleaseState.STARTING), event("run.submitted"))
    assert again == one
    assert len(await store.events()) == 2


@pytest.mark.parametrize(
    "state", [ReleaseState.READY, ReleaseState.LIVE, ReleaseState.RESTORED, ReleaseState.RETIRED]
)
async def test_a_state_that_does_not_follow_is_refused(
    releases: Releases, state: ReleaseState
) -> None:
    await opened(releases)
    with pytest.raises(ConflictError, match=f"is delivering: it cannot become {state}"):
        await releases.add_step(step(state))
    assert not await releases.steps("digits", 1)


async def test_nothing_follows_a_release_that_is_over(releases: Releases) -> None:
    await opened(releases)
    for state in (ReleaseState.FAILED, ReleaseState.RESTORED):
        await releases.add_step(step(state))
    with pytest.raises(ConflictError):
        await releases.add_step(step(None))
    with pytest.raises(NotFoundError):
        await releases.add_step(step(None, 7))


async def test_each_change_has_a_higher_revision(releases: Releases) -> None:
    await opened(releases)
    seen = [(await releases.services())[0].revision]
    for state in STATES:
        await releases.add_step(step(state))
        seen.append((await releases.services())[0].revision)
    assert seen == sorted(set(seen))


async def test_steps_only_grow(releases: Releases, store: Store) -> None:
    await opened(releases)
    await releases.add_step(step(ReleaseState.STARTING))
    with sqlite3.connect(store.folder / "hostler.db") as connection:
        for statement in ("DELETE FROM release_steps", "UPDATE release_steps SET at = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                connection.execute(statement)
    connection.close()


async def test_what_is_not_known_is_said_with_how_to_list_what_is(releases: Releases) -> None:
    scaling = Scaling("nothing", 1, 2, "raaaaaa", "serve")
    with pytest.raises(NotFoundError, match="no service nothing") as refused:
        await releases.scale(scaling, event("service.scaled"))
    assert refused.value.remedy == "list them: hostler services"


async def test_another_number_of_replicas_is_stored_with_the_wish_of_its_run(
    releases: Releases, store: Store
) -> None:
    await opened(releases)
    scaling = Scaling("digits", 1, 3, "raaaaaa", "serve")
    with pytest.raises(ConflictError, match="another release of digits was deployed"):
        await releases.scale(scaling, event("service.scaled"))
    await went_live(releases)
    before = (await releases.services())[0].revision
    assert await releases.scale(scaling, event("service.scaled")) == {}
    wish = WishChange(replicas=4, scaled_by="ana")
    entry = AuditEntry(200.0, 1000, "ana", "scale", {"service": "digits"})
    changed = await releases.scale(
        replace(scaling, replicas=4, wish=wish), event("service.scaled"), entry
    )
    assert changed == {"services": {"serve": ServiceWish(replicas=4, scaled_by="ana")}}
    assert (await store.get_run("raaaaaa")).services == changed["services"]
    (now,) = await releases.services()
    assert (now.replicas, now.revision) == (4, before + 2)
    assert [e.kind for e in await store.events()][-2:] == ["service.scaled"] * 2
    assert [e.call for e in await store.audit()] == ["scale"]
    with pytest.raises(ConflictError):
        await releases.scale(replace(scaling, number=2), event("service.scaled"))


async def test_the_release_that_served_last_is_told_with_when_its_run_ended(
    releases: Releases, store: Store
) -> None:
    await opened(releases)
    assert await releases.last(["none", "digits"]) == [
        LastRelease("digits", 1, "raaaaaa", "", None)
    ]
    await went_live(releases)
    await opened(releases, "rbbbbbb", replaces=1)
    await opened(releases, "rcccccc", service="other")
    await store.end_run("raaaaaa", Outcome.SUCCEEDED, 300.0)
    assert await releases.last(["other", "digits"]) == [
        LastRelease("other", 1, "rcccccc", "", None),
        LastRelease("digits", 1, "raaaaaa", "why", 300.0),
    ]


async def test_texts_that_sqlite_cannot_store_are_stored_readably(releases: Releases) -> None:
    made = await opened(releases, image="sha256:\udcff")
    assert made.image == "sha256:\udcff"
    assert (await releases.releases("digits"))[0].image == "sha256:?"
    stored = await releases.add_step(step(ReleaseState.FAILED, reason="\udcff"))
    assert stored.reason == "\udcff"
    assert [each.reason for each in await releases.steps("digits", 1)] == ["?"]
