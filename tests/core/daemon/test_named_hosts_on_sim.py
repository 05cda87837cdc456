"""A stage that there is no host for is refused when it is submitted: it would wait for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import InputError, PipelineError
from hostler.daemon.submit import Submission
from hostler.model.config import Config
from tests.support.daemons.simdaemon import ANA, SimDaemon, sim
from tests.support.daemons.simlab import small_lab
from tests.support.values.planning import stage


def command(**fields: Any) -> Submission:
    return Submission(command={"command": ["true"], "code": "none", **fields})


async def test_a_host_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    async with SimDaemon(small_lab(2), tmp_path) as running:
        service = running.daemon.service
        for hosts in (["nosuch"], ["gpu1", "nosuch"], ["z*"]):
            for call in (service.submit, service.check, service.preview):
                with pytest.raises(InputError, match="there is no host") as caught:
                    await call(command(host=hosts), ANA)
                assert "known: gpu1, gpu2" in caught.value.remedy
        text = 'name = "x"\n[stages.a]\ncommand = "x"\ncode = "none"\nresources.host = "gpu9"\n'
        with pytest.raises(PipelineError) as problems:
            await service.submit(Submission(pipeline=text), ANA)
        assert "did you mean 'gpu" in str(problems.value.problems[0])
        assert running.daemon.context.run_cache.runs() == ()
        assert (await service.submit(command(host=["gpu*"]), ANA)).run_id


async def test_a_rerun_for_a_host_that_is_gone_is_refused(tmp_path: Path) -> None:
    asked = stage(env=sim("seconds=0.01 exit=1"))
    asked = replace(asked, resources=replace(asked.resources, hosts=("gpu2",)))
    async with SimDaemon(small_lab(2), tmp_path) as running:
        run_id = await running.submit(asked, uid=ANA.uid)
        await running.finished(run_id)
        await running.stop()
        running.config = _without_last(running.config)
        await running.begin()
        for call in (
            running.daemon.service.retry(run_id, ANA),
            running.daemon.service.rerun(run_id, ANA, None),
        ):
            with pytest.raises(InputError, match="there is no host 'gpu2'"):
                await call


def _without_last(config: Config) -> Config:
    return replace(config, hosts=config.hosts[:-1])
