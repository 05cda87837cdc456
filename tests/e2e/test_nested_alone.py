"""A batch script that submits others, run by a real daemon on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.machines.desk import Desk

DRIVER = """\
#!/bin/bash -e
#SBATCH --job-name=driver --cpus-per-task=1
cat >made.sh <<EOF
#!/bin/sh
#SBATCH --job-name=made
echo "made here: \\$SLURM_SUBMIT_DIR \\$1 \\$LR"
while [ ! -e $GO/first ]; do sleep 0.05; done
EOF
first=$(sbatch --parsable --export=ALL,LR=3e-4 made.sh "a b")
next=$(sbatch --parsable --dependency=afterok:$first next.sh)
last=$(sbatch --parsable -d afterany:$first:$next --wrap 'echo last')
squeue -h -o '%A %j %T' | sort -k2 | sed "s/$first/FIRST/;s/$next/NEXT/;s/$last/LAST/"
scancel $last
if scancel 12345; then exit 3; fi
if sbatch --nodes=2 next.sh; then exit 4; fi
if sbatch --export=ALL,HF_TOKEN next.sh; then exit 5; fi
touch $GO/first
while squeue -h -j $first,$next | grep -q .; do sleep 0.2; done
echo "driver done"
"""


@pytest.fixture
def work(shared_alone: Desk, tmp_path: Path) -> Desk:
    desk = shared_alone.at_work(tmp_path / "work")
    (desk.work / "driver.sbatch").write_text(DRIVER)
    (desk.work / "next.sh").write_text('#!/bin/sh\necho "next is $SLURM_JOB_NAME"\n')
    return desk


def test_a_script_submits_others_and_waits_for_them(work: Desk) -> None:
    words = ("--env", f"GO={work.work}", "--code", "snapshot", "--nested", "driver.sbatch")
    said = work.ok("run", "-d", "-q", *words)
    run = work.ended(said.out.strip())
    output = work.output(run["run_id"], "run")
    assert run["outcome"] == "succeeded", output
    lines = output.splitlines()
    assert "FIRST made RUNNING" in lines or "FIRST made PENDING" in lines
    assert "NEXT next.sh PENDING" in lines
    assert "hostler: scancel: there is no job 12345 among those of this run" in lines
    assert any("--nodes asks for 2 nodes" in line for line in lines)
    assert any("HF_TOKEN=VALUE" in line for line in lines)
    assert lines[-1] == "driver done"
    first, after, last = run["nested"]
    assert work.ended(first)["parent"] == run["run_id"]
    told = work.output(first, "run").strip()
    assert told.startswith("made here: ")
    assert told.endswith(" a b 3e-4")
    assert work.ended(after)["outcome"] == "succeeded"
    assert work.ended(last)["outcome"] == "cancelled"
