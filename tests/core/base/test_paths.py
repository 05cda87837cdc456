from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from hostler.base import paths as places
from hostler.base.errors import ConfigError
from hostler.quick.socket import find_socket
from tests.support.machines.users import BOB, NEEDS_ROOT, run_as

MOUNTS = (
    "22 1 0:21 / / rw,relatime - ext4 /dev/vda1 rw\n"
    "35 22 0:40 / /home rw,relatime - nfs4 server:/home rw\n"
    "36 35 0:41 / /home/local\\040disk rw - ext4 /dev/vdb rw\n"
    "37 22 0:42 / /scratch rw - lustre lab rw\n"
    "38 22 0:43 / /scratch rw - tmpfs tmpfs rw\n"
)


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("/var/lib/x", False),
        ("/home/ana/.local/state", True),
        ("/homework", False),
        ("/home/local disk/x", False),
        ("/scratch/x", False),  # the later mount covers the earlier one
    ],
)
def test_network_file_systems_are_recognised(path: str, remote: bool) -> None:
    assert places.is_remote(path, MOUNTS) is remote


def test_state_lies_in_the_home_where_that_is_local() -> None:
    assert places.state_folder({"HOME": "/opt/ana"}, MOUNTS) == "/opt/ana/.local/state/hostler"
    env = {"HOME": "/opt/ana", "XDG_STATE_HOME": "/opt/state"}
    assert places.state_folder(env, MOUNTS) == "/opt/state/hostler"


def test_state_lies_on_a_local_disk_where_the_home_is_not() -> None:
    expected = f"/var/tmp/hostler-{os.getuid()}/state"
    assert places.state_folder({"HOME": "/home/ana"}, MOUNTS) == expected


def test_state_lies_where_it_is_told_to() -> None:
    env = {"HOME": "/home/ana", "HOSTLER_STATE": "/opt/s"}
    assert places.state_folder(env, MOUNTS) == "/opt/s"


def test_config_files_end_with_the_persons_own() -> None:
    files = places.config_files({"HOME": "/h"})
    assert files == ["/etc/hostler/config.toml", "/h/.config/hostler/config.toml"]
    assert places.user_config({"XDG_CONFIG_HOME": "/x"}) == "/x/hostler/config.toml"


def test_a_named_config_file_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = {"HOSTLER_CONFIG": "c.toml"}
    assert places.user_config(env) == f"{tmp_path}/c.toml"  # the one to be written
    with pytest.raises(ConfigError, match=f"HOSTLER_CONFIG names {tmp_path}/c.toml: No such file"):
        places.config_files(env)
    with pytest.raises(ConfigError, match="HOSTLER_CONFIG"):
        find_socket(None, env)
    (tmp_path / "c.toml").touch()
    assert places.config_files(env) == [f"{tmp_path}/c.toml"]


def test_a_named_state_folder_is_the_same_everywhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HOSTLER_STATE must be an absolute path: here/state"):
        places.state_folder({"HOSTLER_STATE": "here/state"})
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(ConfigError, match="which is not a folder"):
            places.state_folder({"HOSTLER_STATE": str(path)})
    assert places.state_folder({"HOSTLER_STATE": str(tmp_path / "new")}) == str(tmp_path / "new")


def find(tmp_path: Path, config: str = "", named: str | None = None, **env: str) -> tuple[str, str]:
    file = tmp_path / "config.toml"
    file.write_text(config)
    state = {"HOSTLER_CONFIG": str(file), "HOSTLER_STATE": "/s", "HOME": "/h"}
    found = find_socket(named, {**state, **env}, system=str(tmp_path / "system.sock"))
    return found.path, found.origin


def test_the_socket_is_searched_in_order(tmp_path: Path) -> None:
    config = '[daemon]\nsocket = "/c.sock"\n'
    assert find(tmp_path) == ("/s/hostler.sock", "personal")
    (tmp_path / "system.sock").touch()
    system = str(tmp_path / "system.sock")
    assert find(tmp_path) == (system, "system")
    assert find(tmp_path, config) == ("/c.sock", "config")
    assert find(tmp_path, config, HOSTLER_SOCKET="/e.sock") == ("/e.sock", "environment")
    assert find(tmp_path, config, "/f.sock", HOSTLER_SOCKET="/e.sock") == ("/f.sock", "flag")


@pytest.mark.parametrize(
    "config", ["# socket\n", '[hosts.a]\ndocker_socket = "/x"\n', "daemon = 3\n# socket\n"]
)
def test_other_sockets_in_the_configuration_are_not_meant(tmp_path: Path, config: str) -> None:
    assert find(tmp_path, config) == ("/s/hostler.sock", "personal")


def test_a_broken_configuration_is_told_and_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml"):
        find(tmp_path, "[daemon\nsocket = 3")


def test_the_persons_configuration_wins_over_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, own = tmp_path / "etc.toml", tmp_path / "hostler/config.toml"
    own.parent.mkdir()
    system.write_text('[daemon]\nsocket = "/etc.sock"\n')
    monkeypatch.setattr(places, "SYSTEM_CONFIG", str(system))
    env = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/h"}
    assert find_socket(None, env).path == "/etc.sock"
    own.write_text('[daemon]\nsocket = "/own.sock"\n')
    assert find_socket(None, env).path == "/own.sock"


@pytest.mark.programs
@NEEDS_ROOT
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_config_that_is_kept_from_the_caller_names_the_remedy(what: str) -> None:
    """The system's concerns everybody: nobody may miss it without a word."""
    folder = Path(tempfile.mkdtemp(prefix="hs-"))
    config = folder / "etc" / "config.toml"
    try:
        folder.chmod(0o755)
        config.parent.mkdir(mode=0o700 if what == "folder" else 0o755)
        config.write_text('[daemon]\ngroup = "lab"\n')
        config.chmod(0o600 if what == "file" else 0o644)

        def told() -> str:
            with pytest.raises(ConfigError, match="cannot be read") as refused:
                places.daemon_table(str(config), places.SHARING)
            return refused.value.remedy

        assert run_as(BOB, told) == f"As its owner: chmod a+rX {config.parent} {config}"
    finally:
        shutil.rmtree(folder)
