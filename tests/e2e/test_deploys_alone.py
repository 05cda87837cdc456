"""A service that is deployed on one machine, again, in vain, and rolled back: real processes."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk, wait_until

SERVICE = """
name = "web"
[stages.serve]
kind = "service"
command = '''
echo "version $VERSION" > who.txt
test "$VERSION" != 3 || { echo "no model"; exit 1; }
exec python3 -u -m http.server --bind 127.0.0.1 "$HOSTLER_PORT"
'''
shell = true
health = { path = "/who.txt", every = "1s" }
startup = "60s"
env = { VERSION = "1" }
resources = { cpus = 0.1 }
"""


@pytest.fixture
def near(shared_alone: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With the daemon of all tests here, in a work folder of its own."""
    return shared_alone.at_work(tmp_path_factory.mktemp("work"))


def _answer(near: Desk) -> str:
    wait_until(lambda: len(near.services()) == 1, "the release before has ended")
    (shown,) = near.ok("services", "--json").json["services"]
    port = shown["replicas"][0]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/who.txt", timeout=10) as answer:
        text: str = answer.read().decode().strip()
        return text


def test_a_service_is_deployed_changed_and_rolled_back(near: Desk, tmp_path: Path) -> None:
    file = near.work / "pipeline.toml"
    file.write_text(SERVICE)
    assert near.ok("deploy", "--plan").out.splitlines()[0] == "web is new"
    assert near.hostler("releases", "web").code == 2
    assert "web serves release 1" in near.ok("deploy", "-y").out
    assert _answer(near) == "version 1"
    plan = near.ok("deploy", "--env", "VERSION=2", "--plan").out
    assert "serve.env.VERSION: 1 -> 2" in plan
    assert "web does not answer for about" in plan
    near.ok("deploy", "-y", "--env", "VERSION=2")
    assert _answer(near) == "version 2"
    failed = near.hostler("deploy", "-y", "--env", "VERSION=3")
    assert failed.code == 6
    assert "release 2 serves again" in failed.err
    assert "no model" in failed.err
    assert _answer(near) == "version 2"
    near.ok("rollback", "web", "-y")
    assert _answer(near) == "version 1"
    near.kill_daemon()
    near.start_daemon()
    assert _answer(near) == "version 1"
    found = near.ok("releases", "web", "--json").json["releases"]
    assert [r["state"] for r in found] == ["live", "restored", "retired", "retired"]
    near.ok("cancel", found[0]["run_id"])
    assert near.ended(found[0]["run_id"])["outcome"] == "cancelled"
