"""Failpoints fire where and when they are told to, once, and only there."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hostler.base import failpoints
from hostler.base.errors import ConfigError, Unreachable
from hostler.base.failpoints import failpoint, read_failpoints

ROOT = Path(__file__).resolve().parents[3]
Arm = Callable[[str], None]


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Arm:
    return lambda text: monkeypatch.setattr(failpoints, "_armed", read_failpoints(text))


def test_an_error_comes_once_and_at_its_turn(arm: Arm) -> None:
    arm("after_create:error@2, before_commit:error")
    failpoint("after_create")
    failpoint("elsewhere")
    with pytest.raises(Unreachable, match="failpoint after_create"):
        failpoint("after_create")
    failpoint("after_create")
    with pytest.raises(sqlite3.OperationalError):
        failpoint("before_commit", sqlite3.OperationalError)


def test_a_hang_lasts_as_long_as_it_says(arm: Arm) -> None:
    arm("after_start:hang=0.2")
    begun = time.monotonic()
    failpoint("after_start")
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("text", ["after_start", "x:explode", "x:hang=soon", "x:kill@often"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        read_failpoints(text)


@pytest.mark.programs
@pytest.mark.parametrize(
    ("folder", "module", "name"),
    [
        ("core", "hostler.base.failpoints", "here"),
        ("agents", "hostler_agent.failpoints", "agent.here"),
    ],
)
def test_a_kill_is_a_kill(folder: str, module: str, name: str) -> None:
    def run(value: str) -> int:
        code = f"from {module} import failpoint; failpoint('there'); failpoint('here')"
        env = os.environ | {"PYTHONPATH": str(ROOT / folder), "HOSTLER_FAILPOINTS": value}
        return subprocess.run([sys.executable, "-c", code], env=env).returncode

    assert run(f"{name}:kill") == -signal.SIGKILL
    assert run(f"{name}:kill@2") == 0
    other = "here:kill" if name.startswith("agent.") else "agent.here:kill"
    assert run(other) == 0
    assert run("") == 0
