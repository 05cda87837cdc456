"""Notes about services in the folder of the login: private, whole, bounded, and only their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostler_agent.folders import Folders, Refusal
from hostler_agent.json_values import Json
from hostler_agent.servicenotes import MOST_NOTE, ServiceNotes

OURS = "d" * 32


@pytest.fixture
def notes(tmp_path: Path) -> ServiceNotes:
    return ServiceNotes(Folders(str(tmp_path)))


def keep(notes: ServiceNotes, line: Json, name: Json = "web") -> None:
    assert notes.keep({"daemon_id": OURS, "name": name, "line": line}) == {"kept": True}


def test_the_last_note_counts_and_nobody_else_may_read_it(
    notes: ServiceNotes, tmp_path: Path
) -> None:
    assert notes.list({"daemon_id": OURS}) == {"services": []}
    assert notes.read({"daemon_id": OURS, "name": "web"}) == {"line": ""}
    keep(notes, "one")
    keep(notes, "two")
    keep(notes, "other", "api.v1")
    assert notes.list({"daemon_id": OURS}) == {"services": ["api.v1", "web"]}
    assert notes.read({"daemon_id": OURS, "name": "web"}) == {"line": "two"}
    assert notes.list({"daemon_id": "e" * 32}) == {"services": []}
    (path,) = tmp_path.rglob("web.service")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("line", ["a\nb", "\u00fc", "x" * (MOST_NOTE + 1), None, 7, ["a"]])
def test_what_is_no_note_is_refused(notes: ServiceNotes, line: Json) -> None:
    with pytest.raises(Refusal, match="a line of ASCII"):
        keep(notes, line)


@pytest.mark.parametrize("name", ["../x", "a/b", "", None, 3, "x" * 300])
def test_no_name_leaves_the_folder(notes: ServiceNotes, name: Json) -> None:
    with pytest.raises(Refusal):
        keep(notes, "one", name)
    with pytest.raises(Refusal):
        notes.read({"daemon_id": OURS, "name": name})


def test_links_are_not_followed(notes: ServiceNotes, tmp_path: Path) -> None:
    keep(notes, "one")
    (path,) = tmp_path.rglob("web.service")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("secret")
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic"):
        notes.read({"daemon_id": OURS, "name": "web"})
    keep(notes, "two")
    assert (elsewhere.read_text(), os.path.islink(path)) == ("secret", False)


def test_there_are_not_more_notes_than_are_read(
    notes: ServiceNotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostler_agent.servicenotes._MOST_NOTES", 2)
    keep(notes, "one", "a")
    keep(notes, "one", "b")
    with pytest.raises(Refusal, match="2 notes about services already"):
        keep(notes, "one", "c")
    keep(notes, "two", "b")
