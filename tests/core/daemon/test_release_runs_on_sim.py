"""Runs of services: left out where people look for their work, and bounded on hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.daemon import host_copies
from hostler.daemon.recover import restore
from hostler.insight.search import Order, Search
from hostler.model.records import RunFilter
from hostler.model.releases import ReleaseState
from tests.core.daemon.test_deploys_on_sim import Lab, submission
from tests.core.daemon.test_recover_on_sim import look_around, lose_database
from tests.core.daemon.test_services_on_sim import service
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage


async def test_searches_leave_releases_out_where_that_is_asked(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        past = daemon.daemon.service.past
        mine = [await daemon.submit(stage(f"a{n}", env=sim("seconds=0.01"))) for n in range(2)]
        without = RunFilter(releases=False)
        page = await past.search(Search(without), 10, 0)
        assert (page.total, page.left_out) == (2, 0)
        lab = Lab(daemon)
        release = await lab.deploy(submission(1))
        await lab.until(1, ReleaseState.LIVE)
        page = await past.search(Search(without), 10, 0)
        assert [row.run_id for row in page.runs] == mine[::-1]
        assert (page.total, page.left_out) == (2, 1)
        page = await past.search(Search(RunFilter()), 10, 0)
        assert (page.total, page.left_out) == (3, 0)
        assert page.runs[0].run_id == release.run_id
        for wanted in (
            Search(RunFilter(state="open", releases=False)),
            Search(RunFilter(pipeline="digits", owner="ana", releases=False)),
            Search(RunFilter(owner="ana", since=0.0, releases=False), text="digits"),
            Search(RunFilter(state="open", releases=False), order=Order("pipeline", False)),
        ):
            page = await past.search(wanted, 10, 0)
            assert release.run_id not in {row.run_id for row in page.runs}
            assert (len(page.runs), page.left_out) == (page.total, 1)


async def test_what_a_host_keeps_of_a_service_does_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_copies, "MOST_LINES", 5)
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(*service(gpus=1, replicas=2))
        other = await daemon.submit(stage("a", env=sim("seconds=600")))
        await daemon.attempt(run_id, lambda a: a.stage == "serve.1" and a.ready_at is not None)
        task = await daemon.attempt(other, lambda a: a.phase.is_at_work)
        copies, host = daemon.daemon.applier.copies, daemon.lab.host("gpu1")
        attempts = {a.stage: a for a in (await daemon.run(run_id)).attempts}
        for _ in range(20):
            await copies.note(attempts["serve.0"])
            await copies.note(task)
        of = {key[1]: record[1].splitlines() for key, record in host.records.items()}
        assert len(of[run_id]) <= 5 + len(attempts)
        assert len(of[other]) > 20
        await daemon.kill()
        lose_database(tmp_path)
        found = (await look_around(daemon)).recovery.runs
        assert [rebuilt.doubts for rebuilt in found] == [(), ()]
        await restore(tmp_path, found, "ana")
        await daemon.begin()
        known = {a.stage: a for a in (await daemon.run(run_id)).attempts}
        assert {s: a.attempt_id for s, a in known.items()} == {
            s: a.attempt_id for s, a in attempts.items()
        }
        assert all(a.ready_at is not None for a in known.values())
