"""Where the state may lie, and what is said where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.base.errors import StateError
from hostler.cli.checks import check_state
from hostler.daemon.serve import serve
from hostler.model.config import Config
from hostler.store import files


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the table of mounts calls one of NFS."""
    folder, table = tmp_path / "home" / "state", tmp_path / "mountinfo"
    table.write_text(
        "22 1 252:1 / / rw - ext4 /dev/vda1 rw\n"
        f"30 22 0:40 / {tmp_path.resolve()}/home rw shared:3 - nfs4 server:/home rw\n"
    )
    monkeypatch.setattr(files, "_MOUNTINFO", table)
    return folder


def test_a_daemon_refuses_a_state_folder_on_nfs_and_leaves_nothing(on_nfs: Path) -> None:
    async def never(*_args: object, **_more: object) -> None:
        raise AssertionError("it serves")

    with pytest.raises(StateError, match=r"network file system \(nfs4\)") as caught:
        serve(Config(), on_nfs, on_nfs / "socket", never)
    assert "HOSTLER_STATE" in caught.value.remedy
    assert not on_nfs.exists()


def test_doctor_says_so_too(on_nfs: Path, tmp_path: Path) -> None:
    found = check_state(on_nfs)
    assert (found.name, found.state) == ("local.state", "fail")
    assert "local disk" in found.remedy
    assert check_state(tmp_path / "elsewhere").state == "ok"
