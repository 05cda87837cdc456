"""Standing notes are told once for a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hostler.submit.remembered import TOLD, silent, tell_once


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"  # HOSTLER_STATE of these tests


def told(folder: Path, *notes: str) -> list[str]:
    said: list[str] = []
    tell_once(folder, notes, said.append)
    return said


def test_each_note_once_for_each_folder(tmp_path: Path, state: Path) -> None:
    assert told(tmp_path, "a", "b") == ["a", "b"]
    assert told(tmp_path, "a", "b", "c") == ["c"]
    assert told(tmp_path / "other", "a") == ["a"]
    assert told(tmp_path) == []
    assert (state / TOLD).stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in state.iterdir()] == [TOLD]


def test_a_folder_is_the_same_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert told(tmp_path / "real", "a") == ["a"]
    assert told(tmp_path / "link", "a") == []


def test_who_hears_nothing_was_told_nothing(tmp_path: Path) -> None:
    tell_once(tmp_path, ["a"], silent)
    assert told(tmp_path, "a") == ["a"]


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "[1, null]", "[" * 100_000, "\xff"])
def test_a_file_that_is_none_of_ours_is_replaced(tmp_path: Path, state: Path, text: str) -> None:
    state.mkdir(mode=0o700)
    (state / TOLD).write_text(text, encoding="latin-1")
    assert told(tmp_path, "a") == ["a"]
    assert told(tmp_path, "a") == []


def test_a_link_or_pipe_in_its_place_is_neither_followed_nor_waited_for(
    tmp_path: Path, state: Path
) -> None:
    state.mkdir(mode=0o700)
    (tmp_path / "precious").write_text("precious")
    (state / TOLD).symlink_to(tmp_path / "precious")
    assert told(tmp_path, "a") == ["a"]
    assert (tmp_path / "precious").read_text() == "precious"
    (state / TOLD).unlink()
    os.mkfifo(state / TOLD)
    assert told(tmp_path, "b") == ["b"]
    assert told(tmp_path, "b") == []


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path: Path, state: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    state.symlink_to(open_to_all / "state")
    (open_to_all / "state").mkdir(mode=0o700)
    for _ in range(2):
        assert told(tmp_path, "a") == ["a"]
    assert list((open_to_all / "state").iterdir()) == []


def test_only_the_newest_are_remembered(tmp_path: Path, state: Path) -> None:
    told(tmp_path, *(str(number) for number in range(2500)))
    assert len(json.loads((state / TOLD).read_text())) == 2000
    assert told(tmp_path, "2499") == []
    assert told(tmp_path, "0") == ["0"]
