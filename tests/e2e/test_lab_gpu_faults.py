"""GPUs that fail on real hosts: out of placement at once, back by a probe, nothing restarted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from hostler.model.views.gpus import GpuView
from tests.chaos.trouble import agent_pids, stage_on, until_condition
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX, PYTHON
from tests.support.machines.desk import Desk, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(300)]

NOTICE_S = 5.0


def gpus(desk: Desk, host: str) -> list[GpuView]:
    """The host's GPUs as `hostler gpus` has them, by index."""
    (row,) = [each for each in desk.gpus() if each["host"] == host]
    return list(row["gpus"])


def states(desk: Desk, host: str) -> list[str]:
    """One word for each of the host's GPUs."""
    return [str(gpu["state"]) for gpu in gpus(desk, host)]


def until_states(desk: Desk, host: str, wanted: list[str], within: float) -> None:
    """Wait until the host's GPUs are in these states. The last command's own time is on top."""
    last: list[str] = []

    def there() -> bool:
        last[:] = states(desk, host)
        return last == wanted

    begun = time.monotonic()
    wait_until(there, f"{host}: {wanted}", 60, every=0.1)
    assert time.monotonic() - begun < within, f"{wanted} took too long"


def all_up(lab: Lab, desk: Desk) -> dict[str, list[int]]:
    """Wait until every host is up; the agents' processes."""
    for host in lab.hosts:
        until_condition(desk, host.name, "up")
    return {host.name: agent_pids(host, desk) for host in lab.hosts}


def test_gpus_that_fail_are_out_of_placement_and_come_back(clean_lab: Lab, desk: Desk) -> None:
    """On gpu1 one is lost and two have fatal XIDs; programs on the last one only have their own."""
    panel, agents = clean_lab.host("gpu1").gpus, all_up(clean_lab, desk)
    assert states(desk, "gpu1") == ["free"] * 4
    panel.lose(0)
    # The driver tells of no fault in the moment in which a lost GPU has spoilt the waiting for all.
    until_states(desk, "gpu1", ["unhealthy"] + ["free"] * 3, NOTICE_S + 1)
    for index, xid in ((1, 48), (2, 79), (3, 13), (3, 31), (3, 43), (3, 45)):
        panel.xid(index, xid)
    # The daemon's own clock counts; asking takes a second where much else runs.
    until_states(desk, "gpu1", ["unhealthy"] * 3 + ["free"], NOTICE_S + 1)
    why = " / ".join(str(gpu["why"]) for gpu in gpus(desk, "gpu1")[:3])
    assert "lost" in why
    assert "XID 48" in why
    assert "XID 79" in why
    assert desk.hostler("gpus", "--need", "2", "--host", "gpu1").code == 3
    run = desk.run(stage_on("gpu1", "true"))
    assert stage(run, "only")["attempt"]["gpus"] == [panel.uuids[3]]
    panel.recover(0)
    # A probe has to find the others well for ten seconds; the lost one never said it was ill.
    until_states(desk, "gpu1", ["free"] * 4, 40)
    taken = desk.run(stage_on("gpu1", "true").replace("gpus = 1", "gpus = 4"))
    assert taken["outcome"] == "succeeded"
    assert {h.name: agent_pids(h, desk) for h in clean_lab.hosts} == agents, "nothing restarted"
    assert clean_lab.referee_overlaps() == []


@pytest.mark.skipif(
    not Path("/sys/fs/cgroup/devices").exists(),
    reason="what gives containers their GPUs in the lab needs cgroup 1",
)
def test_a_container_that_loses_its_way_to_its_gpu_is_found_while_it_runs(
    clean_lab: Lab, desk: Desk
) -> None:
    """As after `systemctl daemon-reload`; the GPU itself is well. Busybox alone cannot tell: its
    `test` does not ask the kernel."""
    run_id = desk.submit(stage_on("gpu1", "sleep 600").replace(BUSYBOX, PYTHON))
    desk.until(run_id, lambda run: stage(run, "only")["status"] == "running")
    _see_that_it_is_well(clean_lab, desk, run_id)
    clean_lab.host("gpu1").revoke_gpus()

    def trouble() -> str:
        return str(stage(desk.show(run_id), "only")["trouble"] or "")

    # Docker asks every half minute.
    wait_until(lambda: "hostler doctor gpu1" in trouble(), "it is found", 90, every=1.0)
    assert "hostler doctor gpu1" in desk.ok("why", run_id).out
    wait_until(lambda: "gpu_cut_off" in desk.ok("events", "--json").out, "it is told")
    assert run_id in desk.ok("alerts").out
    assert sorted(states(desk, "gpu1")) == ["free"] * 3 + ["leased"]
    kill_container = "docker ps -q --filter label=hostler.attempt | xargs docker kill -s KILL"
    clean_lab.host("gpu1").exec(["sh", "-c", kill_container])
    ended = stage(desk.ended(run_id), "only")["attempt"]
    assert ended["cause"] == "GPU lost"
    assert "hostler doctor gpu1" in ended["detail"]


def _see_that_it_is_well(lab: Lab, desk: Desk, run_id: str) -> None:
    """While it may open its GPU it is healthy, by the `test` of Debian's coreutils in a device
    cgroup in which only what NVIDIA's hook allowed may be opened."""
    host = lab.host("gpu1")
    (ref,) = host.docker("ps", "-q", "--filter", "label=hostler.attempt").split()

    def checks() -> list[int]:
        found = json.loads(host.docker("inspect", "--format", "{{json .State.Health}}", ref))
        return [check["ExitCode"] for check in found["Log"] or ()]

    wait_until(lambda: len(checks()) > 0, "Docker has asked", 60, every=1.0)
    assert set(checks()) == {0}
    host.docker("exec", ref, "/usr/bin/test", "-c", "/dev/nvidiactl", "-a", "-r", "/dev/nvidiactl")
    assert "unhealthy" not in host.docker("ps", "-a", "--filter", f"id={ref}")
    assert stage(desk.show(run_id), "only")["trouble"] is None
    assert run_id not in desk.ok("alerts").out


def test_a_gpu_that_hangs_or_is_cut_in_parts_costs_the_others_nothing(
    clean_lab: Lab, desk: Desk
) -> None:
    gpu2, gpu3 = clean_lab.host("gpu2"), clean_lab.host("gpu3")
    gpu2.gpus.set(1, mig=1)
    gpu3.gpus.set(0, compute_mode=2)
    agents = all_up(clean_lab, desk)
    wait_until(lambda: states(desk, "gpu2")[1] == "unhealthy", "MIG is seen")
    assert "MIG" in str(gpus(desk, "gpu2")[1]["why"])
    wait_until(lambda: states(desk, "gpu3")[0] == "unhealthy", "its compute mode is seen")
    assert "compute mode Prohibited" in str(gpus(desk, "gpu3")[0]["why"])
    gpu2.gpus.set(0, hang=600.0)
    wait_until(lambda: states(desk, "gpu2")[0] not in ("free", "idle"), "it is seen to hang")
    for load in (41, 83):
        gpu2.gpus.set(2, utilization=load)
        wait_until(
            lambda: gpus(desk, "gpu2")[2]["utilization"] == load,  # noqa: B023
            "the others are read",
        )
    for host in ("gpu2", "gpu3"):
        run = desk.run(stage_on(host, "true"))
        assert run["outcome"] == "succeeded"
        usable = {"gpu2": gpu2.gpus.uuids[2:], "gpu3": gpu3.gpus.uuids[1:]}[host]
        assert stage(run, "only")["attempt"]["gpus"][0] in usable
    assert desk.hostler("gpus", "--need", "3", "--host", "gpu2").code != 0
    assert {h.name: agent_pids(h, desk) for h in clean_lab.hosts} == agents, "nothing restarted"
