"""Nobody loses a file that took work: what a command wrote is kept, told, and fetched."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.desk import Desk

MIB = 1024 * 1024
TRAIN = """
import os
os.makedirs("runs/1", exist_ok=True)
with open("model.pt", "wb") as file: file.write(b"m" * 200_000)
with open("runs/1/loss.csv", "w") as file: file.write("1,2\\n")
with open("big.bin", "wb") as file: file.write(b"b" * (3 << 20))
"""
LIMITS = '[limits]\nkept_files = "1MiB"\n'


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def ran(alone: Desk, *words: str, code: int = 0, where: str = "snapshot") -> tuple[str, str]:
    """The id of a run of a command that has ended so, and what was said."""
    said = alone.hostler("run", "--wait", "--code", where, "--", *words, timeout=90)
    assert said.code == code, said
    return alone.ok("runs", "-q").out.split()[0], said.err


def test_what_a_command_wrote_is_told_and_fetched_also_what_was_too_large(alone: Desk) -> None:
    alone.config.write_text(LIMITS + alone.config.read_text())
    (alone.work / "train.py").write_text(TRAIN)
    run_id, said = ran(alone, "python3", "train.py")
    assert f"saved: model.pt (195 KiB), runs/ (4 B); hostler get {run_id}" in said
    assert "big.bin (3 MiB)" in said
    listed = [row.split("\t") for row in alone.ok("get", run_id, "--list").out.splitlines()]
    assert [row[1:3] for row in listed] == [
        ["model.pt", "195 KiB"], ["runs/1/loss.csv", "4 B"], ["big.bin", "3 MiB"],
    ]  # fmt: skip
    assert listed[2][4].startswith(f"here:/var/tmp/hostler-{os.getuid()}/jobs/{run_id}-run-1/work")
    alone.ok("get", run_id, "-o", "got")
    assert files_below(alone.work / "got") == {"model.pt", "runs/1/loss.csv", "big.bin"}
    assert (alone.work / "got/big.bin").read_bytes() == b"b" * 3 * MIB
    assert "3 there already" in alone.ok("get", run_id, "-o", "got").err
    kept = alone.ok("show", run_id, "--json").json
    assert kept["outcome"] == "succeeded"


def test_a_failed_command_leaves_its_files_too(alone: Desk) -> None:
    run_id, said = ran(alone, "sh", "-c", "echo half > part.txt; exit 3", code=3)
    assert "saved: part.txt (5 B, partial)" in said
    assert "of a failed attempt" in alone.ok("get", run_id, "--list").out
    alone.ok("get", run_id, "-o", "got")
    assert (alone.work / "got/part.txt").read_text() == "half\n"


def test_files_in_the_folder_itself_are_there_already(alone: Desk) -> None:
    run_id, said = ran(alone, "sh", "-c", "echo new > new.txt", where="here")
    assert f"new in its folder: new.txt (4 B); hostler get {run_id}" in said
    assert "1 there already" in alone.ok("get", run_id).err
    alone.ok("get", run_id, "-o", "got")
    assert (alone.work / "got/new.txt").read_text() == "new\n"
    (alone.work / "got/new.txt").write_text("old\n")
    assert alone.hostler("get", run_id, "-o", "got").code == 2
    assert (alone.work / "got/new.txt").read_text() == "old\n"
