from __future__ import annotations

from pathlib import Path

import pytest

from hostler.base import paths as places
from hostler.base.errors import ConfigError
from hostler.cli.gpus_direct import quick_config
from hostler.daemon.config_file import load_config
from hostler.quick.hosts import read_hosts
from hostler.spec.config import read_config

PLAIN = """
[daemon]
look_interval = "3s"

[hosts.gpu1]
[hosts."gpu[02-04]"]
address = "{name}.lab.example"
user = "lab"
port = 2222
python = "/opt/python/bin/python3"
[hosts.here]
transport = "local"
docker_socket = "/run/docker.sock"
labels = { zone = "a" }
[hosts.far]
jump = "me@gate:22"
key = "~/.ssh/lab"
"""


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "config.toml"
    monkeypatch.setenv("HOSTLER_CONFIG", str(file))
    return file


def test_plain_entries_are_read_as_the_full_reader_reads_them(config_file: Path) -> None:
    config_file.write_text(PLAIN)
    assert read_hosts([PLAIN]) is not None
    assert quick_config().hosts == load_config().hosts


def test_no_file_is_this_machine(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text("")
    assert quick_config().hosts == load_config().hosts
    monkeypatch.delenv("HOSTLER_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert quick_config() == load_config()


@pytest.mark.parametrize(
    "text",
    [
        "[hosts",
        "hosts = 3",
        '[hosts.a]\naddres = "x"\n',
        "[hosts.a]\nport = true\n",
        '[hosts.a]\naddress = " "\n',
        '[hosts."a[3-1]"]\n',
        '[hosts."a[1-2]"]\n[hosts.a1]\nport = 3\n',
        '[policy]\nmemory_floor = "2GiB"\n',
    ],
)
def test_anything_else_is_left_to_the_full_reader(text: str) -> None:
    assert read_hosts([text]) is None


def test_what_the_full_reader_decides_counts(config_file: Path) -> None:
    text = '[policy]\nmemory_floor = "2GiB"\n[hosts.a]\n'
    config_file.write_text(text)
    assert quick_config() == read_config(text, file="f")


SYSTEM = """
[daemon]
group = "lab"
[hosts."gpu[1-3]"]
user = "lab"
[hosts.old]
address = "old.lab"
"""


@pytest.fixture
def two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The system's file and a person's own, as the daemon reads them: no HOSTLER_CONFIG."""
    monkeypatch.delenv("HOSTLER_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    system, own = tmp_path / "etc.toml", tmp_path / "own/hostler/config.toml"
    own.parent.mkdir(parents=True)
    monkeypatch.setattr(places, "SYSTEM_CONFIG", str(system))
    return system, own


@pytest.mark.parametrize(
    "own",
    [
        "[hosts.mine]\n",
        '[hosts.old]\naddress = "new.lab"\n',
        '[hosts."gpu[1-3]"]\nport = 2222\n',
        "[hosts.gpu2]\nport = 2222\n",  # a plain name beside a range of the other file
        '[hosts."gpu[3-4]"]\n[hosts."gpu[1-3]"]\n',
        '[policy]\nmemory_floor = "2GiB"\n',
        "[daemon]\n",
        "",
    ],
)
def test_two_files_are_merged_as_the_full_reader_merges_them(
    two_files: tuple[Path, Path], own: str
) -> None:
    system, mine = two_files
    system.write_text(SYSTEM)
    mine.write_text(own)
    try:
        expected: object = load_config().hosts
    except ConfigError as error:
        expected = str(error)
    try:
        found: object = quick_config().hosts
    except ConfigError as error:
        found = str(error)
    assert found == expected


def test_hosts_of_the_systems_file_are_asked_beside_ones_own(
    two_files: tuple[Path, Path],
) -> None:
    system, mine = two_files
    system.write_text(SYSTEM)
    mine.write_text("[hosts.mine]\n")
    names = [host.name for host in quick_config().hosts]
    assert names == ["gpu1", "gpu2", "gpu3", "old", "mine"]
