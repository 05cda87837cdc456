"""A container that submits others, on a real lab: not as root, and with a daemon that is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, wait_until

pytestmark = pytest.mark.lab

DRIVER = """\
#!/bin/sh
#SBATCH --cpus-per-task=1
set -e
srun -n 2 -l sh -c 'echo task $SLURM_PROCID' | sort
scontrol show hostnames 'n[1-2]'
module load cuda
scontrol show job | grep -q "JobId=[1-9]"
if (echo x >"$HOSTLER_COMMANDS/srun") 2>/dev/null; then exit 3; fi
first=$(sbatch --parsable --gres=gpu:1 --wrap 'echo gpus $HOSTLER_GPU_COUNT; id -u')
echo "submitted $first"
while squeue -h -j "$first" | grep -q .; do sleep 0.3; done
second=$(sbatch --parsable --wrap 'sleep 600')
scancel "$second"
echo over
"""


@pytest.fixture
def desk(shared_desk: Desk, tmp_path: Path) -> Desk:
    return shared_desk.at_work(tmp_path)


def test_a_container_submits_others_and_its_daemon_is_killed(lab: Lab, desk: Desk) -> None:
    (desk.work / "driver.sbatch").write_text(DRIVER)
    words = ("--image", BUSYBOX, "--host", "gpu2", "--code", "snapshot", "--nested")
    run_id = desk.ok("run", "-d", "-q", *words, "driver.sbatch").out.strip()
    desk.until(run_id, lambda run: bool(run["nested"]))
    desk.kill_daemon()
    run = desk.ended(run_id)
    output = desk.output(run_id, "run")
    assert run["outcome"] == "succeeded", output
    # Docker keeps no order between the two outputs of a container.
    notes = [line for line in output.splitlines() if "there are no environment modules" in line]
    lines = [line for line in output.splitlines() if line not in notes]
    assert len(notes) == 1
    assert lines[:4] == ["0: task 0", "1: task 1", "n1", "n2"]
    assert lines[-1] == "over"
    first, second = run["nested"]
    made = desk.ended(first)
    assert made["stages"][0]["attempt"]["host"] == "gpu2"
    assert made["stages"][0]["image"] == BUSYBOX
    assert desk.output(first, "run").splitlines()[0] == "gpus 1"
    assert desk.output(first, "run").splitlines()[1] != "0"
    assert desk.ended(second)["outcome"] == "cancelled"
    listing = ["sh", "-c", "ls /var/tmp/hostler-*/nested 2>/dev/null || true"]
    gpu2 = lab.host("gpu2")
    wait_until(lambda: run_id not in gpu2.exec(listing).stdout, "its folder is removed")
