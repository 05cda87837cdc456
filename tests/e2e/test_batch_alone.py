"""Slurm's batch scripts, run as they are by a real daemon on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.machines.desk import Desk

SCRIPT = """\
#!/bin/bash -e
#SBATCH --job-name="My Train"   # for people
#SBATCH -p gpu -A lab
#SBATCH --ntasks=1 --cpus-per-task=1 --time=10
#SBATCH --export=ALL,GREETING="a {b} c"

cd "$SLURM_SUBMIT_DIR"
cat data.txt
echo "$SLURM_JOB_NAME|$SLURM_CPUS_PER_TASK|$SLURM_NTASKS|$GREETING|$1|$2"
[ "$SLURM_JOB_NODELIST" = "$(uname -n)" ]
[ "$SLURM_GPUS_ON_NODE" = 0 ]
echo "port $((10000 + SLURM_JOB_ID % 1000))"
[ -z "$SLURM_RESTART_COUNT" ]
"""


@pytest.fixture
def work(shared_alone: Desk, tmp_path: Path) -> Desk:
    desk = shared_alone.at_work(tmp_path / "work")
    (desk.work / "data.txt").write_text("data\n")
    (desk.work / "jobs").mkdir()
    (desk.work / "jobs/train.sh").write_text(SCRIPT)
    return desk


def test_a_script_runs_as_it_is(work: Desk) -> None:
    said = work.ok("run", "-d", "jobs/train.sh", "one", "--", "--two words")
    assert "not used: partition, account" in said.err
    run = work.ended(said.out.strip())
    assert run["outcome"] == "succeeded", work.output(run["run_id"], "run")
    assert (run["pipeline"], run["title"]) == ("my-train", "My Train")
    lines = work.output(run["run_id"], "run").splitlines()
    assert lines[:2] == ["data", "My Train|1|1|a {b} c|one|--two words"]
    assert lines[2].startswith("port 10")


def test_the_log_is_also_where_the_script_names_a_file(work: Desk) -> None:
    (work.work / "a.sbatch").write_text(
        "#!/bin/sh\n#SBATCH -J my-train -o logs/%x_%j.out\necho out; echo err >&2\n"
        'echo "$SLURM_JOB_ID"\n'
    )
    said = work.ok("run", "-d", "a.sbatch")
    assert "not used" not in said.err
    run = work.ended(said.out.strip())
    (file,) = (work.work / "logs").iterdir()
    log = work.output(run["run_id"], "run")
    assert file.read_text() == log
    assert file.name == f"my-train_{log.splitlines()[-1]}.out"
    copied = work.ended(work.ok("run", "-d", "--code", "snapshot", "a.sbatch").out.strip())
    files = work.ok("get", copied["run_id"], "logs", "-o", str(work.work / "got")).out
    assert "my-train_" in files


def test_a_log_that_cannot_be_written_there_costs_nothing(work: Desk) -> None:
    (work.work / "logs").symlink_to(work.work / "elsewhere")
    (work.work / "a.sbatch").write_text("#!/bin/sh\n#SBATCH -o logs/x.out\necho out\n")
    run = work.ended(work.ok("run", "-d", "a.sbatch").out.strip())
    assert run["outcome"] == "succeeded"
    lines = work.output(run["run_id"], "run").splitlines()
    assert lines[0].startswith("hostler: the log is not also written to logs/x.out")
    assert lines[1:] == ["out"]


def test_a_copy_of_the_code_does_the_same(work: Desk) -> None:
    said = work.ok("run", "-d", "-q", "--code", "snapshot", "jobs/train.sh")
    assert work.ended(said.out.strip())["outcome"] == "succeeded"


def test_an_array_has_a_cell_for_each_task(work: Desk) -> None:
    (work.work / "array.slurm").write_text(
        "#!/bin/sh\n#SBATCH --array=2-6:2%2\n"
        'echo "$SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_MAX"\n'
        '[ "$SLURM_ARRAY_JOB_ID" != "$SLURM_JOB_ID" ]\n'
        '[ "$SLURM_ARRAY_TASK_ID" != 4 ]\n'
    )
    run = work.ended(work.ok("run", "-d", "-q", "array.slurm").out.strip())
    assert [stage["status"] for stage in run["stages"]] == ["succeeded", "failed", "succeeded"]
    logs = [work.output(run["run_id"], stage["name"]).strip() for stage in run["stages"]]
    assert logs == ["2 of 6", "4 of 6", "6 of 6"]


def test_what_is_printed_is_a_pipeline_that_does_the_same(work: Desk) -> None:
    printed = work.ok("run", "--print", "jobs/train.sh").out
    (work.work / "pipeline.toml").write_text(printed)
    run = work.ended(work.ok("run", "-d", "-q", "pipeline.toml").out.strip())
    assert run["outcome"] == "succeeded"
    assert "a {b} c" in work.output(run["run_id"], "run")


def test_a_retry_takes_the_script_as_it_is_now(work: Desk) -> None:
    script = work.work / "a.sbatch"
    script.write_text("#!/bin/sh\nexit 3\n")
    failed = work.ended(work.ok("run", "-d", "-q", "--code", "snapshot", "a.sbatch").out.strip())
    assert failed["outcome"] == "failed"
    script.write_text("#!/bin/sh\necho better\n")
    said = work.ok("retry", failed["run_id"], "--new-code")
    assert "the #SBATCH lines of a.sbatch are not read again" in said.err
    assert work.output(work.ended(said.out.strip())["run_id"], "run") == "better\n"


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash -l"])
def test_it_finds_the_commands_of_slurm(work: Desk, shell: str) -> None:
    profile = "PATH=/usr/bin:/bin\n" if "-l" in shell else ""  # as a login's sets it anew
    (work.work / "a.sbatch").write_text(
        f"#!{shell}\n#SBATCH --ntasks=2\n{profile}"
        "[ $(scontrol show hostnames) = $SLURM_JOB_NODELIST ] || exit 1\n"
        "srun --cpu-bind=none -l sh -c 'echo task $SLURM_PROCID of $SLURM_NTASKS' | sort\n"
        "srun -n1 sh -c 'exit 4'\n"
    )
    run = work.ended(work.ok("run", "-d", "-q", "a.sbatch").out.strip())
    lines = work.output(run["run_id"], "run").splitlines()
    assert lines[-2:] == ["0: task 0 of 2", "1: task 1 of 2"]
    assert [stage["attempts"][-1]["exit_code"] for stage in run["stages"]] == [4]


def test_whoever_waits_sees_the_output_and_gets_the_exit_code(work: Desk) -> None:
    (work.work / "a.sbatch").write_text("#!/bin/sh\n#SBATCH -p gpu\necho out\nexit 7\n")
    said = work.hostler("run", "--wait", "a.sbatch")
    assert (said.code, said.out) == (7, "out\n")


def test_a_script_waits_for_another_run(work: Desk) -> None:
    (work.work / "first.sbatch").write_text(
        "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done\nexit 1\n"
    )
    first = work.ok("run", "-d", "-q", "first.sbatch").out.strip()
    (work.work / "next.sbatch").write_text(f"#!/bin/sh\n#SBATCH -d afterok:{first}\ntrue\n")
    (work.work / "last.sbatch").write_text(f"#!/bin/sh\n#SBATCH -d afterany:{first}\ntrue\n")
    ids = [work.ok("run", "-d", "-q", f"{name}.sbatch").out.strip() for name in ("next", "last")]
    (work.work / "go").touch()
    assert [work.ended(run_id)["outcome"] for run_id in ids] == ["cancelled", "succeeded"]


def test_a_plan_says_where_it_would_run(work: Desk) -> None:
    before = work.ok("runs", "-q").out
    said = work.ok("run", "--plan", "jobs/train.sh", "one")
    assert "not used: partition, account" in said.err
    assert said.out.startswith("run\t")
    assert work.ok("runs", "-q").out == before
