"""Notes of hosts that are merged one after the other, in the order in which they come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.model.pipelines import Retries
from hostler.model.runs import Attempt, Outcome, Phase
from hostler.sim.fleet import small_lab
from tests.support.planning import stage
from tests.support.restoring import back_up, restored
from tests.support.simdaemon import OWNER, SimDaemon, pace, sim, told

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _pace(monkeypatch: pytest.MonkeyPatch) -> None:
    pace(monkeypatch)


def is_running(attempt: Attempt) -> bool:
    return attempt.phase is Phase.RUNNING


async def test_the_host_of_an_earlier_attempt_that_comes_back_later_ends_no_running_work(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(2), tmp_path / "old") as old:
        file = await back_up(old)
        run_id = await old.submit(
            stage("a", gpus=1, retries=Retries(3, backoff=0.01), env=sim("seconds=600"))
        )
        first = await old.attempt(run_id, is_running)
        await old.daemon.service.drain(first.host, "full", OWNER)
        old.lab.host(first.host).signal(first.attempt_id, 9)
        second = await old.attempt(run_id, lambda a: a.number == 2 and is_running(a))
        assert second.host != first.host
        await old.kill()
        old.lab.faults(first.host).cut()
        async with restored(old, file) as new:
            merged = new.daemon.context.standing.merged
            await new.until(lambda: second.host in merged, "not merged")
            old.lab.faults(first.host).heal()
            await new.until(lambda: first.host in merged, "not merged")
            host = new.lab.host(second.host)
            host.end(host.works[second.attempt_id], host.clock.now(), 0)
            run = await new.finished(run_id)
            assert [a.phase for a in run.attempts] == [Phase.FAILED, Phase.SUCCEEDED], told(run)
            assert run.outcome is Outcome.SUCCEEDED
            assert second.attempt_id not in host.referee.stops
            (row,) = await new.daemon.context.store.list_runs()
            assert row.phases == {"succeeded": 1}
