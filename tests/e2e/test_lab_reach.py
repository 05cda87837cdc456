"""A gateway on one host, whose replicas are on others."""

from __future__ import annotations

import http.client
import io
import re
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines import haproxy
from tests.support.machines.desk import Desk, wait_until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
]
PORT = 8088
SERVICE = """
name = "web"
[stages.serve]
kind = "service"
command = '''
hostname > who.txt
exec python3 -u -m http.server --bind 127.0.0.1 "$HOSTLER_PORT"
'''
shell = true
health = { path = "/who.txt", every = "0.5s", timeout = "1s" }
startup = "60s"
drain = "5s"
lost_after = "3s"
replicas = 2
resources = { gpus = 2, cpus = 0.1, host = "gpu[23]" }
"""
BOX = f"""
name = "box"
[stages.box]
kind = "service"
image = "{BUSYBOX}"
command = "exec httpd -f -p $HOSTLER_PORT -h /etc"
shell = true
port = 8000
health = "/hostname"
resources = {{ host = "gpu3", cpus = 0.1 }}
"""
CONFIG = """
[hosts.gpu3]
user = "ana"
reach = "lan"
lan_address = "{lan}"
[daemon]
look_interval = "0.5s"
look_timeout = "1s"
connect_timeout = "2s"
[policy]
fresh_for = "2s"
[gateway]
host = "gpu1"
bind = ["{address}"]
port = {port}
tokens = false
insecure = true
haproxy = "/home/ana/haproxy/usr/sbin/haproxy"
"""


def put_haproxy(host: Host) -> None:
    """This machine's own, with its libraries, as an unpacked package."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program is not None
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    paths = re.findall(r"=> (/\S+)", said)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", dereference=True) as archive:
        archive.add(program, "haproxy/usr/sbin/haproxy")
        for path in paths:
            if re.search(r"/(liblua|libjemalloc|libopentracing|libpcre2|libcrypt\.)", path):
                archive.add(path, f"haproxy/usr/lib/x86_64-linux-gnu/{Path(path).name}")
    put(host, made.getvalue())


def put(host: Host, archive: bytes) -> None:
    """Unpack into ana's home folder."""
    command = ["tar", "-x", "-C", "/home/ana"]
    with host.popen(command, user="ana", stdin=subprocess.PIPE) as unpack:
        unpack.communicate(archive)
    assert unpack.returncode == 0


def put_key(lab: Lab, host: Host) -> None:
    """Let ana log in from there to the other hosts."""
    for name, file in (("id_ed25519", lab.paths.key), ("known_hosts", lab.paths.known_hosts)):
        script = f"umask 077; cd /home/ana && mkdir -p .ssh && cat > .ssh/{name}"
        host.exec(["sh", "-c", script], user="ana", text=file.read_text())


@contextmanager
def lost(host: Host, address: str) -> Iterator[None]:
    """Nothing from there arrives."""
    rule = ["PREROUTING", "-s", address, "-j", "DROP"]
    host.exec(["iptables", "-w", "-t", "mangle", "-I", *rule])
    try:
        yield
    finally:
        host.exec(["iptables", "-w", "-t", "mangle", "-D", *rule])


class Client:
    """Somebody who asks the gateway."""

    def __init__(self, address: str, within: float = 2) -> None:
        self._address, self._within = address, within

    def ask(self, path: str = "/web/who.txt", port: int = PORT) -> str:
        """Who answers; else the status, or why there is none."""
        status, said = self.answer(path, port)
        return said.strip() if status in (0, 200) else str(status)

    def answer(self, path: str, port: int) -> tuple[int, str]:
        """Status and body; 0, and why there is no answer."""
        connection = http.client.HTTPConnection(self._address, port, timeout=self._within)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error)
        finally:
            connection.close()

    def who(self, times: int = 12) -> set[str]:
        """Who answers several requests."""
        return {self.ask() for _ in range(times)}


def _replicas(desk: Desk, name: str = "web") -> list[dict[str, Any]]:
    *_, service = [each for each in desk.services() if each["pipeline"] == name]
    return list(service["replicas"])


class Asking:
    """Somebody who asks one time after another until the end of the block."""

    def __init__(
        self, address: str, path: str = "/web/who.txt", port: int = PORT, within: float = 30
    ) -> None:
        self.good = 0
        self.bad: list[str] = []
        self.answered: set[str] = set()
        """The answers so far, or since `until_two_answer`."""
        self._path, self._port = path, port
        self._client = Client(address, within)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask_on(self) -> None:
        while not self._over.wait(0.02):
            begun = time.monotonic()
            status, said = self._client.answer(self._path, self._port)
            if status == 200:
                self.good += 1
                self.answered.add(said.strip())
            else:
                self.bad.append(f"{status} {said} after {time.monotonic() - begun:.1f} s")

    def until_two_answer(self) -> None:
        """Until two replicas get requests, and none has failed."""
        self.answered.clear()
        wait_until(lambda: len(self.answered) == 2, "two get requests", 60)
        assert self.bad == []


def _states(desk: Desk) -> list[str]:
    return sorted(r["state"] for r in _replicas(desk))


def _reason(desk: Desk) -> str:
    return str(desk.releases("web")[0]["reason"])


def test_replicas_on_other_hosts_are_reached_without_the_daemon(clean_lab: Lab, desk: Desk) -> None:
    gate, one = clean_lab.host("gpu1"), clean_lab.host("gpu2")
    put_haproxy(gate)
    config = CONFIG.format(address=gate.address, port=PORT, lan=clean_lab.host("gpu3").address)
    hosts = desk.config.read_text().partition("[hosts.gpu3]")[0]
    desk.config.write_text(hosts + config)
    client, both = Client(gate.address), {"gpu2", "gpu3"}
    two = clean_lab.host("gpu3")
    for host in (one, two):
        host.gpus.lose(3)  # each has room for one of two

    (desk.work / "pipeline.toml").write_text(SERVICE)
    desk.ok("deploy", "-y", "--detach")
    desk.submit(BOX)
    # Without a key it says so, and what to do.
    wait_until(lambda: 'reach = "none"' in _reason(desk), "the release says why it waits", 60)
    assert "does not reach" in _reason(desk)
    put_key(clean_lab, gate)
    wait_until(lambda: client.who() == both, "both answer", 60)

    # A container of a host with `reach = "lan"` is reached there, also past the gateway.
    wait_until(lambda: len(client.ask("/box/hostname")) == 12, "the container answers", 60)
    (box,) = _replicas(desk, "box")
    assert box["address"] == clean_lab.host("gpu3").address
    assert len(Client(box["address"]).ask("/hostname", box["port"])) == 12
    assert f"{box['address']}:{box['port']}" in desk.ok("services", "box").out

    desk.kill_daemon()
    assert client.who() <= both
    desk.start_daemon()
    wait_until(lambda: _states(desk) == ["ready", "ready"], "it sees them")
    # One that the gateway does not send requests to now would get none while its host is silent.
    wait_until(lambda: client.who() == both, "both answer again", 60)

    # From the daemon alone: traffic goes on, and nothing is replaced.
    with lost(one, str(clean_lab.net.gateway)):
        wait_until(lambda: "so it is kept" in str(_replicas(desk)), "it is silent, and kept")
        with Asking(gate.address, within=2) as asking:
            time.sleep(4)  # past `lost_after` and `fresh_for`
        assert (asking.bad, asking.answered <= both) == ([], True)
        wait_until(lambda: client.who() == both, "both answer still")
        assert _states(desk) == ["ready", "unknown"]
    with Asking(gate.address) as asking:
        # Docker is restarted, which ends the container.
        two.kill_docker()
        two.start_docker()
        wait_until(lambda: _replicas(desk, "box")[0]["restarts"] == 1, "it is started again", 60)
        wait_until(lambda: len(client.ask("/box/hostname")) == 12, "the container answers", 60)
        # Until it is ready, the view says why not; then, why the attempt before ended.
        wait_until(
            lambda: "Docker on gpu3 was restarted" in str(_replicas(desk, "box")[0]["error"]),
            "the reason is told", 60,
        )  # fmt: skip
        two.gpus.recover(3)
        # From the gateway alone: the other one gets the requests, and nothing is replaced.
        with lost(one, gate.address):
            wait_until(lambda: client.who(4) == {"gpu3"}, "it gets no requests", 60)
            wait_until(lambda: _ready_on(desk) == ["gpu2", "gpu3"], "the daemon sees both")
            told = {r["error"] for r in _replicas(desk)} - {None}
            assert all("the gateway does not reach gpu2" in error for error in told)
            # From both: another replica is started. The old one ends when its host is back.
            with lost(one, str(clean_lab.net.gateway)):
                wait_until(lambda: _ready_on(desk) == ["gpu3", "gpu3"], "it is replaced", 90)
        wait_until(lambda: not _serves(one), "the old one is stopped", 90)
        assert _ready_on(desk) == ["gpu3", "gpu3"]
    assert (asking.bad, asking.good > 100) == ([], True)


def _ready_on(desk: Desk) -> list[str]:
    return sorted(r["host"] for r in _replicas(desk) if r["state"] == "ready")


def _serves(host: Host) -> bool:
    return "http.server" in host.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline || true"]).stdout
