"""`hostler doctor` shows whom a shared daemon trusts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostler.cli.checks import check_local
from hostler.model.check import Check


def checked(path: Path, text: str) -> list[Check]:
    path.write_text(text)
    return [check for check in check_local(None)[0] if check.name == "local.processes"]


def test_whom_a_shared_daemon_trusts_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    monkeypatch.setenv("HOSTLER_CONFIG", str(config))
    monkeypatch.setenv("HOSTLER_STATE", str(tmp_path / "state"))
    assert checked(config, "") == []  # nobody else uses it
    (guarded,) = checked(config, '[daemon]\nallow = ["bo"]\n')
    assert (guarded.state, "take no secrets" in guarded.message) == ("ok", True)
    trusted = '[daemon]\nallow = ["bo"]\n[policy]\nprocesses = "trusted"\n'
    (told,) = checked(config, trusted)
    assert (told.state, '[policy] processes is "trusted"' in told.message) == ("warn", True)
    assert "unless all members trust each other" in told.remedy
