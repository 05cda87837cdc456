from __future__ import annotations

from pathlib import Path

import pytest

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
    assert read_hosts(PLAIN) is not None
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
    assert read_hosts(text) is None


def test_what_the_full_reader_decides_counts(config_file: Path) -> None:
    text = '[policy]\nmemory_floor = "2GiB"\n[hosts.a]\n'
    config_file.write_text(text)
    assert quick_config() == read_config(text, file="f")
