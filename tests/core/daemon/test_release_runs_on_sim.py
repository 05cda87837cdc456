"""Runs that are releases of services: left out where people look for their work."""

from __future__ import annotations

from pathlib import Path

from hostler.insight.search import Order, Search
from hostler.model.records import RunFilter
from hostler.model.releases import ReleaseState
from tests.core.daemon.test_deploys_on_sim import Lab, submission
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
