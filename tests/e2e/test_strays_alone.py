"""A real process on a GPU that it was not given: real daemon, agent and shim, NVML simulated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk, desk_folder, stage, wait_until
from tests.support.programs.fake_nvml import FakeNvml, build

PIPELINE = """
name = "wrong"
[stages.train]
command = '''
trap 'echo stopped; exit 0' TERM
export CUDA_VISIBLE_DEVICES=7
sh -c 'echo $$ > pid.part; mv pid.part pid; exec sleep 600' & wait
'''
shell = true
retries = { max = 3 }
resources = { gpus = 1 }
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with desk_folder() as made:
        yield made


def test_it_is_reported_stopped_and_not_tried_again(folder: Path) -> None:
    desk, gpus = Desk(folder), FakeNvml(folder / "gpus", count=2)
    desk.config.write_text('[hosts.here]\ntransport = "local"\n')
    desk.more_env = {
        **gpus.env(build()),
        "HOSTLER_FOLDER": str(folder / "host"),
        "HOSTLER_LEASES": str(folder / "shared" / "leases"),
        "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
    }
    try:
        (desk.work / "pipeline.toml").write_text(PIPELINE)
        said = desk.ok("run", "-d")
        assert "CUDA_VISIBLE_DEVICES=7 in stage train counts all GPUs of the host" in said.err
        run_id = said.out.strip()
        number = folder / "host" / "jobs" / f"{run_id}-train-1" / "work" / "pid"
        wait_until(number.exists, "it does not start", 60)
        attempt = stage(desk.show(run_id), "train")["attempts"][0]
        other = [gpu.uuid for gpu in gpus.gpus].index(attempt["gpus"][0]) ^ 1
        gpus.set(other, processes=[f"{number.read_text().strip()}:500:load=60"], used=500)
        run = desk.ended(run_id)
        (attempt,) = stage(run, "train")["attempts"]
        assert (run["outcome"], attempt["cause"]) == ("failed", "wrong GPU")
        assert attempt["detail"] == (
            f"computed on GPU {other} of here, which it was not given (given: GPU {other ^ 1}): it "
            "sets CUDA_VISIBLE_DEVICES=7; remove that"
        )
        assert desk.output(run_id, "train") == "stopped\n"
        assert f"stage train computes on GPU {other} of here" in desk.ok("events").out
    finally:
        desk.close()
