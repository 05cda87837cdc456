"""Whether a path lies on a mount that passes mounts on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler_agent.mounts import root_of, shared

_TABLE = """\
1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
2 1 8:2 / /data rw - ext4 /dev/sdb1 rw
3 2 8:3 / /data/my\\040set rw,nosuid master:7 - nfs server:/x rw
4 1 8:4 / /data rw - ext4 /dev/sdc1 rw
broken
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", True),
        ("/database", True),
        ("/data", False),
        ("/data/x", False),
        ("/data/my set/y", True),
    ],
)
def test_the_innermost_mount_counts(tmp_path: Path, path: str, expected: bool) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(_TABLE)
    assert shared(path, str(table)) is expected


def test_no_table_no_answer(tmp_path: Path) -> None:
    assert shared("/", str(tmp_path / "none")) is None
    assert shared("/") in (True, False)
    assert root_of("/", str(tmp_path / "none")) == ("", "")


def test_which_folder_is_mounted(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(_TABLE)
    assert root_of("/data/my set/y", str(table)) == ("/data/my set", "/")
