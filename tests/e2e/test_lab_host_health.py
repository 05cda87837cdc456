"""Hosts whose Docker answers and starts nothing: containerd is really killed, NVIDIA's hook really
fails. They swallow no run, and take work again once they are mended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, desk_folder, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(400)]

HEAD = f'name = "t"\n[defaults]\nimage = "{BUSYBOX}"\nshell = true\n'
CONTAINERD = "/usr/bin/containerd"
HOOK = "/usr/bin/nvidia-container-runtime-hook"


@pytest.fixture
def desk(clean_lab: Lab) -> Iterator[Desk]:
    """Somebody at work on all hosts."""
    with desk_folder() as folder:
        desk = Desk.at_lab(clean_lab, folder)
        yield desk
        desk.close()


@pytest.fixture
def gpu1(clean_lab: Lab) -> Iterator[Host]:
    """A host that is whole again afterwards."""
    host = clean_lab.host("gpu1")
    yield host
    _put_back(host)


def attempts(run: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(a["host"], a["cause"]) for a in stage(run, "a")["attempts"]]


def one(gpus: int, host: str | None = None) -> str:
    where = f', host = "{host}"' if host else ""
    return f'{HEAD}[stages.a]\ncommand = "true"\nresources = {{ gpus = {gpus}{where} }}\n'


def alerts(desk: Desk) -> list[str]:
    listed = desk.ok("alerts", "--json").json["alerts"]
    told = [a for a in listed if a["host"] == "gpu1" and a["resolved_at"] is None]
    return [a["what"] for a in told if "starts no" in a["what"]]


def until_alerts(desk: Desk, number: int) -> None:
    """Until so many alerts of gpu1 are open."""
    wait_until(lambda: len(alerts(desk)) == number, f"{number} alerts are open")


def test_a_host_whose_containerd_is_killed_swallows_no_run(
    clean_lab: Lab, desk: Desk, gpu1: Host
) -> None:
    for host in clean_lab.hosts:  # all are heard, and work
        assert desk.run(one(0, host.name))["outcome"] == "succeeded"
    # Without its file dockerd cannot start it again, as it does after a while.
    gpu1.exec(["sh", "-c", f"mv {CONTAINERD} {CONTAINERD}.off; kill -9 $(pidof containerd)"])
    assert gpu1.docker_answers()
    runs = [desk.submit(one(1)) for _ in range(8)]
    tried = [each for run_id in runs for each in attempts(_succeeded(desk, run_id))]
    faults = [each for each in tried if each[1] is not None]
    assert set(faults) <= {("gpu1", "host fault")}
    waits = desk.submit(one(1, "gpu1"))
    desk.until(waits, lambda run: ("gpu1", "host fault") in attempts(run))
    wait_until(lambda: "containerd on gpu1 does not answer at /" in desk.why(waits), "it says why")
    until_alerts(desk, 1)
    _put_back(gpu1)
    desk.ok("undrain", "gpu1")
    _succeeded(desk, waits)
    until_alerts(desk, 0)


def test_where_the_hook_for_gpus_fails_containers_without_gpus_go_on(
    clean_lab: Lab, desk: Desk, gpu1: Host
) -> None:
    broken = f"mv {HOOK} {HOOK}.off; printf '#!/bin/sh\\necho no driver >&2\\nexit 1\\n' > {HOOK}"
    gpu1.exec(["sh", "-c", f"{broken}; chmod +x {HOOK}"])
    waits = desk.submit(one(1, "gpu1"))
    run = desk.until(waits, lambda run: ("gpu1", "host fault") in attempts(run))
    assert "NVIDIA's hook on gpu1 fails: no driver" in stage(run, "a")["attempts"][0]["detail"]
    assert attempts(_succeeded(desk, desk.submit(one(0, "gpu1")))) == [("gpu1", None)]
    until_alerts(desk, 1)
    assert alerts(desk)[0].startswith("gpu1 starts no containers with GPUs")
    gpu1.exec(["mv", f"{HOOK}.off", HOOK])
    # Nobody says so: the stage that waits finds it out by itself.
    wait_until(lambda: desk.show(waits)["outcome"] == "succeeded", "it is found mended", 90)
    until_alerts(desk, 0)


def test_a_full_disk_is_the_hosts_and_a_missing_program_is_not(
    clean_lab: Lab, desk: Desk, gpu1: Host
) -> None:
    assert desk.run(one(0, "gpu1"))["outcome"] == "succeeded"
    gpu1.fill_disk()
    try:
        waits = desk.submit(one(0, "gpu1"))
        desk.until(waits, lambda run: ("gpu1", "host fault") in attempts(run))
    finally:
        gpu1.unfill_disk()
    desk.ok("undrain", "gpu1")
    _succeeded(desk, waits)
    until_alerts(desk, 0)
    bad = f'{HEAD}workdir = "/etc/hostname"\n[stages.a]\ncommand = "true"\n'
    assert desk.run(bad)["outcome"] == "failed"
    assert alerts(desk) == [], desk.ok("events").out


def _put_back(host: Host) -> None:
    for path in (CONTAINERD, HOOK):
        host.exec(["sh", "-c", f"[ ! -e {path}.off ] || mv {path}.off {path}"])
    host.kill_docker()
    host.start_docker()


def _succeeded(desk: Desk, run_id: str) -> dict[str, Any]:
    run = desk.ended(run_id, timeout=120)
    ends = [(a["host"], a["cause"], a["detail"]) for a in stage(run, "a")["attempts"]]
    assert run["outcome"] == "succeeded", ends
    return run
