"""Files that stay on hosts, and runs that people keep, as the store holds them."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError, NotFoundError
from hostler.model.files import Artifact
from hostler.model.records import Keep, Remainder
from hostler.model.runs import Outcome, Phase
from hostler.store.database import Store
from hostler.store.generations import begin_life
from tests.support.values.stored import attempt, event, run

LEFT = Remainder(
    attempt_id="raaaaaa-train-1",
    run_id="raaaaaa",
    stage="train",
    host="gpu1",
    runtime="process",
    ref="raaaaaa-train-1",
    path="/var/tmp/hostler-1000/jobs/raaaaaa-train-1/work",
    files=2,
    size=3_100_000_000,
    since=100.0,
    until=700.0,
    names=("model.pt", "b"),
    why="larger than kept_files",
)


async def _ended(store: Store) -> None:
    await store.create_run(run(), "", [])
    await store.add_attempt(attempt(phase=Phase.SUCCEEDED))
    await store.end_run("raaaaaa", Outcome.SUCCEEDED, 120.0)


async def test_files_that_stay_come_back_as_stored(store: Store) -> None:
    await store.add_remainder(LEFT, event("attempt.files_stay"))
    other = replace(LEFT, attempt_id="rbbbbbb-train-1", run_id="rbbbbbb", host="gpu2", since=50.0)
    await store.add_remainder(other)
    assert await store.remainders() == [other, LEFT]
    assert await store.remainders("raaaaaa") == [LEFT]
    assert await store.remainders(host="gpu2") == [other]
    assert await store.remainders("raaaaaa", "gpu2") == []
    await store.remove_remainder(LEFT.attempt_id, event("files.removed"))
    await store.remove_remainder(LEFT.attempt_id, event("files.removed"))
    assert await store.remainders() == [other]
    assert [e.kind for e in await store.events()] == ["attempt.files_stay", "files.removed"]


async def test_who_keeps_most_is_known_by_host_and_for_the_store(store: Store) -> None:
    for number, owner, size in ((1, "ana", 5), (2, "bo", 4), (3, "bo", 4)):
        run_id = f"r{number}"
        await store.create_run(replace(run(), run_id=run_id, owner=owner), "", [])
        made = replace(attempt(phase=Phase.SUCCEEDED), run_id=run_id, attempt_id=f"{run_id}-a-1")
        await store.add_attempt(made)
        left = replace(LEFT, attempt_id=made.attempt_id, run_id=run_id, size=size)
        await store.add_remainder(replace(left, host="gpu1" if number < 3 else "gpu2"))
        digest = f"{number}" * 64
        await store.add_artifact(Artifact(run_id, "a", made.attempt_id, "o", digest, size, 1.0))
    assert await store.keep_most() == {"gpu1": "ana", "gpu2": "bo"}
    assert await store.stores_most(["1" * 64, "2" * 64, "3" * 64]) == "bo"
    assert await store.stores_most(["1" * 64, "2" * 64]) == "ana", "of what is there"
    assert await store.stores_most(["9" * 64]) is None


async def test_only_the_first_names_are_stored(store: Store) -> None:
    await store.add_remainder(replace(LEFT, names=tuple(map(str, range(100)))))
    (found,) = await store.remainders()
    assert found.names == tuple(map(str, range(20)))
    await store.add_remainder(replace(LEFT, names=("\udcff",)))
    assert (await store.remainders())[0].names == ("?",)


async def test_files_that_are_told_of_again_keep_what_was_known_of_them(store: Store) -> None:
    await store.add_remainder(LEFT)
    await store.mark_remainder_fetched(LEFT.attempt_id, 300.0)
    await store.note_standing({LEFT.attempt_id: 60.0})
    await store.add_remainder(replace(LEFT, size=1, until=650.0, since=200.0))
    (found,) = await store.remainders()
    assert found == replace(LEFT, size=1, fetched_at=300.0, stood=60.0)
    await store.extend_remainders({LEFT.attempt_id: 600.0})
    assert (await store.remainders())[0].until == 700.0
    await store.extend_remainders({LEFT.attempt_id: 900.0})
    assert (await store.remainders())[0].until == 900.0


async def test_a_kept_run_is_kept_with_all_that_stays_of_it(store: Store) -> None:
    await _ended(store)
    await store.add_remainder(LEFT)
    await store.note_standing({LEFT.attempt_id: 60.0})
    keep = Keep("raaaaaa", "bo", 130.0, 500.0)
    await store.keep_run(keep, event("run.kept"))
    assert await store.keeps() == {"raaaaaa": keep}
    (found,) = await store.remainders()
    assert (found.kept_by, found.kept_until, found.stood) == ("bo", 500.0, None)
    assert [use.is_kept for use in await store.run_uses(499.0, [], [])] == [True]
    assert [use.is_kept for use in await store.run_uses(500.0, [], [])] == [False]
    assert await store.unkeep_run("raaaaaa", event("run.kept_no_longer")) is True
    assert await store.unkeep_run("raaaaaa", event("run.kept_no_longer")) is False
    assert (await store.remainders())[0].kept_by is None
    assert [e.kind for e in await store.events()] == ["run.kept", "run.kept_no_longer"]
    with pytest.raises(NotFoundError):
        await store.keep_run(Keep("rnobody", "bo", 130.0))


async def test_a_kept_run_is_not_removed(store: Store) -> None:
    await _ended(store)
    await store.keep_run(Keep("raaaaaa", "bo", 130.0))
    with pytest.raises(ConflictError, match="run raaaaaa is kept by bo"):
        await store.delete_run("raaaaaa", event(actor="ana"))
    await store.keep_run(Keep("raaaaaa", "bo", 130.0, 500.0))
    with pytest.raises(ConflictError):
        await store.delete_run("raaaaaa", now=499.0)
    with pytest.raises(ConflictError):
        await store.delete_run("raaaaaa")  # at no time that is known
    await store.delete_run("raaaaaa", now=500.0)
    assert await store.keeps() == {}


async def test_only_a_person_removes_a_run_of_which_files_stay_on_a_host(store: Store) -> None:
    await _ended(store)
    await store.add_remainder(LEFT)
    with pytest.raises(ConflictError, match="stay on a host"):
        await store.delete_run("raaaaaa", now=1e9)
    await store.delete_run("raaaaaa", event(actor="ana"))
    assert await store.remainders() == [replace(LEFT, given_up_by="ana")]


async def test_after_a_restore_everything_is_announced_anew(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "old")
    await _ended(store)
    await store.add_remainder(LEFT)
    await store.note_standing({LEFT.attempt_id: 1e6})
    await store.note_announced({"raaaaaa": 1e6})
    await store.close()
    database = sqlite3.connect(tmp_path / "old" / "hostler.db", isolation_level=None)
    begin_life(database, 500.0)
    database.close()
    store = await Store.open(tmp_path / "old")
    assert await store.remainders() == [LEFT]
    assert await store.announced() == {}
    await store.close()


async def test_what_was_fetched_is_known_until_the_run_is_removed(store: Store) -> None:
    await _ended(store)
    await store.mark_fetched("raaaaaa-train-1", "a" * 64, 200.0)
    await store.mark_fetched("raaaaaa-train-1", "a" * 64, 300.0)
    assert await store.fetched("raaaaaa") == {("raaaaaa-train-1", "a" * 64): 300.0}
    with pytest.raises(NotFoundError):
        await store.mark_fetched("other", "a" * 64, 200.0)
    await store.delete_run("raaaaaa")
    assert await store.fetched("raaaaaa") == {}


async def test_for_how_long_an_alert_stood_comes_back(store: Store) -> None:
    for run_id in ("raaaaaa", "rbbbbbb"):
        await store.create_run(run(run_id), "", [])
    await store.note_announced({"raaaaaa": 5.0, "rbbbbbb": 7.5}, event("files.removed"))
    await store.note_announced({"raaaaaa": None, "rbbbbbb": 9.0})
    assert await store.announced() == {"rbbbbbb": 9.0}
    assert [e.kind for e in await store.events()] == ["files.removed"]


async def test_what_nobody_fetched_is_found_among_many_digests(store: Store) -> None:
    await _ended(store)
    made_of = Artifact("raaaaaa", "train", "raaaaaa-train-1", "out", "", 10, 200.0, 1)
    made = [
        replace(made_of, name=f"out{number}", digest=f"sha256:{number:04}")
        for number in (1, 700, 1300)
    ]
    for artifact in made:
        await store.add_artifact(artifact)
    await store.mark_fetched("raaaaaa-train-1", "sha256:0700", 200.0)
    asked = [f"sha256:{number:04}" for number in range(1300)]
    assert {each.digest for each in await store.unfetched(asked)} == {"sha256:0001"}
    asked.append("sha256:1300")
    assert {each.digest for each in await store.unfetched(asked)} == {"sha256:0001", "sha256:1300"}
