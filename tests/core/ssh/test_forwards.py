"""Folders for forwarded sockets: what a killed process left goes, and nothing else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hostler.ssh import forwards
from hostler.ssh.forwards import Forward, sweep

pytestmark = pytest.mark.programs


def dead_pid() -> int:
    """Of a process that has ended and was waited for."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_new_one_removes_what_a_killed_process_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwards, "_short_folder", lambda: str(tmp_path))
    left = tmp_path / f"hostler-{dead_pid()}-ab12"
    left.mkdir()
    (left / "docker.sock").touch()
    mine = Forward()
    assert list(tmp_path.iterdir()) == [mine.socket.parent]
    assert stat.S_IMODE(mine.socket.parent.stat().st_mode) == 0o700
    other = Forward()
    assert mine.socket.parent.is_dir(), "of a process that lives"
    mine.remove()
    mine.remove()
    other.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_such_a_folder_stays(tmp_path: Path) -> None:
    pid = dead_pid()
    full = tmp_path / f"hostler-{pid}-full"
    full.mkdir()
    (full / "thesis.tex").write_text("important")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"hostler-{pid}-link").symlink_to(elsewhere)
    (tmp_path / f"hostler-{pid}-file").write_text("x")
    (tmp_path / f"hostler-{os.getpid()}-mine").mkdir()
    (tmp_path / "hostler-demo-abc").mkdir()
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
