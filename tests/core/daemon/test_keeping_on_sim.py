"""A person asks to keep a run: neither time nor anybody removes any of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ConflictError, ForbiddenError, InputError
from hostler.model.calls import Caller
from hostler.model.files import Artifact
from hostler.model.runs import Run, Source
from hostler.model.views.kept import GcView
from tests.core.daemon.test_expiry_on_sim import DAY, kept_lab
from tests.core.daemon.test_expiry_on_sim import Kept as Lab
from tests.support.daemons.simdaemon import ANA, OWNER, sim
from tests.support.values.planning import stage

BO = Caller(uid=1001, user="bo")


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with kept_lab(tmp_path) as made:
        yield made


async def ended(lab: Lab, **fields: Any) -> Run:
    """A run with a log and an output that has ended."""
    asked = stage(env=sim("seconds=0.1 lines=20"), outputs={"model": "model.bin"}, code="none")
    run_id = await lab.daemon.submit(asked, **fields)
    return await lab.daemon.finished(run_id, timeout=30)


async def freed(lab: Lab) -> GcView:
    """What would go in a hundred days."""
    lab.clock.by += 100 * DAY
    try:
        return await lab.daemon.daemon.service.garbage.collect(dry_run=True)
    finally:
        lab.clock.by -= 100 * DAY


async def test_a_kept_run_loses_neither_log_nor_output(lab: Lab) -> None:
    run = await ended(lab)
    keeping = lab.daemon.daemon.service.keeping
    told = await freed(lab)
    assert (told.logs.runs, told.content.blobs) == ((run.run_id,), 2)
    assert told.unfetched.runs == (run.run_id,)
    made = await keeping.keep(run, None, ANA)
    assert (made.by, made.until) == ("ana", None)
    assert [(a.name, a.present, a.fetched_at) for a in made.artifacts] == [("model", True, None)]
    told = await freed(lab)
    assert (told.logs.runs, told.content.blobs) == ((), 0)
    assert (told.kept.runs, told.unfetched.artifacts) == (1, 0)
    assert (await keeping.unkeep(run, ANA)).by is None
    assert (await freed(lab)).content.blobs == 2


async def test_the_source_of_a_kept_run_is_kept(lab: Lab, tmp_path: Path) -> None:
    content = lab.daemon.daemon.context.content
    (tmp_path / "source.tar").write_bytes(b"x" * 1000)
    digest = content.adopt(tmp_path / "source.tar")
    run = await ended(lab, source=Source(digest=digest, path="/x"))
    assert (await freed(lab)).content.blobs == 3
    await lab.daemon.daemon.service.keeping.keep(run, None, ANA)
    assert (await freed(lab)).content.blobs == 0


async def test_what_was_fetched_is_not_told_as_unfetched(lab: Lab) -> None:
    run = await ended(lab)
    store = lab.daemon.daemon.context.store
    (artifact,) = await store.artifacts(run.run_id)
    await store.mark_fetched(artifact.attempt_id, artifact.digest, lab.clock.now())
    told = await freed(lab)
    assert (told.content.blobs, told.unfetched.artifacts) == (2, 0)


async def test_a_run_is_shown_with_who_keeps_it_and_where_files_stay(lab: Lab) -> None:
    left = await lab.leave("raaaaaa")
    service = lab.daemon.daemon.service
    shown = await service.describe("raaaaaa")
    assert shown.keep is None
    assert [(s.host, s.path, s.goes_at) for s in shown.staying] == [("gpu1", "/x", left.until)]
    await service.keeping.keep(await service.run("raaaaaa"), None, ANA)
    keep = (await service.describe("raaaaaa")).keep
    assert keep is not None
    assert keep.by == "ana"


async def test_it_is_kept_up_to_the_date(lab: Lab) -> None:
    run = await ended(lab)
    keeping = lab.daemon.daemon.service.keeping
    await keeping.keep(run, lab.clock.now() + 99 * DAY, ANA)
    assert (await freed(lab)).content.blobs == 2
    await keeping.keep(run, lab.clock.now() + 101 * DAY, ANA)
    assert (await freed(lab)).content.blobs == 0
    lab.clock.by += 102 * DAY
    assert (await keeping.of(run, ANA)).by is None
    with pytest.raises(InputError, match="the date is in the past"):
        await keeping.keep(run, lab.clock.now(), ANA)


async def test_it_is_not_removed_before_that_is_ended(lab: Lab) -> None:
    run = await ended(lab)
    service = lab.daemon.daemon.service
    await service.keeping.keep(run, None, ANA)
    with pytest.raises(ConflictError, match=f"run {run.run_id} is kept by ana"):
        await service.remove(run.run_id, ANA)
    await service.keeping.unkeep(run, ANA)
    await service.remove(run.run_id, ANA)
    assert await lab.daemon.daemon.context.store.list_runs() == []


async def test_only_its_owner_keeps_it_or_sees_what_is_kept(lab: Lab) -> None:
    run = await ended(lab)
    keeping = lab.daemon.daemon.service.keeping
    with pytest.raises(ForbiddenError):
        await keeping.keep(run, None, BO)
    with pytest.raises(ForbiddenError):
        await keeping.unkeep(run, BO)
    with pytest.raises(ForbiddenError):
        await keeping.of(run, BO)
    assert [e.call for e in await lab.daemon.daemon.context.store.audit()] == []


async def test_a_daemon_that_another_has_followed_keeps_nothing_more(lab: Lab) -> None:
    run, daemon = await ended(lab), lab.daemon.daemon
    daemon.context.standing.superseded_by = 7
    for wish in (
        daemon.service.keeping.keep(run, None, ANA),
        daemon.service.keeping.unkeep(run, ANA),
    ):
        with pytest.raises(ConflictError, match="newer generation"):
            await wish
    assert await daemon.context.store.keeps() == {}


async def test_an_open_run_is_kept_from_its_end_on(lab: Lab) -> None:
    run_id = await lab.daemon.submit(stage(env=sim("seconds=0.3"), outputs={"m": "m.bin"}))
    service = lab.daemon.daemon.service
    await service.keeping.keep(await service.run(run_id), None, ANA)
    await lab.daemon.finished(run_id, 30)
    assert (await freed(lab)).content.blobs == 0


async def test_history_forgets_no_run_that_is_kept_or_of_which_files_stay(lab: Lab) -> None:
    daemon = lab.daemon
    kept, forgotten = await ended(lab), await ended(lab)
    stays = await lab.leave("raaaaaa", days=200)
    context = daemon.daemon.context
    await daemon.daemon.service.keeping.keep(kept, None, ANA)
    lab.keep_history(50 * DAY)
    assert (await freed(lab)).runs == (forgotten.run_id,)
    lab.clock.by += 100 * DAY
    told = await daemon.daemon.service.garbage.collect(dry_run=False)
    assert told.runs == (forgotten.run_id,)
    assert told.staying.attempts == 1
    left = {summary.run_id for summary in await context.store.list_runs()}
    assert left == {kept.run_id, stays.run_id}


async def test_outputs_that_nobody_has_fetched_go_unasked_after_a_day_of_their_alert(
    lab: Lab,
) -> None:
    run, service = await ended(lab), lab.daemon.daemon.service
    (artifact,) = (await service.artifacts(run.run_id)).artifacts
    content = lab.daemon.daemon.context.content
    lab.clock.by += 27 * DAY
    await service.garbage.collect_unasked()
    assert await lab.alerts() == []
    lab.clock.by += 14 * DAY
    for _ in range(4):
        assert (await service.garbage.collect_unasked()).content.blobs == 0
        lab.clock.by += DAY / 4 - 60
    (alert,) = await lab.alerts()
    assert alert.severity == "info"
    assert alert.what.startswith("unfetched outputs of 1 run (")
    assert alert.what.endswith(f" on: {run.run_id}")
    assert (await service.garbage.collect_unasked()).content.blobs == 0
    assert content.has(artifact.digest)
    lab.clock.by += 300
    assert (await service.garbage.collect_unasked()).content.blobs == 2
    await service.garbage.collect_unasked()
    assert await lab.alerts() == []


async def test_history_with_outputs_that_nobody_has_fetched_is_announced_too(lab: Lab) -> None:
    run, service = await ended(lab), lab.daemon.daemon.service
    fetched = await ended(lab)
    store = lab.daemon.daemon.context.store
    (artifact,) = await store.artifacts(fetched.run_id)
    await store.mark_fetched(artifact.attempt_id, artifact.digest, lab.clock.now())
    lab.keep_history(10 * DAY)
    lab.clock.by += 20 * DAY
    assert (await service.garbage.collect_unasked()).runs == (fetched.run_id,)
    for _ in range(4):
        assert [s.run_id for s in await store.list_runs()] == [run.run_id]
        lab.clock.by += DAY / 4
        await service.garbage.collect_unasked()
    assert await store.list_runs() == []


async def test_who_frees_space_has_seen_what_goes_and_waits_for_no_alert(lab: Lab) -> None:
    await ended(lab)
    lab.clock.by += 100 * DAY
    told = await lab.daemon.daemon.service.collect_garbage(dry_run=False, who=OWNER)
    assert (told.content.blobs, told.unfetched.artifacts) == (2, 1)


async def test_who_keeps_a_run_while_space_is_freed_waits_for_the_truth(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await ended(lab)
    service, context = lab.daemon.daemon.service, lab.daemon.daemon.context
    began, go_on = asyncio.Event(), asyncio.Event()
    unfetched = context.store.unfetched

    async def slow(digests: Any) -> list[Artifact]:
        began.set()
        await go_on.wait()
        return await unfetched(digests)

    monkeypatch.setattr(context.store, "unfetched", slow)
    lab.clock.by += 100 * DAY
    collecting = asyncio.create_task(service.garbage.collect(dry_run=False))
    await began.wait()
    keeping = asyncio.create_task(service.keeping.keep(run, None, ANA))
    done, _ = await asyncio.wait((keeping,), timeout=0.1)
    assert not done
    go_on.set()
    await collecting
    assert [artifact.present for artifact in (await keeping).artifacts] == [False]
