"""`scontrol requeue` inside a stage, by a whole daemon: which attempts end and are tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.decide import requeue
from hostler.model.pipelines import Cause
from hostler.model.runs import Attempt, Outcome, Phase
from hostler_agent.jobnumbers import job_number
from tests.core.daemon.test_nested_on_sim import QUICK, Asking, begin
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)


async def again(daemon: SimDaemon, run_id: str, name: str) -> list[Attempt]:
    """The attempts of a stage, once its second one runs."""
    await daemon.attempt(
        run_id, lambda a: a.stage == name and a.number == 2 and a.phase is Phase.RUNNING
    )
    run = await daemon.run(run_id)
    return [attempt for attempt in run.attempts if attempt.stage == name]


async def test_a_task_of_an_array_has_itself_tried_again_and_no_other(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        cells = [
            stage(f"drive.{i}", base="drive", cell={"task": i}, nested=True,
                  env=sim("seconds=600"))
            for i in range(2)
        ]  # fmt: skip
        run_id = await daemon.submit(*cells)
        await daemon.attempt(run_id, lambda a: a.stage == "drive.0" and a.phase is Phase.RUNNING)
        running = await daemon.attempt(
            run_id, lambda a: a.stage == "drive.1" and a.phase is Phase.RUNNING
        )
        own = job_number(f"{run_id}/1")
        assert await Asking(daemon, running)("scontrol", "requeue", str(own)) == (0, "")
        first, second = await again(daemon, run_id, "drive.1")
        assert (first.phase, first.cause) == (Phase.FAILED, Cause.REQUEUED)
        assert first.detail == "requested by its script (scontrol requeue)"
        assert second.number == 2
        run = await daemon.run(run_id)
        assert [a.phase for a in run.attempts if a.stage == "drive.0"] == [Phase.RUNNING]
        assert "attempt.requeued" in await daemon.kinds(run_id)
        # The number of the whole array means all its tasks.
        asking = Asking(daemon, second)
        assert (await asking("scontrol", "requeue", str(job_number(run_id))))[0] == 0
        await again(daemon, run_id, "drive.0")


async def test_it_reaches_its_own_tree_while_that_runs(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking, foreign = await begin(daemon), await begin(daemon)
        made = await asking.submitted()
        number, hidden = job_number(made.run_id), job_number(foreign.attempt.run_id)
        await daemon.attempt(made.run_id, lambda a: a.phase is Phase.RUNNING)
        code, said = await asking("scontrol", "requeue", f"{number},{hidden}")
        assert (code, f"no job {hidden} among those of this run" in said) == (1, True)
        assert len((await daemon.run(made.run_id)).attempts) == 1, "one of them cannot be"
        assert await asking("scontrol", "requeue", str(number)) == (0, "")
        first, _ = await again(daemon, made.run_id, made.stages[0].name)
        assert first.detail == f"requested by run {asking.attempt.run_id} (scontrol requeue)"
        assert (await daemon.run(asking.attempt.run_id)).attempts[-1].number == 1
        await daemon.cancel(made.run_id)
        assert (await daemon.finished(made.run_id)).outcome is Outcome.CANCELLED
        code, said = await asking("scontrol", "requeue", str(number))
        assert (code, f"job {number} has ended" in said) == (1, True)


async def test_a_stage_is_requeued_so_many_times_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requeue, "MOST_REQUEUES", 1)
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        asking = await begin(daemon)
        run_id = asking.attempt.run_id
        assert (await asking("scontrol", "requeue", str(job_number(run_id))))[0] == 0
        _, second = await again(daemon, run_id, "drive")
        asking = Asking(daemon, second)
        code, said = await asking("scontrol", "requeue", str(job_number(run_id)))
        assert (code, "was requeued once, which is the most" in said) == (1, True)


async def test_a_killed_daemon_requeues_once_and_answers_the_same(tmp_path: Path) -> None:
    daemon = SimDaemon(small_lab(1), tmp_path, timings=QUICK)
    async with daemon:
        asking = await begin(daemon)
        attempt_id, run_id = asking.attempt.attempt_id, asking.attempt.run_id
        words = b"3\0scontrol\0requeue\0%d\0" % job_number(run_id)
        assert await daemon.daemon.service.nested.do(attempt_id, "q1", words) == ""
        await daemon.kill()
        await daemon.begin()
        assert await daemon.daemon.service.nested.do(attempt_id, "q1", words) == ""
        tries = await again(daemon, run_id, "drive")
        assert [attempt.cause for attempt in tries] == [Cause.REQUEUED, None]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("scontrol",), "scontrol '' is not supported"),
        (("scontrol", "hold", "7"), "scontrol 'hold' is not supported"),
        (("scontrol", "requeue"), "name the jobs to requeue"),
        (("scontrol", "requeue", "7_1"), "is not a job number"),
    ],
)
async def test_what_cannot_be_done_is_answered(
    tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    async with SimDaemon(small_lab(1), tmp_path, timings=QUICK) as daemon:
        code, said = await (await begin(daemon))(*words)
        assert (code, told in said) == (1, True), said
