"""Releases of a service behind a real gateway, under load: nobody is refused, no stream is cut."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from hostler.client import Client
from tests.e2e.test_gateway_alone import gateway_pid
from tests.support.machines import haproxy
from tests.support.machines.desk import Desk, desk_folder, local_desk, wait_until

pytestmark = [
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
    pytest.mark.timeout(400),
]

SERVICE = """
name = "web"
[stages.serve]
kind = "service"
command = '''
cat > serve.py << 'END'
import os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"version " + os.environ["VERSION"].encode())
        for _ in range(150 if self.path == "/stream" else 0):
            self.wfile.write(b".")
            time.sleep(0.1)
        self.wfile.write(b" whole")

    def log_message(self, *args):
        pass

if os.environ["VERSION"] == "3":
    sys.exit("no model")
ThreadingHTTPServer(("127.0.0.1", int(os.environ["HOSTLER_PORT"])), Handler).serve_forever()
END
exec python3 -S serve.py
'''
shell = true
health = { path = "/", every = "1s" }
startup = "60s"
drain = "40s"
replicas = 2
env = { VERSION = "1" }
resources = { cpus = 0.1 }
"""


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Iterator[tuple[Desk, int]]:
    """Somebody with this machine and a gateway on it; and its port."""
    port = haproxy.free_port()
    with desk_folder() as folder:
        desk = local_desk(folder)
        with desk.config.open("a") as file:
            file.write(f'[gateway]\nhost = "here"\nport = {port}\n')
        try:
            yield desk, port
        finally:
            with contextlib.suppress(OSError, ValueError):
                os.kill(gateway_pid(desk), signal.SIGTERM)
            desk.close()


ANSWERED: list[int] = []
"""Statuses with which the service answered, or the gateway in its place."""


def _ask(port: int, path: str = "/web/") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 404:
            ANSWERED.append(answer.status)
        return answer.status, text
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error)
    finally:
        connection.close()


class _Load:
    """Somebody who asks one time after another, until told to stop."""

    def __init__(self, port: int) -> None:
        self.answers = 0
        self.failed: list[str] = []
        self._port, self._over = port, threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> _Load:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._over.wait(0.02):
            status, text = _ask(self._port)
            self.answers += 1
            if status != 200 or not text.endswith(" whole"):
                self.failed.append(f"{time.time():.2f} {status} {text}")


def _live(desk: Desk) -> int | None:
    found = desk.releases("web")
    return next((r["number"] for r in found if r["state"] == "live"), None)


def _scale(desk: Desk, number: int) -> None:
    desk.ok("scale", "web", str(number))

    def is_so() -> bool:
        *_, shown = desk.services()
        return (shown["ready"], len(shown["replicas"])) == (number, number)

    wait_until(is_so, f"{number} are ready")


def test_releases_lose_no_request_and_cut_no_stream(gate: tuple[Desk, int]) -> None:
    desk, port = gate
    ANSWERED.clear()  # requests of tests in other files are in it
    (desk.work / "pipeline.toml").write_text(SERVICE)
    assert "web serves release 1" in desk.ok("deploy", "-y").out
    wait_until(lambda: _ask(port) == (200, "version 1 whole"), "the gateway serves it")
    (shown,) = desk.ok("services", "--json").json["services"]
    assert shown["url"] == f"http://127.0.0.1:{port}/web/"
    assert shown["release"] == 1
    listed = desk.ok("services", "web").out.split()
    assert listed[:3] == ["web", shown["run_id"], "1"], "it bears the name that rollback takes"
    streamed: list[tuple[int, str]] = []
    stream = threading.Thread(target=lambda: streamed.append(_ask(port, "/web/stream")))
    stream.start()

    with _Load(port) as load:
        plan = desk.ok("deploy", "--env", "VERSION=2", "--plan").out
        assert "no request is lost" in plan
        desk.ok("deploy", "-y", "--env", "VERSION=2", "--detach")
        wait_until(lambda: _ask(port) == (200, "version 2 whole"), "the new one gets requests")
        desk.kill_daemon()
        desk.start_daemon()
        wait_until(lambda: _live(desk) == 2, "release 2 is live", 120)
        stream.join()
        assert streamed == [(200, "version 1" + "." * 150 + " whole")]

        failed = desk.hostler("deploy", "-y", "--env", "VERSION=3")
        assert (failed.code, "release 2 serves again" in failed.err) == (6, True)
        desk.ok("rollback", "web", "-y")
        assert _ask(port) == (200, "version 1 whole")
        assert _live(desk) == 4

        # More and fewer replicas; the number stays with the next release.
        _scale(desk, 3)
        _scale(desk, 1)

        # An open release that somebody undoes leaves the gateway before it is stopped.
        desk.ok("deploy", "-y", "--env", "VERSION=5", "--detach")
        wait_until(lambda: "version 5" in _ask(port)[1], "release 5 gets requests")
        desk.hostler("rollback", "web", "-y")
        wait_until(lambda: _ask(port)[1] == "version 1 whole", "the one before serves")
        assert "replicas: 1, as it was scaled (the file says 2)" in desk.ok("deploy", "--plan").out
    assert load.failed == []
    assert load.answers > 100
    desk.ok("scale", "web", "0")
    wait_until(lambda: _ask(port)[0] == 503, "it is paused")
    desk.ok("scale", "web", "1")
    wait_until(lambda: _ask(port)[0] == 200, "it goes on")
    _check_traffic(desk)
    _check_a_port_of_its_own(desk, port)


def _check_a_port_of_its_own(desk: Desk, port: int) -> None:
    """A release moves the service there, and a rollback back, each with its address."""

    def shown() -> dict[str, str | None]:
        found = desk.services()
        return {each["run_id"]: each["url"] or each["no_url"] for each in found}

    with socket.create_server(("127.0.0.1", 0)) as other:
        own = other.getsockname()[1]
        text = SERVICE.replace("drain =", f'address = ":{own}"\ndrain =')
        (desk.work / "pipeline.toml").write_text(text)
        planned = desk.ok("deploy", "--plan").out
        assert "address" in planned
        assert f"served at http://127.0.0.1:{own}/" in planned
        desk.ok("deploy", "-y")
        taken = f"port {own} on here is used by another program; it is tried again"
        wait_until(lambda: taken in shown().values(), "its port is taken")
        wait_until(lambda: _ask(port)[0] == 404, "it has left its path")
    url = f"http://127.0.0.1:{own}/"
    wait_until(lambda: url in shown().values(), "its port is free")
    assert _ask(own, "/any/path") == (200, "version 1 whole")
    *_, listed = desk.ok("services", "--json").json["services"]  # the release before may still end
    assert desk.ok("show", listed["run_id"], "--json").json["urls"] == {"serve": url}
    assert (listed["url"], listed["url_on"]) == (url, "here")
    other_text = SERVICE.replace('"web"', '"other"').replace(
        "drain =", f'address = ":{own}"\ndrain ='
    )
    (desk.work / "other.toml").write_text(other_text)
    refused = desk.hostler("deploy", "other.toml", "-y")
    assert (refused.code, f"service web has the address :{own}" in refused.err) == (2, True)
    back = desk.ok("rollback", "web", "-y").out
    assert f"at http://127.0.0.1:{port}/web/" in back
    wait_until(lambda: (_ask(port)[0], _ask(own, "/")[0]) == (200, 0), "it is back")


def _check_traffic(desk: Desk) -> None:
    """Requests of each release were counted, and none twice; few are lost with the daemon that was
    killed, which its agent had read and not told."""
    counted: dict[int, int] = {}

    def has_most() -> bool:
        found = desk.releases("web")
        counted.update(
            (each["number"], each["traffic"]["requests"])
            for each in found
            if each["traffic"] is not None
        )
        return {1, 2, 4} <= counted.keys() and sum(counted.values()) > len(ANSWERED) / 2

    wait_until(has_most, "requests of each release were counted")
    assert (sum(counted.values()) <= len(ANSWERED), 3 in counted) == (True, False)
    *_, shown = desk.ok("services", "--json").json["services"]
    assert shown["traffic"]["p95_ms"] is not None
    series = Client(desk.state / "hostler.sock").traffic("web", 30)
    assert {each.number for each in series.releases} == counted.keys()
    assert all(any(each.requests) and each.total.requests for each in series.releases)
