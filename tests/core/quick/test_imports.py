"""What the quick path loads: every module costs, on a home on NFS most of all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.daemons.scripted_daemon import ScriptedDaemon, scripted_daemon
from tests.support.values.fleets import fleet, host

pytestmark = pytest.mark.programs

FORBIDDEN = {
    "asyncio", "dataclasses", "textual", "docker", "asyncssh", "fastapi", "httpx", "pydantic",
    "importlib.metadata", "sqlite_utils", "hostler.model", "hostler.client", "subprocess",
}  # fmt: skip

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


def loaded(daemon: ScriptedDaemon, *words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, "HOSTLER_SOCKET": str(daemon.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
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
