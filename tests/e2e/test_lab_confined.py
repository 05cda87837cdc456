"""What a stage can reach: its container's limits as Docker has them, and each of them tried."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import PYTHON, USERS
from tests.support.machines.breakout import PROGRAM
from tests.support.machines.desk import Desk, desk_folder, stage, wait_until

pytestmark = pytest.mark.lab

IMAGE = "hostler-lab/suid:1"
CONFIG = """
[mounts.data]
path = "/srv/data"
default = true
[mounts.link]
path = "/srv/link"
"""


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Iterator[tuple[Host, Desk]]:
    """gpu1 with an image that has a setuid program, and somebody whose stages see a folder."""
    lab.reset()
    host = lab.host("gpu1")
    copy = "cp $(readlink -f /usr/bin/python3) /suid && chmod 4755 /suid"
    host.docker("run", "--name", "suid", "--user", "0", PYTHON, "sh", "-c", copy)
    host.docker("commit", "suid", IMAGE)
    host.docker("rm", "suid")
    host.exec(["sh", "-c", "mkdir -p /srv/data && chmod 777 /srv/data"])
    host.exec(["ln", "-sfn", "/run/docker.sock", "/srv/link"])
    with desk_folder() as folder:
        person = Desk.at_lab(lab, folder, more=CONFIG, hosts=("gpu1",))
        yield host, person
        person.close()


@pytest.fixture
def confined(shared: tuple[Host, Desk], tmp_path: Path) -> tuple[Host, Desk]:
    """That host and that person, who has a work folder for each test."""
    host, person = shared
    return host, person.at_work(tmp_path)


def pipeline(command: list[str], resources: str = "", more: str = "") -> str:
    """One stage on gpu1."""
    return f"""
name = "c"
[stages.a]
image = "{IMAGE}"
command = {json.dumps(command)}
resources = {{ host = "gpu1"{resources} }}
{more}
"""


def container(host: Host, run_id: str) -> str:
    """The one container of a run."""
    (found,) = host.containers_of(run_id)
    return found


def inspected(host: Host, run_id: str) -> dict[str, Any]:
    """What Docker itself says of it."""
    (found,) = json.loads(host.docker("inspect", container(host, run_id)))
    answer: dict[str, Any] = found
    return answer


def test_a_running_container_has_the_promised_limits(confined: tuple[Host, Desk]) -> None:
    host, desk = confined
    run_id = desk.submit(pipeline(["sleep", "600"], ", gpus = 1, ram = '64MiB', shm = '16MiB'"))
    run = desk.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    found = inspected(host, run_id)
    desk.ok("cancel", "-y", run_id)
    limits, config = found["HostConfig"], found["Config"]
    uid = USERS["ana"]
    assert config["User"] == f"{uid}:{uid}"
    assert limits["CapDrop"] == ["ALL"]
    assert limits["CapAdd"] is None
    assert [option.split(":")[0] for option in limits["SecurityOpt"]] == ["no-new-privileges"]
    assert limits["PidsLimit"] == 4096
    assert limits["Memory"] == limits["MemorySwap"] == 64 * 1024**2
    assert limits["ShmSize"] == 16 * 1024**2
    assert limits["Init"] is True
    assert (limits["Privileged"], limits["PublishAllPorts"]) == (False, False)
    assert (limits["PidMode"], limits["UTSMode"], limits["UsernsMode"]) == ("", "", "")
    assert limits["IpcMode"] == "private"
    assert limits["NetworkMode"] not in ("host",)
    assert limits["RestartPolicy"]["Name"] == "no"
    assert limits["Devices"] in (None, [])
    assert limits["VolumesFrom"] is None
    assert limits["LogConfig"]["Type"] == "local"
    assert config["StopTimeout"] >= 30
    mounts = [(each["Source"], each["RW"]) for each in found["Mounts"] if each["Type"] == "bind"]
    assert mounts == [("/srv/data", False)]
    (asked,) = limits["DeviceRequests"]
    assert asked["DeviceIDs"] == stage(run, "a")["attempt"]["gpus"]
    assert asked["Count"] == 0


def test_no_way_out_of_a_container_works(confined: tuple[Host, Desk]) -> None:
    host, desk = confined
    as_ana = ["--rm", "--user", "2001:2001", IMAGE, "/suid", "-c", "import os; print(os.geteuid())"]
    assert host.docker("run", *as_ana).strip() == "0", "the program gains root elsewhere"
    run = desk.run(pipeline(["python3", "-c", PROGRAM]))
    said = desk.ok("logs", run["run_id"]).out
    assert run["outcome"] == "succeeded", said
    got: dict[str, Any] = {}
    for line in said.splitlines():
        got |= json.loads(line)
    uid = str(USERS["ana"])
    assert set(got["capabilities"]) == {"0" * 16}
    assert got["no_new_privs"] == "1"
    assert got["ids"] == [[uid] * 4, [uid] * 4]
    assert got["setuid_program"] == uid
    assert got["mount"] == -1
    for name in ("become_root", "chroot", "device", "host_name"):
        assert got[name] == "PermissionError", name
    assert got["sockets"] == []
    assert got["block_devices"] == []
    assert got["pid_1"] in ("docker-init", "tini")
    assert got["processes"] < 6
    for name in ("kernel", "cgroups", "image"):
        assert "worked" not in got[name], name
    assert got["read_only_mount"] == "OSError"
    assert host.exec(["ls", "/srv/data"]).stdout == ""
    assert host.exec(["hostname"]).stdout.strip() == "gpu1"


_BOMB = """
import os, signal, threading, warnings
signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
warnings.simplefilter("ignore")
threading.stack_size(65536)
end, count = threading.Event(), 0
try:
    while count < 20_000:
        threading.Thread(target=end.wait, daemon=True).start()
        count += 1
except RuntimeError:
    pass
try:
    os.fork()
    refused = False
except OSError:
    refused = True
print(count, refused, flush=True)
while True:
    signal.pause()
"""


def test_a_fork_bomb_ends_at_its_limit_and_the_host_is_reached(
    confined: tuple[Host, Desk],
) -> None:
    host, desk = confined
    run_id = desk.submit(pipeline(["python3", "-c", _BOMB]))
    desk.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    wait_until(
        lambda: len(desk.ok("logs", run_id).out.split()) > 1, "the bomb has gone off", every=0.5
    )
    count, refused = desk.ok("logs", run_id).out.splitlines()[-1].split()
    assert 1000 < int(count) <= 4096
    assert refused == "True"
    (found,) = [each for each in desk.ok("hosts", "--json").json["hosts"] if each["name"] == "gpu1"]
    assert found["condition"] == "up", found
    other = desk.ok("run", "-d", "-q", "--host", "gpu1", "--", "true").out.strip()
    assert desk.ended(other)["outcome"] == "succeeded"
    host.docker(
        "kill", "--signal", "USR1", container(host, run_id)
    )  # an exec would be refused a process
    assert desk.ended(run_id)["outcome"] == "succeeded"


def test_a_stage_that_takes_all_memory_is_ended_alone(confined: tuple[Host, Desk]) -> None:
    _, desk = confined
    program = "held = [bytearray(2**20) for _ in range(100_000)]"
    run = desk.run(pipeline(["python3", "-c", program], ', ram = "64MiB"'))
    attempt = stage(run, "a")["attempt"]
    assert attempt["cause"] == "OOM (host)", attempt
    other = desk.ok("run", "-d", "-q", "--host", "gpu1", "--", "true").out.strip()
    assert desk.ended(other)["outcome"] == "succeeded"


def test_a_mount_whose_link_leads_to_docker_is_refused(confined: tuple[Host, Desk]) -> None:
    host, desk = confined
    run = desk.run(pipeline(["true"], more='mounts = ["link"]'))
    attempt = stage(run, "a")["attempt"]
    assert attempt["cause"] == "start failed"
    assert "/srv/link is never mounted into a container" in attempt["detail"]
    assert host.containers_of(run["run_id"]) == []
