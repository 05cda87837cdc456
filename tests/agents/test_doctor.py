"""What the agent says of a host: Python, leases, and a /var/tmp that is one login's alone."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import doctor
from hostler_agent.leases import Leases
from tests.support.machines.users import BOB, MALLORY, NEEDS_ROOT, run_as

TABLE = """\
1 0 8:1 {slash} / rw shared:1 - ext4 /dev/sda1 rw
2 1 8:2 {root} /var/tmp rw shared:2 - {kind} /dev/sda1 rw
"""


def row(found: list[dict[str, str]]) -> tuple[str, str, str]:
    (check,) = found
    return check["state"], check["message"], check["remedy"]


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_that_makes_no_environments_is_said(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = importlib.util.find_spec
    assert doctor._python()["state"] == "ok"
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == missing else real(name)
    )
    state, message, remedy = row([doctor._python()])
    assert state == "warn"
    assert message.endswith(f"without the module {missing}: stages with `venv` fail here")
    assert "python3-venv" in remedy


@pytest.mark.programs
@NEEDS_ROOT
def test_whoever_owns_the_leases_is_named_with_the_lines_that_make_them_roots(
    short_folder: Path,
) -> None:
    os.chmod(short_folder, 0o1777)
    folder = str(short_folder / "hostler" / "leases")
    assert doctor.leases(folder) == [], "nobody has leased a GPU yet"

    def make() -> str:
        with Leases(folder).locked():
            return ""

    run_as(MALLORY, make)
    state, message, remedy = row(doctor.leases(folder))
    assert state == "warn"
    assert message.startswith(f"uid {MALLORY} created {folder},")
    assert f"'d %s 1777 root root -\\n' {os.path.dirname(folder)} {folder} > /etc/tmp" in remedy
    for path in (folder, os.path.dirname(folder)):
        os.chown(path, 0, 0)
    assert row(doctor.leases(folder))[0] == "ok"


@pytest.mark.programs
@NEEDS_ROOT
def test_leases_that_cannot_be_had_are_a_failure(short_folder: Path) -> None:
    os.chmod(short_folder, 0o1777)
    folder = str(short_folder / "hostler" / "leases")
    with Leases(folder).locked():
        pass
    (Path(folder) / ".lock").chmod(0)
    said = run_as(BOB, lambda: doctor.leases(folder)[0]["message"])
    assert said.startswith("no GPU can be leased: the lease lock ")
    assert said.endswith("root can remove it")


@pytest.mark.parametrize(
    ("slash", "root", "kind", "private"),
    [
        ("/", "/var/tmp/tmp-inst/ana", "ext4", True),
        ("/", "/var/tmp.inst/1", "ext4", True),
        ("/", "/tmp/systemd-private-3f-sshd.service-x/tmp", "xfs", True),
        ("/", "/", "tmpfs", False),
        ("/@", "/@var/tmp", "btrfs", False),
        ("/lxc/ana/rootfs", "/", "ext4", False),
    ],
)
def test_a_tmp_of_ones_own_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slash: str, root: str, kind: str, private: bool
) -> None:
    monkeypatch.setenv("USER", "ana")
    table = tmp_path / "mountinfo"
    table.write_text(TABLE.format(slash=slash, root=root, kind=kind))
    found: Any = doctor.private_tmp("/var/tmp/hostler/leases", str(table))
    assert bool(found) is private
    if private:
        state, message, _ = row(found)
        assert state == "fail"
        assert message.startswith(f"/var/tmp is private to this login ({root})")


@pytest.mark.parametrize("kind", ["virtiofs", "vboxsf", "nfs4"])
def test_shared_folders_of_virtual_machines_are_no_local_disks(kind: str) -> None:
    from hostler.base.paths import REMOTE_TYPES

    assert kind in doctor._NETWORK
    assert kind in REMOTE_TYPES
    assert set(doctor._NETWORK) <= REMOTE_TYPES
