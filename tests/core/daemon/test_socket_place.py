"""Where the socket of a shared daemon lies, and who can reach it there."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.api.serve import bind
from hostler.base import paths as places
from hostler.base.errors import ConfigError, StateError
from hostler.daemon.socket_place import complaints, prepare_folder, socket_path
from hostler.model.config import Config, DaemonConfig

STATE = Path("/var/lib/hostler")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to make what others own")


def place(*, personal: bool = False, **settings: object) -> str:
    config = Config(daemon=DaemonConfig(**settings))  # type: ignore[arg-type]
    return str(socket_path(config, STATE, personal=personal))


def test_a_daemon_that_others_may_use_is_where_their_commands_look() -> None:
    own = "/var/lib/hostler/hostler.sock"
    assert place() == own
    assert place(group="lab") == place(allow=("ana",)) == places.SYSTEM_SOCKET
    assert place(operators=("ana",)) == places.SYSTEM_SOCKET
    assert place(group="lab", socket="/srv/h.sock") == "/srv/h.sock"
    assert place(group="lab", socket="/srv/h.sock", personal=True) == own


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that other users may pass through."""
    with tempfile.TemporaryDirectory(prefix="hs-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture
def socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "run" / "hostler" / "hostler.sock"
    path.parent.parent.mkdir(mode=0o755)
    monkeypatch.setattr(places, "SYSTEM_SOCKET", str(path))
    return path


@as_root
@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        (DaemonConfig(group="nogroup"), 0o2750),
        (DaemonConfig(group="nogroup", operators=("ana",)), 0o2755),
        (DaemonConfig(allow=("ana",)), 0o2755),
    ],
)
def test_the_folder_lets_in_whom_the_config_names(
    socket: Path, settings: DaemonConfig, mode: int
) -> None:
    prepare_folder(socket, settings)
    found = socket.parent.stat()
    assert stat.S_IMODE(found.st_mode) == mode
    assert found.st_gid == (65534 if settings.group else 0)
    socket.parent.chmod(0o777)
    prepare_folder(socket, settings)
    assert stat.S_IMODE(socket.parent.stat().st_mode) == mode


def test_a_folder_that_the_config_names_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o700)
    prepare_folder(folder / "x.sock", DaemonConfig(group="nogroup"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_without_a_folder_it_says_how_to_get_one(socket: Path) -> None:
    socket.parent.parent.rmdir()
    with pytest.raises(ConfigError, match="does not exist") as caught:
        prepare_folder(socket, DaemonConfig(group="nogroup"))
    assert "hostler daemon install" in caught.value.remedy


def test_a_group_that_is_not_there_is_told(socket: Path) -> None:
    with pytest.raises(ConfigError, match=r"'no such group' of .* does not exist") as caught:
        prepare_folder(socket, DaemonConfig(group="no such group"))
    assert "groupadd" in caught.value.remedy


@contextlib.contextmanager
def login(uid: int) -> Iterator[None]:
    """Be that user, in no group but the one of the same number."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def given(folder: Path, mode: int, group: int = 65534) -> Path:
    """The folder of a socket as root gives it to the login `daemon`."""
    folder.mkdir()
    os.chown(folder, 1, group)
    folder.chmod(mode)
    return folder / "hostler.sock"


@as_root
@pytest.mark.parametrize("mode", [0o2750, 0o2755])
def test_a_login_outside_the_group_gives_it_the_socket_all_the_same(
    open_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    path = given(open_path / "hostler", mode)
    monkeypatch.setattr(places, "SYSTEM_SOCKET", str(path))
    with login(1):
        prepare_folder(path, DaemonConfig(group="nogroup"))
        with bind(path, 0o660, 65534):
            found = path.stat()
            assert (found.st_uid, found.st_gid) == (1, 65534)
            assert stat.S_IMODE(found.st_mode) == 0o660
        assert list(path.parent.iterdir()) == []


@as_root
@pytest.mark.parametrize(
    ("mode", "group"), [(0o750, 65534), (0o2700, 65534), (0o2770, 65534), (0o2750, 2)]
)
def test_a_folder_that_it_cannot_open_to_the_group_is_told_with_the_remedy(
    open_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: int
) -> None:
    path = given(open_path / "hostler", mode, group)
    monkeypatch.setattr(places, "SYSTEM_SOCKET", str(path))
    with login(1), pytest.raises(ConfigError, match="belong to the group nogroup") as caught:
        prepare_folder(path, DaemonConfig(group="nogroup"))
    assert stat.S_IMODE(path.parent.stat().st_mode) == mode
    assert "usermod -aG nogroup daemon" in caught.value.remedy


@as_root
def test_a_socket_that_it_cannot_give_to_the_group_leaves_nothing(open_path: Path) -> None:
    path = given(open_path / "mine", 0o755, group=1)
    with login(1), pytest.raises(StateError, match="belong to the group nogroup") as caught:  # noqa: SIM117
        with bind(path, 0o660, 65534):
            raise AssertionError("its members cannot connect")
    assert f"chgrp nogroup {path.parent}" in caught.value.remedy
    assert list(path.parent.iterdir()) == []


@as_root
def test_what_keeps_people_from_the_socket_is_told(open_path: Path) -> None:
    folder = open_path / "srv"
    folder.mkdir()
    socket = folder / "x.sock"
    socket.touch()
    os.chown(folder, 0, 65534)

    def said(mode: int, **settings: object) -> list[str]:
        folder.chmod(mode)
        return complaints(socket, DaemonConfig(**settings))  # type: ignore[arg-type]

    assert said(0o700) == []  # its owner alone may use it
    (one,) = said(0o700, group="nogroup")
    assert (
        one == f"members of nogroup cannot reach the socket {socket}: they may not enter {folder}"
    )
    assert said(0o750, group="nogroup") == []
    (one,) = said(0o750, group="nogroup", allow=("ana",))
    assert one.startswith("users in `allow` and `operators` cannot reach")
    assert said(0o755, group="nogroup", allow=("ana",)) == []
    (one,) = said(0o775, group="nogroup")
    assert one.endswith(f"will not trust the socket {socket}: other users may write to {folder}")
