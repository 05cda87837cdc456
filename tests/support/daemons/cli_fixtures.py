"""Fixtures for tests of the command line. A conftest.py imports what it wants to offer."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons.commandline import CommandLine, Terminal
from tests.support.daemons.scripted_daemon import ScriptedDaemon, scripted_daemon


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the person's configuration or starts a daemon of theirs."""
    (tmp_path / "config.toml").touch()
    monkeypatch.setenv("HOSTLER_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("HOSTLER_STATE", str(tmp_path / "state"))
    for name in ("HOSTLER_SOCKET", "HOSTLER_DEBUG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon() as running:
        monkeypatch.setenv("HOSTLER_SOCKET", str(running.path))
        yield running


@pytest.fixture
def hostler(monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(monkeypatch)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes stdout, stderr and stdin terminals; called with what the person types."""

    def make(typed: str = "") -> Terminal:
        screen = Terminal(io.StringIO(typed))
        monkeypatch.setattr(sys, "stdin", screen.stdin)
        monkeypatch.setenv("NO_COLOR", "1")
        return screen

    return make
