"""A service behind a real gateway on one machine: reached, guarded by tokens, over daemons."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_services_alone import SERVICE
from tests.support.machines import haproxy
from tests.support.machines.desk import (
    Desk,
    desk_folder,
    files_below,
    local_desk,
    stage,
    wait_until,
)

pytestmark = [
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
    pytest.mark.timeout(400),
]
WEB = SERVICE.replace("[stages.ask]", "[stages.later]").replace('"echo asked"', '"true"')


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Iterator[tuple[Desk, int]]:
    """Somebody with this machine, whose gateway asks for tokens; and its port."""
    port = haproxy.free_port()
    with desk_folder() as folder:
        desk = local_desk(folder)
        with desk.config.open("a") as file:
            file.write(f'[gateway]\nhost = "here"\nport = {port}\ntokens = true\n')
        try:
            yield desk, port
        finally:
            with contextlib.suppress(OSError, ValueError):
                os.kill(gateway_pid(desk), signal.SIGTERM)
            desk.close()


def gateway_pid(desk: Desk) -> int:
    """Of the gateway's master, which is the parent of its workers. Raises ValueError."""
    mark = f"/gateway/{(desk.state / 'id').read_text().strip()}/control.sock".encode()
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "cmdline").read_bytes():
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(stat[1])
    (master,) = (pid for pid, parent in parents.items() if parent not in parents)
    return master


def _status(port: int, token: str = "", path: str = "/serve/who.txt") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_a_service_is_reached_with_a_token_also_without_the_daemon(gate: tuple[Desk, int]) -> None:
    desk, port = gate
    run_id = desk.submit(WEB)
    desk.until(run_id, lambda run: stage(run, "serve.0")["attempt"] is not None)
    made = desk.ok("token", "new", "serve", "--for", "1h")
    token = made.out.strip()
    assert re.fullmatch(r"hst_[a-z0-9]{8}_[0-9a-f]{40}", token)
    wait_until(lambda: _status(port, token) == 200, "the gateway serves it")
    assert _status(port) == 401
    shown = desk.ok("services", "--json").json["services"][0]
    assert shown["url"] == f"http://127.0.0.1:{port}/serve/"
    assert shown["url"] in desk.ok("services").out
    assert not any(token.encode() in data for _, data in files_below(desk.home))

    desk.kill_daemon()
    assert _status(port, token) == 200
    desk.start_daemon()
    (listed,) = desk.ok("token", "ls", "--json").json["tokens"]
    assert (listed["services"], listed["state"]) == (["serve"], "valid")

    # A silent gateway: the token still works, and that is said.
    pid = gateway_pid(desk)
    os.kill(pid, signal.SIGSTOP)
    refused = desk.hostler("token", "revoke", listed["token_id"], "-y")
    assert (refused.code, "STILL WORKS" in refused.err) == (2, True)
    assert desk.ok("token", "ls", "--json").json["tokens"][0]["state"] == "revoking"
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: desk.ok("token", "ls", "--json").json["tokens"] == [], "it is revoked")
    assert _status(port, token) == 401

    other = desk.ok("token", "new").out.strip()
    wait_until(lambda: _status(port, other) == 200, "the other one is known")
    desk.ok("token", "revoke", other.split("_")[1], "-y")
    assert _status(port, other) == 401
    desk.ok("cancel", run_id)
    assert desk.ended(run_id)["outcome"] == "cancelled"
    assert _status(port, other) in (401, 404)

    alerts = desk.ok("alerts", "--json").json["alerts"]
    assert [alert["message"] for alert in alerts if "gateway" in alert["message"]] == []
    assert "gateway" not in desk.ok("events").out

    # A config without it ends it.
    desk.config.write_text(desk.config.read_text().partition("[gateway]")[0])
    wait_until(lambda: _status(port) == 0, "it has ended")
