"""A command for many values on hosts with GPUs, and tried again with new code."""

from __future__ import annotations

import subprocess

from tests.support.machines.desk import Desk

NO_GPU = "no GPU requested; --gpus 1 requests one"


def test_a_sweep_takes_gpus_and_what_failed_of_it_is_mended(desk: Desk) -> None:
    subprocess.run(["git", "init", "-q", str(desk.work)], check=True, env=desk.env)
    (desk.work / "configs").mkdir()
    for name in "ab":
        (desk.work / "configs" / f"{name}.txt").write_text(name)
    (desk.work / "data").mkdir()
    (desk.work / "data" / "in").write_text("data")
    (desk.work / ".gitignore").write_text("data/\n")
    train = desk.work / "train.sh"
    train.write_text('test "$1" = configs/a.txt && cat "$1" data/in && echo ":$HOSTLER_GPUS"\n')
    words = ["--include", "data", "--each", "configs/*.txt", "--", "sh", "train.sh", "{}"]
    said = desk.ok("run", "-d", "--gpus", "1", *words)
    assert NO_GPU not in said.err
    run = desk.ended(said.out.strip())
    assert [stage["status"] for stage in run["stages"]] == ["succeeded", "failed"]
    train.write_text('cat "$1" data/in && echo ":$HOSTLER_GPUS"\n')
    run = desk.ended(desk.ok("retry", run["run_id"], "--new-code").out.strip())
    assert [stage["kept"] for stage in run["stages"]] == [True, False]
    for stage, name in zip(run["stages"], "ab", strict=True):
        text = desk.ok("logs", run["run_id"], "--stage", stage["name"]).out.strip()
        assert text.startswith(f"{name}data:GPU-")
    # Without a word about GPUs there are none, and that is told.
    said = desk.ok("run", "-d", "--", "sh", "-c", 'echo "<$HOSTLER_GPUS>"')
    assert NO_GPU in said.err.splitlines()
    run = desk.ended(said.out.strip())
    assert desk.ok("logs", run["run_id"]).out == "<>\n"
