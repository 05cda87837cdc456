"""scripts/venv.sh where the distribution's Python cannot make environments."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("sh", "env", "id", "mktemp", "rm", "touch", "dirname")


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """A PATH with a Python that has neither ensurepip nor pip, a root login, and an apt-get that
    notes what it is asked."""
    for name in NEEDED:
        found = next(p for p in os.environ["PATH"].split(":") if Path(p, name).exists())
        (tmp_path / name).symlink_to(Path(found, name).resolve())
    (tmp_path / "id").unlink()
    _script(tmp_path / "id", "echo ${TEST_UID:-0}")
    _script(
        tmp_path / "python3",
        f'here={tmp_path}; case "$*" in\n'
        '*version_info\\ *) echo "$here/python3" ;;\n'
        '*"%d.%d-venv"*) echo python3.13-venv ;;\n'
        '"-m venv --clear "*) [ -e "$here/installed" ] && echo made >> "$here/apt.log" ;;\n'
        '*ensurepip*) [ -e "$here/installed" ] ;;\n'
        "*) exit 1 ;;\nesac",
    )
    _script(
        tmp_path / "apt-get",
        f'echo "$*" >> {tmp_path}/apt.log\n'
        "case $1 in update) exit ${UPDATE:-0} ;; esac\n"
        f'[ "${{INSTALL:-0}}" = 0 ] && touch {tmp_path}/installed\nexit ${{INSTALL:-0}}',
    )
    return tmp_path


def _set_up(debian: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / "scripts/venv.sh"), str(debian / "venv")],
        env={"PATH": str(debian), **env}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_a_broken_package_source_does_not_keep_the_package_from_being_installed(
    debian: Path,
) -> None:
    ran = _set_up(debian, UPDATE="100")
    assert "going on with the package lists that are there" in ran.stdout
    done = (debian / "apt.log").read_text().splitlines()
    assert done == ["update -qq", "install -y -qq python3.13-venv", "made"]


def test_a_package_that_cannot_be_installed_is_named_with_another_way(debian: Path) -> None:
    ran = _set_up(debian, INSTALL="100")
    assert ran.returncode == 1
    assert "apt could not install python3.13-venv" in ran.stderr
    assert "docs.astral.sh/uv" in ran.stderr


def test_who_is_not_root_is_told_what_to_ask_for(debian: Path) -> None:
    ran = _set_up(debian, TEST_UID="1000")
    assert ran.returncode == 1
    assert "apt install python3.13-venv" in ran.stderr
    assert not (debian / "apt.log").exists()
