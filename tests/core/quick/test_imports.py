"""What the quick path loads: every module costs, on a home on NFS most of all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hostler.model.config import LimitsConfig
from hostler.packing.source import DEFAULT_FILE_LIMIT, DEFAULT_LIMIT
from tests.support.daemons.scripted_daemon import ScriptedDaemon, scripted_daemon
from tests.support.values.fleets import fleet, host

pytestmark = pytest.mark.programs

FORBIDDEN = {
    "asyncio", "dataclasses", "textual", "docker", "asyncssh", "fastapi", "httpx", "pydantic",
    "importlib.metadata", "sqlite_utils", "hostler.model", "hostler.client", "subprocess",
}  # fmt: skip

LISTING = (FORBIDDEN - {"hostler.model"}) | {"hostler.model.views", "pathlib"}
"""What completing a word does without: it wants the command's arguments and not the client."""
ASKED = {
    "asyncio", "hashlib", "pathlib", "tarfile", "tomllib", "hostler.model.config",
    "hostler.model.hosts", "hostler.model.pipelines", "hostler.model.plans", "hostler.model.runs",
    "hostler.packing",
}  # fmt: skip
"""What a question about runs does without: the daemon's model, and what packs code."""

PROGRAM = """
import sys
from hostler.cli import main
code = main(sys.argv[1:])
sys.stderr.write("\\n".join(sys.modules))
sys.exit(code)
"""


@pytest.fixture
def daemon() -> Iterator[ScriptedDaemon]:
    with scripted_daemon() as running:
        running.on("GET", "/v1/gpus", fleet(host("a", "..L")))
        yield running


def loaded(daemon: ScriptedDaemon, *words: str, check: bool = True) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, "HOSTLER_SOCKET": str(daemon.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=check,
    )
    return set(done.stderr.split("\n"))


@pytest.mark.parametrize(
    "words",
    [
        ("gpus",),
        ("gpus", "-o", "wide"),
        ("gpus", "--json", "--host", "a"),
        ("gpus", "--need", "2", "--gpu-memory", "24GiB", "--model", "A100"),
    ],
)
def test_asking_for_gpus_loads_little(daemon: ScriptedDaemon, words: tuple[str, ...]) -> None:
    modules = loaded(daemon, *words)
    assert "hostler.show.gpus" in modules
    assert not modules & FORBIDDEN


def test_the_plain_question_does_without_a_parser(daemon: ScriptedDaemon) -> None:
    assert not loaded(daemon, "gpus") & {"argparse", "tomllib", "typing", "pathlib"}


@pytest.mark.parametrize("command", ["get", "logs", "ps", "retry", "runs", "show", "wait"])
def test_completing_a_word_loads_no_client(daemon: ScriptedDaemon, command: str) -> None:
    modules = loaded(daemon, "__complete", command, "--")
    assert f"hostler.cli.commands.{command}" in modules
    assert not modules & LISTING


@pytest.mark.parametrize("words", [("cancel", "r1"), ("ps",), ("show", "r1"), ("wait", "r1")])
def test_asking_for_runs_loads_a_part_of_the_model(
    daemon: ScriptedDaemon, words: tuple[str, ...]
) -> None:
    detail = {"schema": "hostler.run/1", "run_id": "r1", "state": "failed", "outcome": "failed"}
    daemon.on("GET", "/v1/runs", {"runs": [{"run_id": "r1"}]})
    daemon.on("GET", "/v1/runs/r1", detail)
    modules = loaded(daemon, *words, check=False)
    assert "hostler.model.views.runs" in modules
    assert not modules & ASKED


def test_the_limits_of_packing_are_those_of_a_config_that_says_nothing() -> None:
    limits = LimitsConfig()
    assert (limits.source_size, limits.source_file) == (DEFAULT_LIMIT, DEFAULT_FILE_LIMIT)


LATE = """
import asyncio, json, pkgutil, sys
from importlib import import_module
import hostler.api.serve
begun = list(sys.modules)
from hostler.daemon.late_modules import load_late
asyncio.run(load_late(0.0))
missing = []
for name in (
    "api", "daemon", "decide", "gateway", "link", "local", "runtimes", "ssh", "store", "wheels"
):
    package = import_module(f"hostler.{name}")
    for found in pkgutil.walk_packages(package.__path__, f"hostler.{name}."):
        if found.name not in sys.modules:
            missing.append(found.name)
print(json.dumps([begun, missing]))
"""
OF_COMMANDS = {
    "hostler.link.once", "hostler.ssh.trust", "hostler.store.backup", "hostler.store.restoring",
    "hostler.store.secret_backup", "hostler.wheels.ready",
}  # fmt: skip
"""What only the command line uses."""


@pytest.fixture(scope="module")
def daemons_modules() -> tuple[set[str], set[str]]:
    """What a daemon has loaded when it begins, and what it has not loaded soon afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60, check=True
    )
    begun, missing = json.loads(done.stdout)
    return set(begun), set(missing)


def test_a_daemon_loads_neither_ssh_nor_docker_before_a_host_needs_them(
    daemons_modules: tuple[set[str], set[str]],
) -> None:
    needless = {"asyncssh", "cryptography", "docker", "requests", "textual", "hostler_tui"}
    assert not daemons_modules[0] & needless


def test_a_daemon_has_all_of_its_modules_soon_after_its_start(
    daemons_modules: tuple[set[str], set[str]],
) -> None:
    """An upgrade may replace its files while it runs."""
    assert daemons_modules[1] <= OF_COMMANDS
