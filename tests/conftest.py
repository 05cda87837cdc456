"""No test is left out unseen: in CI a skip whose reason is not listed here fails the session."""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import listed, scheduling
from tests.support.programs import testrun
from tests.support.worlds.hypothesis_profiles import decide_nothing_by_speed

decide_nothing_by_speed()

_ALWAYS = (
    # Interpreters and shells that a machine may lack; the suite runs with those that are there.
    r"Python 3\.\d+ is not installed here",
    r"no Python older than 3\.8 is installed here",
    r"(busybox sh|bsd-csh|tcsh|fish|zsh|bash|dash|sh) is not installed here",
    r"systemd-analyze is not installed here",
    r"no module system is installed here",
    r"this is no git checkout",
    # The fake library must not be mixed up with a real driver.
    r"this machine has NVIDIA hardware",
    # Without Linux, root, loop devices, or by HOSTLER_LAB=off; HOSTLER_LAB=require fails instead.
    r"the lab (needs|is switched off).*",
)
_WITHOUT_ROOT = (
    r"HAProxy is not installed here",  # as root `make test` installs it
    r"needs root.*",
    r"needs to become (other users|another user)",
    r"needs OpenSSH's sshd and root.*",
    r"only root can give a folder away",
    r"a private dockerd needs root",
)

_GARBAGE_EVERY = 10_000
"""New objects, after which Python looks for garbage: with its own 700, which is meant for programs
of any size, that takes some percent of the processor time of tests."""
_unlisted: list[str] = []


def is_allowed(reason: str, *, root: bool) -> bool:
    """Whether a test may be skipped for this reason."""
    allowed = _ALWAYS if root else _ALWAYS + _WITHOUT_ROOT
    return any(re.fullmatch(pattern, reason) for pattern in allowed)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = _reason(report)
    if not is_allowed(reason, root=os.geteuid() == 0):
        _unlisted.append(f"{report.nodeid}: {reason}")


def pytest_configure(config: pytest.Config) -> None:
    """Make what all workers share before they are started."""
    _skip_launcher()
    testrun.folder()
    listed.adopt(config)


def _skip_launcher() -> None:
    """Let `python3` be the program itself where it is pyenv's launcher: a script that starts ten
    shells. Agents and stages start `python3` more than a thousand times."""
    found = shutil.which("python3")
    if found is None or Path(found).read_bytes()[:2] != b"#!":
        return
    asked = [found, "-I", "-S", "-c", "import sys; print(sys.executable)"]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    if said.returncode == 0:
        folder = os.path.dirname(said.stdout.strip())
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is loaded for thousands of tests stays. No search for garbage goes through it, neither
    while it grows nor afterwards."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE_EVERY, 10, 10)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files begin in the order of tests/scheduling.py."""
    scheduling.sort(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where workers take whole files, tests/scheduling.py says which."""
    if config.getvalue("dist") != "loadfile":
        return None
    return scheduling.make_scheduler(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Look at every skipped test."""
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Look at every skipped module."""
    _note(report)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """In CI, end with a failure where something was skipped for a reason that is not listed."""
    yield
    if os.environ.get("CI") and _unlisted and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name them."""
    if not _unlisted:
        return
    terminalreporter.section("skipped for reasons that tests/conftest.py does not list")
    for line in _unlisted:
        terminalreporter.write_line(line)
