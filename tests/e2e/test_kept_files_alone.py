"""Nobody loses a file that took work: what a command wrote is kept, told, and fetched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk

MIB = 1024 * 1024
TRAIN = """
import os
os.makedirs("runs/1", exist_ok=True)
with open("model.pt", "wb") as file: file.write(b"m" * 200_000)
with open("runs/1/loss.csv", "w") as file: file.write("1,2\\n")
with open("big.bin", "wb") as file: file.write(b"b" * (3 << 20))
"""
LIMITS = '[limits]\nkept_files = "1MiB"\n'


@pytest.fixture(scope="module")
def limited(shared_alone: Desk) -> Desk:
    """Before anything has started its daemon: files of more than 1 MiB are too large."""
    shared_alone.config.write_text(LIMITS + shared_alone.config.read_text())
    return shared_alone


@pytest.fixture
def alone(limited: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With the daemon of all tests here, in a work folder of its own."""
    return limited.at_work(tmp_path_factory.mktemp("work"))


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def ran(alone: Desk, *words: str, code: int = 0, where: str = "snapshot") -> tuple[str, str]:
    """The id of a run of a command that has ended so, and what was said."""
    said = alone.hostler("run", "--wait", "--code", where, "--", *words, timeout=90)
    assert said.code == code, said
    return alone.ok("runs", "-q").out.split()[0], said.err


def test_what_a_command_wrote_is_told_and_fetched_also_what_was_too_large(alone: Desk) -> None:
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
    assert "saved, partial" in alone.ok("get", run_id, "--list").out
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


_NAMES = """
import os
for name in os.environb[b"NAMES"].split():
    os.makedirs(os.path.dirname(name) or b".", exist_ok=True)
    with open(name, "wb") as file: file.write(name)
"""


def kept_folder(alone: Desk, run_id: str) -> Path:
    stays = [r.split("\t")[4] for r in alone.ok("get", run_id, "--list").out.splitlines()]
    (path,) = {where.split(" ")[0].removeprefix("here:") for where in stays if where != "saved"}
    return Path(path)


def test_of_two_names_that_look_alike_none_is_lost(alone: Desk) -> None:
    """Latin-1 names that differ in one byte are shown alike, and neither is found by that."""
    (alone.work / "w.py").write_text(_NAMES)
    names = [b"caf\xe9.csv", b"caf\xe8.csv", b"model.pt"]
    line = r"NAMES=$(printf 'caf\351.csv caf\350.csv model.pt') exec python3 w.py"
    run_id, _ = ran(alone, "sh", "-c", line)
    folder = kept_folder(alone, run_id)
    assert {name: (folder / os.fsdecode(name)).read_bytes() for name in names[:2]} == {
        name: name for name in names[:2]
    }
    assert "saved" in alone.ok("get", run_id, "model.pt", "--list").out
    alone.ok("get", run_id, "model.pt", "-o", "got")
    assert (alone.work / "got/model.pt").read_bytes() == b"model.pt"


def test_a_path_that_no_archive_holds_keeps_no_other_file_from_being_saved(alone: Desk) -> None:
    (alone.work / "w.py").write_text(_NAMES)
    deep = "d/" * 120 + "x"
    line = f"NAMES=\"$(printf '\\351%.0s' $(seq 100)) {deep} model.pt\" exec python3 w.py"
    run_id, _ = ran(alone, "sh", "-c", line)
    assert "saved" in alone.ok("get", run_id, "model.pt", "--list").out
    alone.ok("get", run_id, "model.pt", "-o", "one")
    assert files_below(alone.work / "one") == {"model.pt"}
    said = alone.hostler("get", run_id, "-o", "got")
    assert said.code == 1
    assert "its name is too long for a file" in said.err
    assert files_below(alone.work / "got") == {"model.pt", deep}
    assert (kept_folder(alone, run_id) / deep).exists()
