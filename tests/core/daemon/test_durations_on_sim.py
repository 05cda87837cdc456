"""One run, asked for in every way: its duration is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.base.units import format_duration
from hostler.daemon.measures import Measures
from hostler.insight.search import Search
from hostler.model.codec import from_answer
from hostler.model.durations import attempt_duration, duration_of_run, run_duration
from hostler.model.runs import Phase
from hostler.model.views.runs import RunView
from hostler.show.progress import end_lines
from hostler.show.runs import spent_text, summary_row
from tests.support.daemons.simdaemon import SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage

pytestmark = pytest.mark.timeout(60)


async def test_every_answer_tells_the_same_duration(tmp_path: Path) -> None:
    """Also of a run that waited long before its first stage began."""
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        context, service = daemon.daemon.context, daemon.daemon.service
        run_id = await daemon.submit(
            stage("a", gpus=1, env=sim("seconds=0.3")),
            submitted_at=context.clock.now() - 5000,
        )
        ended = await daemon.finished(run_id)
        (attempt,) = ended.attempts
        now = context.clock.now()
        shown = await service.describe(run_id)
        took = duration_of_run(shown, now)
        assert took == run_duration(attempt.started_at, ended.finished_at, now)
        assert took is not None
        assert 0.2 < took < 100
        (listed,) = (await service.past.search(Search(), 10, 0)).runs
        assert listed.took_s == took == duration_of_run(listed, now)
        compared = await service.past.compare([ended])
        rows = {(row.section, row.name): row.values[0] for row in compared.rows}
        assert rows["cost", "took_s"] == took
        assert rows["stages", "a took_s"] == attempt.duration
        text = format_duration(int(took))
        assert summary_row(listed, now, piped=False)[5] == text
        assert spent_text(shown, now) == text
        assert end_lines(shown)[0] == f"{run_id} succeeded after {text}"
        assert attempt.usage["gpu_seconds_allocated"] == attempt.duration
        assert isinstance(service.measures, Measures)


async def test_what_waits_has_no_duration_yet(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        run_id = await daemon.submit(stage("a", gpus=99))
        shown = await daemon.daemon.service.describe(run_id)
        assert (shown.started_at, spent_text(shown, 1.0)) == (None, "-")
        (listed,) = (await daemon.daemon.service.past.search(Search(), 10, 0)).runs
        assert listed.took_s is None
        other = await daemon.submit(stage("a", env=sim("seconds=9")))
        await daemon.attempt(other, lambda a: a.phase is Phase.RUNNING)
        now = daemon.daemon.context.clock.now()
        seconds = duration_of_run(await daemon.daemon.service.describe(other), now)
        assert seconds is not None
        assert 0 <= seconds < 9


def test_the_host_measures_an_attempt_and_a_run_ends_once() -> None:
    assert attempt_duration(2.5, 10.0, 99.0, 200.0) == 2.5
    assert attempt_duration(None, 10.0, None, 12.0) == 2.0
    assert attempt_duration(None, None, None, 12.0) is None
    assert run_duration(10.0, 4.0, 12.0) == 0.0
    every = {
        "run_id": "r7", "stage": "a", "phase": "succeeded", "host": "gpu1", "gpus": [],
        "placed_at": 11.0, "runtime": "process",
    }  # fmt: skip
    tries = [
        {**every, "attempt_id": "r7-a-1", "number": 1, "started_at": 12.0},
        {**every, "attempt_id": "r7-a-2", "number": 2},
    ]
    stages = [{"name": "a", "attempts": tries}, {"name": "b"}]
    of_before = from_answer(RunView, {"run_id": "r7", "finished_at": 30.0, "stages": stages})
    assert duration_of_run(of_before, 99.0) == 18.0
