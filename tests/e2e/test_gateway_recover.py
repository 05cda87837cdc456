"""The database is lost while a release takes over behind a real gateway: people notice nothing."""

from __future__ import annotations

import socket

import pytest

from tests.e2e.test_gateway_deploys import SERVICE, _ask, _live, _Load, gate
from tests.e2e.test_recover_alone import lose_database
from tests.support.machines import haproxy
from tests.support.machines.desk import Desk, wait_until

pytestmark = [
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
    pytest.mark.timeout(400),
]
__all__ = ("gate",)


def test_services_come_back_with_their_releases_and_no_request_fails(
    gate: tuple[Desk, int],
) -> None:
    desk, port = gate
    (desk.work / "pipeline.toml").write_text(SERVICE.replace("range(150", "range(6000"))
    desk.ok("deploy", "-y")
    wait_until(lambda: _ask(port) == (200, "version 1 whole"), "the gateway serves it")

    with _Load(port) as load, socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(b"GET /web/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.recv(1)  # while it is open, release 1 does not end
        desk.ok("deploy", "-y", "--env", "VERSION=2", "--detach")
        wait_until(lambda: "version 2" in _ask(port)[1], "release 2 gets requests")
        lose_database(desk)
        shown = desk.ok("daemon", "recover")
        assert "service web of" in shown.err
        assert "2 replicas wanted, release 2 shifting, release 1 live" in shown.err
        told = desk.ok("daemon", "recover", "--yes", "--json").json
        assert told["taken_services"] == ["web"]
        (found,) = told["services"]
        assert (found["live"], found["signed"], len(told["taken"])) == (1, True, 2)
        stream.close()
        wait_until(lambda: _live(desk) == 2, "release 2 is live", 120)
        assert _ask(port) == (200, "version 2 whole")
        desk.ok("rollback", "web", "-y")
        assert _ask(port) == (200, "version 1 whole")
        assert _live(desk) == 3
    assert load.failed == []
    assert load.answers > 50
    wait_until(lambda: len(desk.services()) == 1, "the releases before have ended")
    (service,) = desk.ok("services", "--json").json["services"]
    assert (service["ready"], service["restarts"]) == (2, 0)
