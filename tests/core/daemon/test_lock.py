from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from hostler.base.errors import DaemonBusy
from hostler.daemon.lock import StateLock


def test_the_second_daemon_of_a_folder_names_the_holder(tmp_path: Path) -> None:
    with StateLock(tmp_path):
        with pytest.raises(DaemonBusy) as caught, StateLock(tmp_path):
            raise AssertionError("two daemons hold one folder")
        assert f"pid {os.getpid()}" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
    with StateLock(tmp_path):
        pass


@pytest.mark.programs
def test_a_lock_left_by_a_killed_daemon_does_not_hold(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            StateLock(tmp_path).__enter__()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    with StateLock(tmp_path):
        assert str(os.getpid()) in (tmp_path / "daemon.lock").read_text()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("as it was")
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "daemon.lock").symlink_to(target)
    with pytest.raises(OSError, match="symbolic"), StateLock(folder):
        pass
    assert target.read_text() == "as it was"
