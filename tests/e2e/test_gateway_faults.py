"""A real gateway that dies, stands still or finds its port taken; an agent that dies; releases that
cannot answer. One gateway for all of it."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_gateway_alone import gateway_pid
from tests.support.machines import haproxy
from tests.support.machines.desk import Desk, desk_folder, local_desk, wait_until
from tests.support.programs import load

pytestmark = [
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
    pytest.mark.timeout(400),
]
REPLICA = Path(load.__file__).with_name("replica.py")
SERVICE = """
name = "web"
[stages.serve]
kind = "service"
command = "exec python3 -S $PROGRAM"
shell = true
health = { path = "/health", every = "1s" }
startup = "30s"
drain = "5s"
replicas = 2
env = { VERSION = "1", PROGRAM = "replica.py" }
resources = { cpus = 0.1 }
"""


@dataclass
class Gate:
    """Somebody whose service is behind a gateway that asks for tokens."""

    desk: Desk
    port: int
    token: str = ""

    def ask(self) -> tuple[int, str]:
        """A request: status and body; 0: there was no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self.token}"}
            connection.request("GET", "/web/", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def serves(self, version: int) -> bool:
        """Whether this release answers."""
        return self.ask()[1].startswith(f"version {version} ")

    @property
    def service(self) -> dict[str, Any]:
        """Its newest release, as the daemon sees it."""
        *_, found = self.desk.services()
        return found

    def release(self) -> dict[str, Any]:
        """The newest one."""
        return self.desk.releases("web")[0]

    def pids(self, mark: str) -> list[int]:
        """Processes of this person with these words in their command line."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes()
                home = f"\0HOME={self.desk.home}\0".encode()
                if mark.encode() in words and home in b"\0" + (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def signal(self, mark: str, number: int) -> None:
        """A signal to all of them."""
        for pid in self.pids(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    """Release 1 serves, with two replicas."""
    with desk_folder() as folder:
        desk, port = local_desk(folder), haproxy.free_port()
        with desk.config.open("a") as file:
            file.write(f'[gateway]\nhost = "here"\nport = {port}\ntokens = true\n')
        made = Gate(desk, port)
        shutil.copy(REPLICA, desk.work / "replica.py")
        (desk.work / "pipeline.toml").write_text(SERVICE)
        try:
            desk.ok("deploy", "-y")
            made.token = desk.ok("token", "new", "web").out.strip()
            wait_until(lambda: made.serves(1), "release 1 answers")
            yield made
        finally:
            with contextlib.suppress(OSError, ValueError):
                os.kill(gateway_pid(desk), signal.SIGTERM)
            desk.close()


def test_a_gateway_that_is_killed_comes_back_with_its_tokens_and_servers(gate: Gate) -> None:
    before = gateway_pid(gate.desk)
    gate.signal("/control.sock", signal.SIGKILL)
    wait_until(lambda: gate.serves(1), "it serves again")
    assert gateway_pid(gate.desk) != before
    token, gate.token = gate.token, "hst_wrong"
    assert gate.ask()[0] == 401
    gate.token = token
    # Nor does an agent that dies cost a request.
    replicas = gate.pids("replica.py")
    gate.signal("hostler_agent", signal.SIGKILL)
    assert gate.serves(1)
    wait_until(lambda: gate.service["ready"] == 2, "both are seen again")
    assert gate.pids("replica.py") == replicas


@contextlib.contextmanager
def _listening(port: int) -> Iterator[None]:
    """Have the port as soon as whoever has it is gone."""
    taken: list[socket.socket] = []

    def take() -> bool:
        with contextlib.suppress(OSError):
            taken.append(socket.create_server(("127.0.0.1", port)))
        return bool(taken)

    wait_until(take, f"port {port} is free")
    with taken[0]:
        yield


def test_a_port_that_somebody_else_has_is_said_with_what_to_do(gate: Gate) -> None:
    gate.desk.kill_daemon()
    gate.signal("/control.sock", signal.SIGKILL)
    with _listening(gate.port):
        gate.desk.start_daemon()
        wait_until(lambda: "it cannot listen at" in str(gate.service["no_url"]), "it is said")
        why = gate.service["no_url"]
        assert f"127.0.0.1:{gate.port}" in why
        wait_until(lambda: gate.service["ready"] == 2, "both replicas are seen")
    wait_until(lambda: gate.serves(1), "it serves again")
    wait_until(lambda: gate.service["no_url"] is None, "the daemon has seen that, too")


def test_a_daemon_killed_while_it_changes_the_gateway_costs_no_request(gate: Gate) -> None:
    desk, file = gate.desk, gate.desk.work / "pipeline.toml"
    file.write_text(SERVICE)
    with load.begun(gate.port, "/web/", rate=50, streams=1, token=gate.token) as asked:
        desk.ok("deploy", "-y", "--env", "VERSION=5", "--detach")
        for point in ("added", "drained"):  # all of them in the simulated lab
            desk.kill_daemon()
            desk.more_env = {"HOSTLER_FAILPOINTS": f"after_server_{point}:kill"}
            desk.hostler("ps")
            desk.more_env = {}
            desk.wait_death(desk.daemon_pid(), 60)
        desk.start_daemon()
        wait_until(lambda: gate.release()["state"] == "live", "release 5 is live", 90)
    assert (asked.report.failed, asked.report.early) == (0, 0), asked.report.said()
    assert set(asked.report.versions) == {"1", "5"}
    wait_until(lambda: len(gate.pids("replica.py")) == 2, "those of before have ended")
    desk.ok("rollback", "web", "-y")
    assert gate.serves(1)


def test_while_the_gateway_stands_still_nothing_is_stopped_and_a_release_waits(gate: Gate) -> None:
    replicas = gate.pids("replica.py")
    gate.signal("/control.sock", signal.SIGSTOP)
    gate.desk.ok("deploy", "-y", "--env", "VERSION=2", "--detach")
    wait_until(lambda: "does not answer" in str(gate.release()["reason"]), "it says why it waits")
    assert set(replicas) <= set(gate.pids("replica.py"))
    gate.signal("/control.sock", signal.SIGCONT)
    wait_until(lambda: gate.release()["state"] == "live", "release 2 is live", 90)
    assert gate.serves(2)


def test_a_release_that_cannot_answer_says_why_with_its_log(gate: Gate) -> None:
    file = gate.desk.work / "pipeline.toml"
    # Any free port: both replicas run, and neither listens where it should.
    wrong_port = SERVICE.replace('"30s"', '"5s"').replace("exec ", "echo loads; HOSTLER_PORT=0 ")
    for text, why, last in (
        (SERVICE.replace("exec python3", "exec nosuchprogram"), "exit code 127", "nosuchprogram"),
        (wrong_port, "did not answer for 5s: nothing listens on port", "loads"),
    ):
        file.write_text(text)
        said = gate.desk.hostler("deploy", "-y", timeout=90)
        assert said.code == 6, said
        assert "is restored: release " in said.err
        assert why in said.err
        assert last in said.err.partition("the last of serve.")[2]
    # Nor may a run that is no release take its address.
    file.write_text(SERVICE.replace('"web"', '"plain"').replace("stages.serve", "stages.web"))
    run_id = gate.desk.ok("run", "-d", "-q").out.strip()

    def why_nowhere() -> list[str]:
        return [s["no_url"] for s in gate.desk.services() if s["run_id"] == run_id]

    wait_until(lambda: why_nowhere() == ["service web has the address /web"], "it is said")
    gate.desk.ok("cancel", run_id)
    assert gate.serves(2)
