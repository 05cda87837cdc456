from __future__ import annotations

import os
from pathlib import Path

import pytest

from hostler.base.errors import ConfigError
from hostler.daemon.config_file import ConfigFiles


def write(path: Path, text: str) -> None:
    """As editors do: a new file renamed into place."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_a_change_is_seen_once_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write(path, "[hosts.gpu1]\n")
    files = ConfigFiles(str(path))
    assert [host.name for host in files.load().hosts] == ["gpu1"]
    assert not files.has_changed()
    write(path, "[hosts.gpu1]\n[hosts.gpu2]\n")
    assert files.has_changed()
    assert [host.name for host in files.load().hosts] == ["gpu1", "gpu2"]
    assert not files.has_changed()


def test_a_config_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hostler init"):
        ConfigFiles(str(tmp_path / "none.toml")).load()


def test_the_one_of_the_environment_must_exist_at_the_start_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_CONFIG", str(tmp_path / "config.toml"))
    with pytest.raises(ConfigError, match=r"HOSTLER_CONFIG names .*: No such file"):
        ConfigFiles()
    write(tmp_path / "config.toml", "[hosts.gpu1]\n")
    files = ConfigFiles()
    assert [host.name for host in files.load().hosts] == ["gpu1"]
    (tmp_path / "config.toml").unlink()
    assert files.has_changed()
    assert [host.name for host in files.load().hosts] == ["local"]


def test_without_any_file_this_machine_is_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in os.environ if n.startswith("HOSTLER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    files = ConfigFiles()
    assert [host.transport for host in files.load().hosts] == ["local"]
    (tmp_path / "hostler").mkdir()
    write(tmp_path / "hostler" / "config.toml", "[hosts.gpu1]\n")
    assert files.has_changed()
    assert [host.name for host in files.load().hosts] == ["gpu1"]
