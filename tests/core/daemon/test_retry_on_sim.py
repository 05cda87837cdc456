"""A retry that is made to take long takes nothing of the others' daemon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hostler.base.errors import PipelineError
from hostler.daemon.retry import Change
from hostler.daemon.submit import Submission
from tests.support.daemons.simdaemon import ANA, SimDaemon
from tests.support.daemons.simlab import small_lab

pytestmark = pytest.mark.timeout(120)

PIPELINE = """
name = "exam"
[stages.a]
command = "true"
code = "none"
env = { SIM = "seconds=0.02" }
"""


@pytest.mark.parametrize(
    "text",
    [".".join(["a"] * 30_000) + " = 1\n", "a = " + "[" * 50_000],
    ids=["a key of very many parts", "lists in lists"],
)
async def test_no_pipeline_file_of_a_retry_keeps_the_daemon_busy(tmp_path: Path, text: str) -> None:
    async with SimDaemon(small_lab(1), tmp_path) as daemon:
        service = daemon.daemon.service
        run = await service.submit(Submission(pipeline=PIPELINE), ANA)
        await daemon.finished(run.run_id)
        begun = time.thread_time()  # of the thread in which everybody is answered
        with pytest.raises(PipelineError):
            await service.plan_retry(run.run_id, ANA, Change(pipeline=text))
        assert time.thread_time() - begun < 4
