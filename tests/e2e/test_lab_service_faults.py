"""Containers of a service on real hosts: an engine that restarts, a GPU that is lost, a host that
reboots or is cut from everybody. People who ask the gateway notice nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.test_lab_reach import Asking, put_haproxy, put_key
from tests.e2e.test_recover_alone import lose_database
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines import haproxy
from tests.support.machines.desk import Desk, wait_until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.chaos,  # what is short of it is in test_lab_reach
    pytest.mark.timeout(600),
    pytest.mark.skipif(not haproxy.can_run(), reason=haproxy.WHY_NOT),
]
PORT = 8089
SERVICE = f"""
name = "web"
[stages.serve]
kind = "service"
image = "{BUSYBOX}"
command = "exec httpd -f -p $HOSTLER_PORT -h /etc"
shell = true
port = 8000
health = {{ path = "/hostname", every = "0.5s", timeout = "2s" }}
startup = "60s"
drain = "5s"
lost_after = "3s"
replicas = 2
resources = {{ gpus = 2, host = "gpu[23]" }}
"""
CONFIG = f"""
[daemon]
look_interval = "0.5s"
look_timeout = "1s"
connect_timeout = "2s"
[policy]
fresh_for = "2s"
[gateway]
host = "gpu1"
bind = ["ADDRESS"]
port = {PORT}
tokens = false
insecure = true
haproxy = "/home/ana/haproxy/usr/sbin/haproxy"
"""


def _replicas(desk: Desk) -> list[dict[str, Any]]:
    """In the order of their hosts."""
    *_, service = desk.services()
    return sorted(service["replicas"], key=lambda each: str(each["host"]))


def _are_ready(desk: Desk, *hosts: str) -> bool:
    return [(r["host"], r["state"]) for r in _replicas(desk)] == [(h, "ready") for h in hosts]


def _until_ready(desk: Desk, *hosts: str) -> None:
    wait_until(lambda: _are_ready(desk, *hosts), f"ready on {hosts}", 90)


def _containers(host: Host) -> list[str]:
    return host.docker("ps", "-q", "--filter", "label=hostler.attempt").split()


@pytest.fixture
def web(clean_lab: Lab, desk: Desk) -> Asking:
    """A service of two replicas, one on gpu2 and one on gpu3, behind a gateway on gpu1."""
    gate = clean_lab.host("gpu1")
    put_haproxy(gate)
    put_key(clean_lab, gate)
    with desk.config.open("a") as file:
        file.write(CONFIG.replace("ADDRESS", gate.address))
    for name in ("gpu2", "gpu3"):
        clean_lab.host(name).gpus.lose(3)  # each has room for one of two
    (desk.work / "pipeline.toml").write_text(SERVICE)
    desk.ok("deploy", "-y", timeout=120)
    _until_ready(desk, "gpu2", "gpu3")
    return Asking(gate.address, "/web/hostname", PORT)


def test_nobody_who_asks_notices_what_happens_to_one_host(
    clean_lab: Lab, desk: Desk, web: Asking
) -> None:
    one, two = clean_lab.host("gpu2"), clean_lab.host("gpu3")
    with web:
        # Docker is restarted, which ends its containers.
        one.kill_docker()
        one.start_docker()
        _until_restarted(desk, 0, 1, "Docker on gpu2 was restarted")
        web.until_two_answer()
        one.reboot()
        _until_restarted(desk, 0, 2, "gpu2 rebooted")
        web.until_two_answer()
        # A GPU is lost. Its replica answers on; once it ends, the next try has other GPUs.
        lost = _replicas(desk)[1]["gpus"][0]
        two.gpus.recover(3)
        two.gpus.lose(two.gpus.uuids.index(lost))
        wait_until(lambda: "unhealthy" in _states(desk, "gpu3"), "it is out of placement", 60)
        assert _replicas(desk)[1]["restarts"] == 0
        two.docker("kill", "-s", "KILL", *_containers(two))
        _until_restarted(desk, 1, 1, "GPU lost")
        assert lost not in _replicas(desk)[1]["gpus"]
        web.until_two_answer()
        # The database is lost while a release takes over.
        for host in (one, two):
            for index in range(4):
                host.gpus.recover(index)
        next_one = SERVICE.replace("shell = true", 'shell = true\nenv = { VERSION = "2" }')
        (desk.work / "pipeline.toml").write_text(next_one)
        desk.ok("deploy", "-y", "--detach")
        wait_until(lambda: _release(desk) == "shifting", "it takes over", 60, every=0.1)
        lose_database(desk)
        assert "release 2 shifting" in desk.ok("daemon", "recover").err
        desk.ok("daemon", "recover", "--yes")
        wait_until(lambda: _release(desk) == "live", "it serves", 120)
        web.until_two_answer()
        # A release whose image lacks the command fails, with its last words; the live one serves.
        bad = SERVICE.replace("exec httpd", "exec nosuchprogram").replace("gpus = 2", "cpus = 0.1")
        (desk.work / "pipeline.toml").write_text(bad)
        said = desk.hostler("deploy", "-y", timeout=120)
        assert (said.code, "exit code 127" in said.err) == (6, True)
        assert "nosuchprogram: not found" in said.err.partition("the last of serve.")[2]
        web.until_two_answer()
    assert (web.bad, web.good > 100) == ([], True)
    assert clean_lab.referee_overlaps() == []


def _release(desk: Desk) -> str:
    return str(desk.releases("web")[0]["state"])


def _until_restarted(desk: Desk, number: int, times: int, why: str) -> None:
    wait_until(lambda: _replicas(desk)[number]["restarts"] == times, f"restarted: {why}", 60)
    _until_ready(desk, "gpu2", "gpu3")
    assert why in _replicas(desk)[number]["error"]


def _states(desk: Desk, host: str) -> list[str]:
    (row,) = [each for each in desk.gpus() if each["host"] == host]
    return [str(gpu["state"]) for gpu in row["gpus"]]
