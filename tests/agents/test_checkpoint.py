"""When a checkpoint was written to, and what does not pass for that."""

from __future__ import annotations

import os
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import checkpoint, journal
from hostler_agent.boxed import TooMuch
from hostler_agent.folders import Folders, Refusal
from hostler_agent.inside import Seen
from tests.support.programs.agents import eventually

KEY = "d1-r-s"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(str(tmp_path / "base"))
    Path(made.checkpoints, KEY).mkdir(parents=True)
    job = Path(made.job("a"))
    job.mkdir(parents=True)
    created = {"event": "created", "attempt_id": "a", "checkpoint": "ckpt", "checkpoint_key": KEY}
    journal.append(str(job), created)
    return made


def kept(folders: Folders, name: str = "model.pt", content: str = "x") -> Path:
    file = Path(folders.checkpoints, KEY, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def newest(folders: Folders, since: float, **more: Any) -> float | None:
    answer = checkpoint.job(folders, {"attempt_id": "a", "since": since, "path": "ckpt", **more})
    assert answer["problem"] == "", answer
    found = answer["newest"]
    assert found is None or isinstance(found, float)
    return found


def moment_after(file: Path) -> float:
    """A moment after this file was written. The kernel stamps files by its ticks."""
    probe = file.parents[3] / "probe"

    def written() -> float:
        probe.write_text("x")
        return probe.stat().st_ctime

    eventually(lambda: written() > file.stat().st_ctime)
    return probe.stat().st_ctime


def test_a_file_that_was_written_since_is_newer(folders: Folders) -> None:
    since = moment_after(kept(folders, "old.pt"))
    before = newest(folders, since)
    assert before is not None
    assert before < since
    kept(folders, "epoch/3/new.pt")
    after = newest(folders, since)
    assert after is not None
    assert after >= since


def test_without_files_there_is_no_checkpoint(folders: Folders) -> None:
    kept(folders, "empty", "")
    Path(folders.checkpoints, KEY, "folder").mkdir()
    Path(folders.checkpoints, KEY, "link").symlink_to("/etc/passwd")
    assert newest(folders, 0.0) is None
    Path(folders.checkpoints, KEY).rename(Path(folders.checkpoints, "gone"))
    assert newest(folders, 0.0) is None


def test_a_time_that_a_program_has_set_does_not_count(folders: Folders) -> None:
    file = kept(folders)
    os.utime(file, (4e9, 4e9))
    since = moment_after(file)
    found = newest(folders, since)
    assert found is not None
    assert found < since


def test_a_link_in_the_place_of_the_kept_folder_is_not_followed(
    folders: Folders, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/new").write_text("x")
    Path(folders.checkpoints, KEY).rmdir()
    Path(folders.checkpoints, KEY).symlink_to(tmp_path / "elsewhere")
    assert newest(folders, 0.0) is None


def test_where_the_code_is_run_in_place_its_folder_counts_too(
    folders: Folders, tmp_path: Path
) -> None:
    since = moment_after(kept(folders, "old.pt"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here/new.pt").write_text("x")
    found = newest(folders, since, beside=str(tmp_path / "here"))
    assert found is not None
    assert found >= since


def test_a_file_server_that_hangs_holds_up_one_reader_only(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, go = checkpoint._walk, threading.Event()

    def walk(folder: str, span: checkpoint.Span, until: float) -> bool:
        if folder.endswith("here"):
            go.wait(30)
        return real(folder, span, until)

    monkeypatch.setattr(checkpoint, "_walk", walk)
    monkeypatch.setattr(checkpoint, "_MOST_SECONDS", 0.05)
    ask: Any = {"attempt_id": "a", "since": time.time() + 60, "beside": str(tmp_path / "here")}
    try:
        for _ in range(2):
            assert checkpoint.job(folders, ask)["problem"] == "its folder does not answer"
    finally:
        go.set()
    eventually(lambda: not checkpoint._beside.locked())


def test_more_files_than_can_be_looked_at_are_a_problem(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_MOST_FILES", 3)
    for number in range(5):
        kept(folders, str(number))
    answer = checkpoint.job(folders, {"attempt_id": "a", "since": time.time() + 60})
    assert answer["problem"] == "it has too many files"


def test_a_job_that_is_gone_is_refused(folders: Folders) -> None:
    with pytest.raises(Refusal):
        checkpoint.job(folders, {"attempt_id": "b", "since": 0.0})


def members(**files: float) -> Any:
    """As Docker sends them."""
    for name, at in files.items():
        info = tarfile.TarInfo(name)
        info.size, info.mtime = 5000, int(at)
        yield name, info, lambda: iter(())


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a": 50, "b": 120, "c": 130}, 120.0),
        ({"a": 50, "b": 60}, 60.0),
        ({"a": 4e9, "b": 60}, 60.0),
        ({"future": 4e9}, None),
    ],
)
def test_of_a_container_what_is_dated_after_its_end_does_not_count(
    files: dict[str, float], found: float | None
) -> None:
    span = checkpoint.Span(100.0, 200.0)
    checkpoint._take(members(**files), span, checkpoint.Span(100.0, 200.0))
    assert span.newest == found


def test_a_checkpoint_of_terabytes_is_not_read_for_ever() -> None:
    patience = checkpoint._Patience(60.0)
    patience()
    patience.shorten(-1.0)
    with pytest.raises(checkpoint.Cannot, match="too large"):
        patience()


@pytest.mark.parametrize(
    ("files", "folder", "fails", "found"),
    [
        ({"old": 50}, 150.0, None, 50.0),
        ({"old": 50, "new": 120}, 150.0, None, 120.0),
        ({}, 150.0, None, None),
        ({"just": 100}, 150.0, None, 150.0),
        ({"old": 50}, 150.0, checkpoint.Cannot("too large"), 150.0),
        ({"old": 50}, 150.0, TooMuch(), 150.0),
    ],
)
def test_of_a_container_the_folder_counts_only_where_its_files_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, float],
    folder: float,
    fails: Exception | None,
    found: float | None,
) -> None:
    """A stage that only tidies up in it, or leaves an empty lock there, makes no progress."""

    class Boxed:
        def __init__(self, *_: Any) -> None:
            pass

        def look(self, _: str) -> Seen:
            return Seen(link=False, plain=False, size=0, mtime=folder, folder=True)

        def members(self, _: str) -> Any:
            yield from members(**files)
            if fails is not None:
                raise fails

        def close(self) -> None:
            pass

    monkeypatch.setattr(checkpoint, "Boxed", Boxed)
    ask: Any = {"attempt_id": "a", "ref": "r", "path": "ckpt", "since": 100.5, "until": 200.0}
    assert checkpoint.container(ask) == {"newest": found, "problem": ""}
