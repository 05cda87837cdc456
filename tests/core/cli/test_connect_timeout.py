"""`connect_timeout` of the configuration, wherever Hostler connects by SSH."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostler.client import Client
from tests.core.cli.test_whole import Shell, shell

pytestmark = pytest.mark.programs

__all__ = ["shell"]


@pytest.fixture(autouse=True)
def _forked(shell: Shell) -> None:
    """What is shown here is what commands do with a configuration."""
    shell.cold = False


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server.getsockname()[1]


def until(is_so: Callable[[], bool]) -> None:
    """Wait for it; a minute is for the busiest machine."""
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends, "it has not come"
        time.sleep(0.1)


Write = Callable[[str], None]


@pytest.fixture
def write(shell: Shell, silent_port: int) -> Write:
    """Write a configuration of one silent host, with this `connect_timeout`."""
    file = shell.home / "config.toml"
    shell.env["HOSTLER_CONFIG"] = str(file)

    def written(timeout: str) -> None:
        fresh = Path(f"{file}.new")
        fresh.write_text(
            f'[daemon]\nconnect_timeout = "{timeout}"\n'
            f'[hosts.silent]\naddress = "127.0.0.1"\nport = {silent_port}\nuser = "nobody"\n'
        )
        fresh.replace(file)

    return written


def test_the_daemon_gives_up_after_it_and_takes_over_another(shell: Shell, write: Write) -> None:
    write("0.4s")
    shell("daemon", "start")
    client = Client(str(shell.home / "state/hostler.sock"))
    until(lambda: "within 0.4 s while exchanging keys" in str(client.gpus()["hosts"]))
    write("0.7s")
    until(lambda: "within 0.7 s while exchanging keys" in str(client.gpus()["hosts"]))
    assert "within 0.7 s while exchanging keys" in shell("hosts", "--json").stdout


def test_gpus_direct_waits_as_long_as_it_says_beyond_the_default(
    shell: Shell, write: Write
) -> None:
    write("10.5s")
    began = time.monotonic()
    host = json.loads(shell("gpus", "--direct", "--json").stdout)["hosts"][0]
    assert time.monotonic() - began > 10
    assert "within 10.5 s" in host["problem"]


def test_whatever_connects_without_a_daemon_gives_up_after_it(shell: Shell, write: Write) -> None:
    write("0.4s")
    host = json.loads(shell("gpus", "--direct", "--json").stdout)["hosts"][0]
    assert "within 0.4 s while exchanging keys" in host["problem"]
    checks = json.loads(shell("doctor", "--json", "--only", "host.ssh").stdout)["checks"]
    assert "within 0.4 s while exchanging keys" in checks[0]["message"]
    assert "did not answer within 0.4 s" in shell("host", "trust", "silent").stderr
    said = shell("init", "silent").stderr
    assert said.count("did not answer within 0.4 s") >= 2  # for its key, and when looked at
