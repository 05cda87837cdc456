"""tests/unit.py: which tests `make unit` takes, and that a test that breaks its rules fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MADE = """
import socket, subprocess, sys, time
import pytest
import tests.unit

tests.unit.LIMIT_S = 0.2

def test_pure():
    assert True

def test_waits():
    time.sleep(0.3)

def test_connects_here():
    here = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(here.getsockname()).close()
    here.close()

def test_starts_a_program():
    subprocess.run([sys.executable, "-c", ""])

def test_swallows_the_error():
    try:
        subprocess.run([sys.executable, "-c", ""])
    except OSError:
        pass

def test_connects_elsewhere():
    socket.create_connection(("192.0.2.1", 80), timeout=1)

def test_computes():
    until = time.process_time() + 0.4
    while time.process_time() < until:
        pass

@pytest.mark.programs
def test_marked():
    subprocess.run([sys.executable, "-c", ""])

@pytest.mark.slow
def test_slow():
    pass

@pytest.fixture
def agent():
    pass

def test_by_its_fixture(agent):
    pass
"""


WHOLE = (
    "from tests.support.screens import madefleet",
    "from tests.support.screens.madefleet import Shown",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of those tests."""
    folder = tmp_path_factory.mktemp("unit")
    (folder / "test_made.py").write_text(MADE)
    for number, line in enumerate(WHOLE):
        (folder / f"test_whole_{number}.py").write_text(f"{line}\n\ndef test_whole():\n    pass\n")
    words = ["-p", "tests.unit", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    words += ["-p", "pytest_asyncio.plugin", "-p", "pytest_timeout"]  # what that file names
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", *words, str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
        env={**os.environ, "COLUMNS": "300", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    return done.stdout + done.stderr


def outcomes(report: str, word: str) -> set[str]:
    """The tests that ended so."""
    return set(re.findall(rf"^{word} .*::(test_\w+)", report, re.MULTILINE))


def test_what_keeps_to_the_rules_passes(report: str) -> None:
    assert outcomes(report, "PASSED") == {"test_pure", "test_waits", "test_connects_here"}, report


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("test_starts_a_program", r"A unit test starts no program \(subprocess.Popen"),
        ("test_swallows_the_error", r"A unit test starts no program \(subprocess.Popen"),
        ("test_connects_elsewhere", r"connects to this machine only, not to \('192.0.2.1', 80\)"),
        ("test_computes", r"at most 0.2 s of processor time, this one took 0.[4-9]"),
    ],
)
def test_what_breaks_a_rule_fails_with_the_rule(report: str, name: str, why: str) -> None:
    assert re.search(rf"^FAILED .*::{name} - .*{why}", report, re.MULTILINE), report


def test_marked_tests_and_whole_screens_are_left_out(report: str) -> None:
    left_out = {"test_marked", "test_slow", "test_by_its_fixture", "test_whole"}
    assert not left_out & (outcomes(report, "PASSED") | outcomes(report, "FAILED"))
    assert "5 deselected" in report
