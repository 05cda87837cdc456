"""Who could have put a socket where it lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostler.base import makers
from hostler.base.makers import doubt

DAEMON, STRANGER = 54321, 54322
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to make what others own")


def made(path: Path, owner: int = 0, mode: int = 0o755, group: int = 0) -> Path:
    path.mkdir()
    os.chown(path, owner, group)
    path.chmod(mode)
    return path


def socket_in(folder: Path, owner: int = DAEMON) -> str:
    path = folder / "hostler.sock"
    path.touch()
    os.chown(path, owner, -1)
    return str(path)


def test_a_folder_that_root_gave_the_daemons_login_is_trusted(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    path = socket_in(made(run / "hostler", DAEMON, 0o2750, group=54000))
    assert doubt(path, DAEMON) is None
    assert f"{run}/hostler belongs to uid {DAEMON}" == doubt(path, STRANGER)


def test_a_persons_own_home_is_trusted_of_their_daemon(tmp_path: Path) -> None:
    home = made(tmp_path / "bo", DAEMON)
    assert doubt(socket_in(made(home / "run", DAEMON)), DAEMON) is None


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o757])
def test_a_folder_that_anybody_could_have_made_is_not(tmp_path: Path, mode: int) -> None:
    common = made(tmp_path / "common", mode=mode)
    path = socket_in(made(common / "hostler", DAEMON))
    assert doubt(path, DAEMON) == f"other users may write to {common}"


@pytest.mark.parametrize("mode", [0o2770, 0o3770, 0o1777])
def test_nor_one_in_which_others_may_make_sockets(tmp_path: Path, mode: int) -> None:
    path = socket_in(made(tmp_path / "hostler", mode=mode, group=54000))
    assert doubt(path, DAEMON) == f"other users may write to {tmp_path}/hostler"


def test_one_of_ones_own_in_a_common_folder_is(tmp_path: Path) -> None:
    common = made(tmp_path / "common", mode=0o1777)
    assert doubt(socket_in(made(common / "mine"), owner=0), DAEMON) is None


def test_a_relative_path_is_one_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        doubt(
            Path(socket_in(made(tmp_path / "run", DAEMON))).relative_to(tmp_path).as_posix(), DAEMON
        )
        is None
    )


def test_links_are_followed_step_by_step(tmp_path: Path) -> None:
    real = socket_in(made(tmp_path / "real", DAEMON))
    (tmp_path / "link.sock").symlink_to("real/../real/hostler.sock")
    assert doubt(f"{tmp_path}/link.sock", DAEMON) is None
    common = made(tmp_path / "common", mode=0o1777)
    (common / "link.sock").symlink_to(real)
    os.lchown(common / "link.sock", STRANGER, -1)
    assert doubt(f"{common}/link.sock", DAEMON) == f"other users may write to {common}"
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "leads in a circle" in str(doubt(f"{tmp_path}/a", DAEMON))


def test_what_is_gone_cannot_be_trusted(tmp_path: Path) -> None:
    assert "gone.sock cannot be checked (No such file" in str(doubt(f"{tmp_path}/gone.sock", 1))


def test_the_owners_own_group_is_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = socket_in(made(tmp_path / "run", 1, 0o770, group=1))  # daemon:daemon, as on every Linux
    assert doubt(path, 1) is None
    group = lambda _gid: type("G", (), {"gr_name": "daemon", "gr_mem": ["ana"]})  # noqa: E731
    monkeypatch.setattr("grp.getgrgid", group)
    assert doubt(path, 1) == f"other users may write to {tmp_path}/run"


def test_root_without_a_number_is_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = socket_in(made(tmp_path / "run", STRANGER))
    assert doubt(path, DAEMON) is not None
    monkeypatch.setattr(makers, "is_numbered", lambda uid: uid != STRANGER)
    assert doubt(path, DAEMON) is None
