"""A job's metrics file, read in pieces by an agent that trusts nothing in a working folder."""

from __future__ import annotations

import os
from pathlib import Path

from hostler_agent.folders import Folders
from hostler_agent.jobs import Jobs
from hostler_agent.metricpiece import Wanted


def _job(tmp_path: Path) -> tuple[Jobs, Path]:
    folders = Folders(str(tmp_path / "base"))
    folders.make()
    jobs = Jobs(folders, "boot", None, dict)
    made = jobs.create({"attempt_id": "run-a-1", "daemon_id": "d"})
    return jobs, Path(made["folder"]) / ".hostler" / "metrics.jsonl"


def test_pieces_end_with_lines(tmp_path: Path) -> None:
    jobs, file = _job(tmp_path)
    assert jobs.metrics("run-a-1", Wanted(0, True, True)) == {
        "text": "",
        "next": 0,
        "mtime": 0.0,
        "size": 0,
        "mark": "",
    }
    line = '{"loss": 0.123456789}\n'
    file.write_text(line * 60_000)
    text, offset = "", 0
    while piece := jobs.metrics("run-a-1", Wanted(offset, True, True))["text"]:
        assert piece.endswith("\n")
        text, offset = text + piece, jobs.metrics("run-a-1", Wanted(offset, True, True))["next"]
    assert text == line * 60_000
    assert jobs.metrics("run-a-1", Wanted(0, True, True))["mtime"] == file.stat().st_mtime


def test_a_file_of_many_pieces_is_known_again_until_its_last_lines_change(tmp_path: Path) -> None:
    jobs, file = _job(tmp_path)
    line = '{"loss": 0.123456789}\n'
    file.write_text(line * 60_000)
    ask, read = Wanted(0, False, False), ""
    while (answer := jobs.metrics("run-a-1", ask))["text"]:
        read += answer["text"]
        ask = Wanted(answer["next"], False, False, answer["mark"])
    assert read == line * 60_000
    os.utime(file, (1.0, 1.0))
    touched = jobs.metrics("run-a-1", ask)
    assert (touched["next"], touched["text"]) == (ask.offset, "")
    with file.open("a") as more:
        more.write(line)
    assert jobs.metrics("run-a-1", ask)["text"] == line
    file.write_text(line * 59_999 + line.replace("1", "2"))
    assert jobs.metrics("run-a-1", ask)["next"] == 0


def test_bytes_that_are_no_text_do_not_move_the_offset(tmp_path: Path) -> None:
    jobs, file = _job(tmp_path)
    file.write_bytes(b"\xff\xfe\n")
    assert jobs.metrics("run-a-1", Wanted(0, True, True))["text"] == "\ufffd\ufffd\n"
    assert jobs.metrics("run-a-1", Wanted(0, True, True))["next"] == 3


def test_only_a_plain_file_is_read(tmp_path: Path) -> None:
    jobs, file = _job(tmp_path)
    (tmp_path / "secret").write_text("secret")
    file.symlink_to(tmp_path / "secret")
    assert jobs.metrics("run-a-1", Wanted(0, True, True))["text"] == ""
    file.unlink()
    os.mkfifo(file)
    assert jobs.metrics("run-a-1", Wanted(0, True, True))["text"] == ""
