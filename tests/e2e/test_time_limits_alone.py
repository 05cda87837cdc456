"""A warning before the limit, and a requeue at it: real processes under a real daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.machines.desk import Desk, stage

TRAIN = """\
import os, pathlib, signal, sys, time

file = pathlib.Path(os.environ["HOSTLER_CHECKPOINT"], "step")
step = int(file.read_text()) if file.exists() else 0
print(f"step {step}, requeued {os.environ['HOSTLER_REQUEUE_COUNT']}", flush=True)
if step:
    sys.exit(0)
signal.signal(signal.SIGUSR1, lambda *_: file.write_text(str(step + 1)))
while True:
    time.sleep(60)
"""
PIPELINE = """\
name = "limits"
[defaults]
timeout = "14s"
warn = { signal = "USR1", before = "6s" }
on_timeout = "requeue"
resources = { cpus = 0.1 }
[stages.plain]
command = ["python3", "-IS", "train.py"]
checkpoint = "ckpt/"
[stages.shell]
shell = true
command = "python3 -IS train.py | cat; echo ended"
checkpoint = "ckpt/"
[stages.deaf]
command = ["sleep", "600"]
checkpoint = "ckpt/"
[stages.bare]
command = ["sleep", "0.01"]
"""

BATCH = """\
#!/bin/bash
#SBATCH --time=0:14 --signal=B:USR1@6 --requeue
n=$(cat ckpt/n 2>/dev/null || echo 0)
echo "restart ${SLURM_RESTART_COUNT:-0}, n $n"
[ "$n" = 0 ] || exit 0
trap 'mkdir -p ckpt; echo 1 > ckpt/n' USR1
while :; do sleep 0.2 & wait; done
"""


@pytest.fixture
def work(shared_alone: Desk, tmp_path: Path) -> Desk:
    desk = shared_alone.at_work(tmp_path / "work")
    (desk.work / "train.py").write_text(TRAIN)
    return desk


def attempts(run: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return list(stage(run, name)["attempts"])


def test_a_training_is_warned_saves_and_goes_on_in_the_next_attempt(work: Desk) -> None:
    run = work.run(PIPELINE, timeout=120)
    for name in ("plain", "shell"):
        first, second = attempts(run, name)
        assert (first["cause"], second["phase"]) == ("requeued", "succeeded"), first
        assert first["warning"].startswith("USR1 sent to python3 (process ")
        assert second["number"] == 2
        assert "step 1, requeued 1" in work.output(run["run_id"], name)
    assert "requeued once" in work.ok("show", run["run_id"]).out

    (deaf,) = attempts(run, "deaf")
    assert deaf["cause"] == "time limit"
    assert "not requeued: nothing was written to its checkpoint ckpt/" in deaf["detail"]
    said = work.output(run["run_id"], "deaf")
    assert "[hostler] USR1 was not sent: sleep (process " in said
    assert [each["phase"] for each in attempts(run, "bare")] == ["succeeded"]


def test_a_batch_script_traps_the_signal_and_is_requeued(work: Desk) -> None:
    (work.work / "train.sbatch").write_text(BATCH)
    said = work.ok("run", "-d", "--checkpoint", "ckpt", "train.sbatch")
    run = work.ended(said.out.strip(), timeout=120)
    first, second = attempts(run, "run")
    assert (first["cause"], second["phase"]) == ("requeued", "succeeded"), first
    assert first["warning"].startswith("USR1 sent to ")
    assert "restart 1, n 1" in work.output(run["run_id"], "run")
