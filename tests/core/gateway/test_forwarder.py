"""The forwarder to replicas on other hosts, with a real sshd and OpenSSH's client."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hostler_agent
from hostler_agent import forwarder, forwards
from hostler_agent.folders import Folders
from hostler_agent.gateway import Gateways
from tests.support.machines import sshd
from tests.support.machines.sshd import Sshd
from tests.support.programs.agents import eventually

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(not sshd.can_run(), reason=sshd.WHY_NOT),
]
NAME, OTHER = "0123456789", "abcdef0123"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    made = Sshd(tmp_path / "sshd").start()
    yield made
    made.stop()


@pytest.fixture
def replica() -> Iterator[int]:
    """The port of one that says who it is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                while True:
                    with listener.accept()[0] as connection:
                        connection.sendall(b"here")
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


class Running:
    """A forwarder, and the agent that says how it is."""

    def __init__(self, base: Path) -> None:
        self.gateways = Gateways(Folders(str(base)))
        self.folder = Path(str(self.gateways.put({"gateway": "g"})["folder"]))
        self.process: subprocess.Popen[bytes] | None = None

    def want(self, **hosts: object) -> None:
        files: Any = {forwards.WANTED: json.dumps(hosts)}
        self.gateways.put({"gateway": "g", "files": files})
        if self.process is None:
            argv: Any = self.gateways.forwards({"gateway": "g"})["argv"]
            self.process = subprocess.Popen(argv)

    def ways(self) -> dict[str, Any]:
        found: Any = self.gateways.forwards({"gateway": "g"})["hosts"]
        return {way["host"]: way for way in found}

    def ask(self, name: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.settimeout(30)
                connection.connect(str(self.folder / forwards.SOCKETS / name))
                return connection.recv(100)
            except OSError:
                return b""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "b")
    yield made
    (made.folder / forwards.WANTED).unlink()
    assert made.process is not None
    assert made.process.wait(60) == 0  # it ends by itself, with all connections


def _words(server: Sshd, known: Path) -> list[str]:
    options = [
        f"UserKnownHostsFile={known}",
        f"IdentityFile={server.user_key}",
        "IdentitiesOnly=yes",
    ]
    return [*(w for o in options for w in ("-o", o)), "-p", str(server.port), "127.0.0.1"]


def test_sockets_lead_to_ports_of_another_host(
    running: Running, server: Sshd, replica: int, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    known.write_text(server.known_line)
    words = _words(server, known)
    # A key that may do nothing else is enough.
    keys = server.folder / "authorized_keys"
    keys.write_text(f'restrict,port-forwarding,permitopen="127.0.0.1:*" {keys.read_text()}')
    assert running.gateways.reach({"ssh": [*words]}) == {"why_not": ""}
    running.want(gpu1={"ssh": words, "sockets": {NAME: replica}})
    assert eventually(lambda: running.ask(NAME) == b"here")
    assert eventually(lambda: running.ways()["gpu1"]["open"] == [NAME])
    assert running.ways()["gpu1"]["state"] == "connected"
    assert [oct(p.stat().st_mode & 0o777) for p in (running.folder / "r").iterdir()] == [
        "0o600"
    ] * 2
    assert (running.folder / "r").stat().st_mode & 0o777 == 0o700

    # Another one beside it, over the same connection; and the first one is not wanted any more.
    running.want(gpu1={"ssh": words, "sockets": {NAME: replica, OTHER: replica}})
    assert eventually(lambda: running.ask(OTHER) == b"here")
    assert eventually(lambda: len(server.sessions()) == 1)
    running.want(gpu1={"ssh": words, "sockets": {OTHER: replica}})
    assert eventually(lambda: not (running.folder / "r" / NAME).exists())
    assert running.ask(OTHER) == b"here"

    # A port that refuses has no socket: whoever connects learns it before anything was sent.
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    running.want(gpu1={"ssh": words, "sockets": {OTHER: replica, NAME: port}})
    assert eventually(lambda: (running.folder / "r" / forwards.hidden(NAME)).exists())
    assert running.ways()["gpu1"]["open"] == [OTHER]
    with socket.create_server(("127.0.0.1", port)):
        assert eventually((running.folder / "r" / NAME).exists)
    running.ask(NAME)  # the first one that is refused
    assert eventually(lambda: not (running.folder / "r" / NAME).exists())
    assert eventually(lambda: running.ways()["gpu1"]["open"] == [OTHER])

    # A connection that is cut is begun anew.
    server.kill_sessions()
    assert eventually(lambda: running.ways()["gpu1"]["state"] == "failed")
    assert eventually(lambda: running.ask(OTHER) == b"here")


def test_a_host_that_does_not_let_it_in_is_named_and_seldom_asked(
    running: Running, server: Sshd, replica: int, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    known.touch()
    words = _words(server, known)
    running.want(gpu1={"ssh": words, "sockets": {NAME: replica}})
    assert eventually(lambda: running.ways().get("gpu1", {}).get("state") == "failed")
    assert "Host key verification failed" in running.ways()["gpu1"]["said"]
    said = running.gateways.reach({"ssh": [*words]})["why_not"]
    assert "Host key verification failed" in str(said)
    assert forwards.is_refusal(str(said))
    assert running.ask(NAME) == b""


def test_files_that_change_while_a_login_is_refused_make_it_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key comes first, and the host's key while ssh was refused for want of it."""
    (tmp_path / ".ssh").mkdir()
    program, known, tries = tmp_path / "ssh", tmp_path / ".ssh/known_hosts", tmp_path / "tries"
    program.write_text(
        f"#!/bin/sh\necho try >> {tries}\n[ -e {known} ] || echo key > {known}\n"
        "echo Host key verification failed. >&2\nexit 255\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    way = forwarder.Way(str(tmp_path), "gpu1", forwards.Wanted(("gpu1",), {}))

    def refused(times: int) -> bool:
        way.turn()
        is_refused = way.status == ("failed", "Host key verification failed.", way.status.at, ())
        return is_refused and len(tries.read_text().splitlines()) == times

    assert eventually(lambda: refused(1))
    assert eventually(lambda: refused(2)), "the file that came meanwhile is not waited for"
    for _ in range(20):
        assert refused(2), "with the same files it would be another failed login"


def test_what_is_read_and_asked() -> None:
    assert forwards.read_wanted("no json") == {}
    text = json.dumps(
        {"gpu1": {"ssh": ["-p", "22", "gpu1"], "sockets": {NAME: 5, "../x": 6, OTHER: "7"}},
         "gpu2": {"ssh": [], "sockets": {}}, "gpu3": 4}
    )  # fmt: skip
    assert forwards.read_wanted(text) == {"gpu1": forwards.Wanted(("-p", "22", "gpu1"), {NAME: 5})}
    command = forwards.connect_command("r/c", ("-p", "22", "-oProxyCommand=x"), {})
    assert command[-2:] == ["--", "-oProxyCommand=x"]  # a name is no option
    assert forwards.why_not("Permission denied (publickey).\n") == "Permission denied (publickey)."
    assert "prohibited" in forwards.why_not("channel 0: open failed: prohibited\nstdio failed")


def test_it_needs_nothing_of_the_agent_later() -> None:
    """Its code may be removed while it runs."""
    folder = Path(hostler_agent.__file__).parent
    for name in ("forwarder.py", "forwards.py", "forwardsockets.py", "json_values.py", "sshmux.py"):
        for line in (folder / name).read_text().splitlines():
            assert not line.startswith(("    from ", "    import ")), (name, line)
    assert os.access(sys.executable, os.X_OK)


def test_an_sshd_that_forbids_forwarding_is_named(running: Running, tmp_path: Path) -> None:
    server = Sshd(tmp_path / "sshd", ("AllowTcpForwarding no",)).start()
    try:
        known = tmp_path / "known"
        known.write_text(server.known_line)
        words = _words(server, known)
        assert "prohibited" in str(running.gateways.reach({"ssh": [*words]})["why_not"])
        running.want(gpu1={"ssh": words, "sockets": {NAME: 9}})
        assert eventually(lambda: "prohibited" in running.ways().get("gpu1", {}).get("said", ""))
        assert running.ways()["gpu1"]["open"] == []
        assert not (running.folder / "r" / NAME).exists()
    finally:
        server.stop()
