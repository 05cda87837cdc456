"""Runs that wait for other runs, on a simulated lab."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError, InputError, NotFoundError
from hostler.daemon.after import MAX_AFTER
from hostler.daemon.submit import Submission
from hostler.model.calls import Caller
from hostler.model.runs import Outcome, Run
from tests.support.daemons.simdaemon import ANA, SimDaemon
from tests.support.daemons.simlab import small_lab

BO = Caller(uid=1001, user="bo")


async def submit(
    daemon: SimDaemon, does: str, after: dict[str, bool] | None = None, who: Caller = ANA
) -> Run:
    """`after`: run -> whether its end is enough."""
    text = f"""
    name = "work"
    defaults = {{ code = "none", env = {{ SIM = "{does}" }} }}
    stages.a = {{ command = "x" }}
    stages.b = {{ command = "x", needs = ["a"] }}
    """
    return await daemon.daemon.service.submit(Submission(pipeline=text, after=after or {}), who)


async def why(daemon: SimDaemon, run: Run) -> list[str]:
    found = await daemon.daemon.service.why(run.run_id, None)
    return [stage.sentence for stage in found.stages]


async def test_a_run_starts_when_another_has_succeeded(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        first = await submit(daemon, "seconds=0.5")
        second = await submit(daemon, "seconds=0.02", {first.run_id: False}, BO)
        third = await submit(daemon, "seconds=0.02", {second.run_id: False, first.run_id: True})
        await daemon.next_plan()
        waits = f"waits for run {first.run_id} to succeed"
        assert await why(daemon, second) == [waits, "waits for a (waiting)"]
        assert (await why(daemon, third))[0] == (
            f"waits for run {second.run_id} to succeed, run {first.run_id} to end"
        )
        shown = await daemon.daemon.service.describe(third.run_id)
        assert (shown.after, shown.after_any) == ((second.run_id,), (first.run_id,))
        done = [await daemon.finished(run.run_id) for run in (first, second, third)]
        assert [run.outcome for run in done] == [Outcome.SUCCEEDED] * 3
        for earlier, later in pairwise(done):
            assert earlier.finished_at is not None
            assert later.attempts[0].placed_at >= earlier.finished_at


async def test_if_the_other_fails_it_ends_with_the_reason_unless_the_end_is_enough(
    tmp_path: Path,
) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        first = await submit(daemon, "seconds=0.3 exit=1")
        strict = await submit(daemon, "seconds=0.02", {first.run_id: False})
        chained = await submit(daemon, "seconds=0.02", {strict.run_id: False})
        relaxed = await submit(daemon, "seconds=0.02", {first.run_id: True})
        for run in (strict, chained):
            ended = await daemon.finished(run.run_id)
            assert (ended.outcome, ended.attempts) == (Outcome.CANCELLED, ())
        assert (await daemon.finished(relaxed.run_id)).outcome is Outcome.SUCCEEDED
        with pytest.raises(ConflictError, match=f"{first.run_id} has failed"):
            await submit(daemon, "seconds=0.02", {first.run_id: False})
        late = await submit(daemon, "seconds=0.02", {first.run_id[:6]: True})
        assert (await daemon.finished(late.run_id)).outcome is Outcome.SUCCEEDED
        assert await why(daemon, strict) == [
            f"it should have started after run {first.run_id}, which failed",
            "needs a, which was cancelled",
        ]


async def test_it_still_waits_after_the_daemon_was_killed(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        first = await submit(daemon, "seconds=0.5")
        second = await submit(daemon, "seconds=0.02", {first.run_id: False})
        await daemon.attempt(first.run_id, lambda a: a.stage == "a")
        await daemon.kill()
        await daemon.begin()
        assert (await daemon.finished(first.run_id)).outcome is Outcome.SUCCEEDED
        assert (await daemon.finished(second.run_id)).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("only_end", "outcome"), [(False, Outcome.CANCELLED), (True, Outcome.SUCCEEDED)]
)
async def test_one_that_was_removed_before_its_end_was_told_has_ended(
    tmp_path: Path, only_end: bool, outcome: Outcome
) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        first = await submit(daemon, "seconds=30")
        second = await submit(daemon, "seconds=0.02", {first.run_id: only_end})
        await daemon.kill()
        forget(tmp_path / "hostler.db", first.run_id)
        await daemon.begin()
        assert (await daemon.finished(second.run_id)).outcome is outcome
        if not only_end:
            assert "was removed before this one could start" in (await why(daemon, second))[0]


def forget(database: Path, run_id: str) -> None:
    """Remove a run as `hostler rm` does, while no daemon runs."""
    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM attempts WHERE run_id = ?", (run_id,))
    connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
    connection.commit()
    connection.close()


async def test_only_runs_that_are_there_can_be_named_so_there_is_no_circle(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        with pytest.raises(NotFoundError):
            await submit(daemon, "seconds=0.02", {"rnothere": False})
        known: list[str] = []
        for _ in range(4):
            run = await submit(daemon, "seconds=0.02", dict.fromkeys(known, False))
            named = {each.run_id for stage in run.stages for each in stage.after}
            assert named == set(known)  # all of them older, and none itself
            assert run.run_id not in known
            known.append(run.run_id)
        assert (await daemon.finished(known[-1])).outcome is Outcome.SUCCEEDED


async def test_a_run_waits_for_a_few_others_only(tmp_path: Path) -> None:
    """Each of its first stages has the names of all."""
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        runs = [await submit(daemon, "seconds=0.02") for _ in range(MAX_AFTER)]
        names = {run.run_id: True for run in runs}
        last = await submit(daemon, "seconds=0.02", names)
        assert {each.run_id for each in last.stages[0].after} == set(names)
        with pytest.raises(InputError, match=r"would wait for 21 runs; at most 20 are allowed"):
            await submit(daemon, "seconds=0.02", {**names, last.run_id: True})


async def test_a_retry_waits_for_nobody(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        first = await submit(daemon, "seconds=0.02")
        second = await submit(daemon, "seconds=0.02 exit=1", {first.run_id: False})
        await daemon.finished(second.run_id)
        again = await daemon.daemon.service.retry(second.run_id, ANA)
        assert all(not stage.after for stage in again.stages)
        await daemon.finished(again.run_id)


async def test_a_cancelled_run_that_waits_ends_at_once(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(), tmp_path) as daemon:
        first = await submit(daemon, "seconds=30")
        second = await submit(daemon, "seconds=0.02", {first.run_id: True})
        await daemon.cancel(second.run_id)
        assert (await daemon.finished(second.run_id)).outcome is Outcome.CANCELLED
        await daemon.cancel(first.run_id)
        await daemon.finished(first.run_id)
