"""Folders of one person alone, also where others may write beside them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hostler.base import private
from hostler.base.errors import StateError
from hostler.base.private import make_private
from hostler.client.daemon_start import start
from hostler.quick.socket import Found
from hostler.store.files import private_folder

STRANGER = 54321
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to make what others own")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def common(tmp_path: Path) -> Path:
    """A folder like /var/tmp."""
    folder = tmp_path / "common"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def test_all_that_is_made_is_private_whatever_the_umask(common: Path) -> None:
    before = os.umask(0)
    try:
        make_private(f"{common}/hostler-1/./state/")
    finally:
        os.umask(before)
    assert [mode(common / name) for name in ("hostler-1", "hostler-1/state")] == [0o700] * 2


def test_one_that_is_there_is_tightened(common: Path) -> None:
    (common / "state").mkdir(mode=0o755)
    make_private(str(common / "state"))
    make_private(str(common / "state"))
    assert mode(common / "state") == 0o700


def test_a_relative_path_is_one_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make_private("../there")
    assert mode(tmp_path / "there") == 0o700


def test_a_shell_in_a_folder_that_was_removed_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    make_private(str(tmp_path / "state"))
    assert mode(tmp_path / "state") == 0o700


def test_a_link_in_the_place_of_the_folder_is_refused_and_its_target_left_alone(
    common: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    (common / "state").symlink_to(target)
    for ask in (make_private, lambda name: private_folder(Path(name))):
        with pytest.raises(StateError, match=rf"state is a link to {target}, made by"):
            ask(f"{common}/state/")
    assert mode(target) == 0o755


def test_ones_own_link_on_the_way_is_followed(tmp_path: Path) -> None:
    home, disk = tmp_path / "home", tmp_path / "disk"
    (home / ".local").mkdir(parents=True)
    disk.mkdir()
    (home / ".local" / "state").symlink_to("../../disk/./mine")
    make_private(str(home / ".local" / "state" / "hostler"))
    assert mode(disk / "mine" / "hostler") == 0o700


def test_ones_own_link_to_a_disk_of_ones_own_is_followed_at_home(tmp_path: Path) -> None:
    """As many make who have little room at home."""
    home, disk = tmp_path / "home", tmp_path / "disk"
    home.mkdir()
    disk.mkdir(mode=0o755)
    (home / "hostler").symlink_to(disk)
    make_private(str(home / "hostler"))
    assert mode(disk) == 0o700


def test_links_in_a_circle_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="levels of symbolic links"):
        make_private(str(tmp_path / "a" / "state"))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "file/state"):
        with pytest.raises(NotADirectoryError):
            make_private(str(tmp_path / name))


@pytest.mark.parametrize("bits", [0o757, 0o777])
def test_a_folder_above_that_everybody_may_write_to_is_refused(tmp_path: Path, bits: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(bits)
    with pytest.raises(StateError, match="is writable for other users") as caught:
        make_private(str(tmp_path / "open" / "state"))
    assert f"chmod go-w {tmp_path}/open" in caught.value.remedy


@as_root
def test_one_that_a_group_may_write_to_is_refused_unless_it_is_the_owners_own(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o775)
    make_private(str(folder / "a"))  # the group root
    os.chown(folder, -1, STRANGER)
    with pytest.raises(StateError, match="is writable for other users"):
        make_private(str(folder / "b"))


@as_root
def test_a_parent_that_somebody_else_made_first_is_refused(common: Path) -> None:
    squatted = common / "hostler-0"
    (squatted / "state").mkdir(parents=True, mode=0o700)
    os.chown(squatted, STRANGER, STRANGER)
    with pytest.raises(StateError, match=f"uid {STRANGER}, who could replace") as caught:
        make_private(str(squatted / "state"))
    assert str(squatted) in caught.value.message
    assert "HOSTLER_STATE" in caught.value.remedy


@as_root
def test_the_client_and_the_daemon_refuse_it_alike(common: Path) -> None:
    os.chown(_made(common / "hostler-0"), STRANGER, STRANGER)
    state = common / "hostler-0" / "state"
    with pytest.raises(StateError, match="belongs to another user"):
        private_folder(state)
    with pytest.raises(StateError, match="belongs to another user"):
        start(Found(str(state / "hostler.sock"), "personal"))
    assert not state.exists()


@as_root
def test_a_folder_and_a_link_of_somebody_else_are_refused(common: Path, tmp_path: Path) -> None:
    os.chown(_made(common / "theirs"), STRANGER, STRANGER)
    with pytest.raises(StateError, match=f"theirs belongs to another user, uid {STRANGER}"):
        make_private(str(common / "theirs"))
    (common / "link").symlink_to(tmp_path)
    os.lchown(common / "link", STRANGER, STRANGER)
    with pytest.raises(StateError, match=f"link is a link to .*, made by uid {STRANGER}"):
        make_private(str(common / "link" / "state"))
    assert not (tmp_path / "state").exists()


@as_root
def test_an_owner_without_a_number_in_a_sandbox_is_roots_work_where_only_root_could_write(
    common: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "usr", common / "usr"):
        os.chown(_made(folder), STRANGER, STRANGER)
    monkeypatch.setattr(private, "is_numbered", lambda uid: uid != STRANGER)
    make_private(str(tmp_path / "usr" / "state"))
    with pytest.raises(StateError, match="belongs to another user"):
        make_private(str(common / "usr" / "state"))


def test_every_user_has_a_number_outside_of_a_sandbox() -> None:
    assert private.is_numbered(os.getuid())


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
