"""What `hostler doctor` says of [packages]."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.cli.checks import check_local
from hostler.model.check import Check
from hostler.spec.config import read_config


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "HOSTLER_STATE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("HOSTLER_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


def said(config: Path, packages: str) -> list[Check]:
    config.write_text(f'[hosts.here]\ntransport = "local"\n{packages}\n')
    return [check for check in check_local(None)[0] if check.name == "local.packages"]


def test_packages_are_checked_where_they_are_on(config: Path, tmp_path: Path) -> None:
    assert said(config, "[packages]\ncache = '1GiB'") == []
    (good,) = said(config, '[packages]\nindex = "https://pypi.org/simple"')
    assert (good.state, good.message) == (
        "ok", "packages of `venv` are fetched from https://pypi.org/simple",
    )  # fmt: skip
    (typo,) = said(config, f'[packages]\nwheels = "{tmp_path}"\nhosts = ["there", "here"]')
    assert typo.state == "fail"
    assert typo.message.endswith("not configured: there")
    (gone,) = said(config, '[packages]\nwheels = "/no/such"')
    assert (gone.state, gone.message.partition(":")[0]) == (
        "fail", "/no/such on the daemon's machine",
    )  # fmt: skip


def test_hosts_are_those_that_are_named() -> None:
    text = '[packages]\nindex = "https://x.org/simple/"\nhosts = ["gpu[02-03]", "big"]\n'
    packages = read_config(text, file="x").packages
    assert packages.index == "https://x.org/simple"
    assert [packages.serves(host) for host in ("gpu02", "big", "gpu04")] == [True, True, False]
    every = read_config(text.partition("hosts")[0], file="x").packages
    assert every.serves("gpu04")
    assert not read_config("[packages]\n", file="x").packages.serves("gpu04")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("pypi.org/simple", "should be like"), ("ftp://x.org/", "should be like"),
        ("http://x.org/simple", "should begin with https://"), ("file:///srv", "should be like"),
        ("https://me:word@x.org/s", "no login or password"),
        ("https://x.org/?a=b", "no ? and no #"),
        ("https://[::1/", "is not an address"), ("https://x.org/a b", "should be like"),
    ],
)  # fmt: skip
def test_an_index_is_a_plain_address(config: Path, address: str, why: str) -> None:
    config.write_text(f'[packages]\nindex = "{address}"\n')
    (found,) = [check for check in check_local(None)[0] if check.name == "local.config"]
    assert found.state == "fail"
    assert why in found.message
    assert "word" not in found.message or "password" in found.message
