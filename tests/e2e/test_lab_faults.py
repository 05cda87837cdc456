"""What goes wrong in a lab, and what must hold all the same."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_lab_recover import let_go
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, desk_folder, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(400)]

DOCKER_AWAY_S = 8.0
HEAD = f'name = "t"\n[defaults]\nimage = "{BUSYBOX}"\nshell = true\n'


def containers(lab: Lab, host: str) -> list[str]:
    said = lab.host(host).exec(["docker", "ps", "-aq", "--filter", "label=hostler.attempt"])
    return str(said.stdout).split()


def test_a_gpu_that_somebody_uses_by_hand_is_avoided_and_named(clean_lab: Lab, desk: Desk) -> None:
    for host in clean_lab.hosts:
        for index in range(4):
            if (host.name, index) != ("gpu3", 1):
                host.foreign(index, "cleo", 3000)
    free = clean_lab.host("gpu3").gpus.uuids[1]
    run = desk.run(HEAD + '[stages.a]\ncommand = "true"\nresources = { gpus = 1 }\n')
    assert stage(run, "a")["attempt"]["gpus"] == [free]
    waiting = desk.submit(HEAD + '[stages.a]\ncommand = "true"\nresources = { gpus = 2 }\n')
    desk.until(waiting, lambda r: stage(r, "a")["reason"] is not None)
    assert "cleo" in desk.ok("why", waiting).out
    desk.ok("cancel", waiting, "-y")
    assert "cleo" in desk.ok("gpus").out


def test_a_gpu_that_is_taken_by_hand_before_the_start_is_left_alone(
    clean_lab: Lab, desk: Desk
) -> None:
    gpu1 = clean_lab.host("gpu1")
    # As an image that takes long: between the claim and the start there is time.
    desk.more_env = {"HOSTLER_FAILPOINTS": "after_create:hang=8"}
    run_id = desk.submit(
        HEAD
        + """
[stages.a]
command = "true"
resources = { host = "gpu1", gpus = 4 }
"""
    )
    desk.more_env = {}
    wait_until(lambda: bool(containers(clean_lab, "gpu1")), "the container is made", every=0.1)
    stranger = gpu1.foreign(2, "cleo", 3000)
    run = desk.until(run_id, lambda r: stage(r, "a")["attempts"][0]["cause"] is not None)
    first = stage(run, "a")["attempts"][0]
    assert first["cause"] == "not started"
    assert "GPU 2: in use by cleo" in first["detail"]
    wait_until(lambda: not containers(clean_lab, "gpu1"), "what was made is removed")
    assert clean_lab.grants() == []
    stranger.stop()
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded"
    assert {a["cause"] for a in stage(run, "a")["attempts"]} == {"not started", None}


def test_a_gpu_is_free_again_only_when_its_memory_is_back(clean_lab: Lab, desk: Desk) -> None:
    panel = clean_lab.host("gpu1").gpus
    run_id = desk.submit(
        HEAD
        + """
[stages.a]
command = "while [ ! -e go ]; do sleep 0.2; done"
resources = { host = "gpu1", gpus = 1 }
"""
    )
    run = desk.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    (uuid,) = stage(run, "a")["attempt"]["gpus"]
    index = panel.uuids.index(uuid)
    panel.set(index, memory_used=9000)
    let_go(clean_lab, f"{run_id}-a-1")
    desk.ended(run_id)

    def state() -> tuple[str, str]:
        gpu = next(g for host in desk.gpus() for g in host["gpus"] if g["uuid"] == uuid)
        return gpu["state"], str(gpu["why"])

    assert state()[0] != "free"
    assert "memory" in state()[1] or run_id in state()[1]
    panel.set(index, memory_used=0)
    wait_until(lambda: state()[0] == "free", "the GPU is free again")


def test_a_killed_daemon_comes_back_to_running_work(clean_lab: Lab, desk: Desk) -> None:
    lines = 3000
    run_id = desk.submit(
        HEAD
        + f"""
[stages.a]
command = '''
i=0
while [ $i -lt {lines} ]; do
  echo line $i
  i=$((i+1))
  [ $((i%100)) = 0 ] && sleep 0.1
done
mkdir out
echo done > out/x
'''
resources = {{ gpus = 1 }}
outputs = {{ o = "out" }}
[stages.b]
command = "cat inputs/i/x"
inputs = {{ i = "a.o" }}
"""
    )
    before = desk.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    for _ in range(3):
        desk.kill_daemon()
        again = desk.show(run_id)
        assert stage(again, "a")["attempt"]["attempt_id"] == f"{run_id}-a-1"
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded"
    assert len(stage(run, "a")["attempts"]) == 1
    assert stage(run, "a")["attempt"]["gpus"] == stage(before, "a")["attempt"]["gpus"]
    log = desk.ok("logs", run_id, "--stage", "a", "--raw").out
    assert log == "".join(f"line {i}\n" for i in range(lines))
    assert desk.ok("logs", run_id, "--stage", "b").out == "done\n"
    assert len([g for g in clean_lab.grants() if g.gpus]) == 1
    wait_until(lambda: all(not containers(clean_lab, h.name) for h in clean_lab.hosts), "clean")


def test_a_rebooted_host_is_told_from_a_failed_stage(clean_lab: Lab, desk: Desk) -> None:
    run_id = desk.submit(
        HEAD
        + """
[stages.a]
command = "test $HOSTLER_ATTEMPT_NUMBER = 2 || sleep 600"
resources = { host = "gpu2", gpus = 1 }
retries = { max = 1, on = ["host rebooted"], backoff = "1ms" }
"""
    )
    desk.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    clean_lab.host("gpu2").reboot()
    run = desk.ended(run_id)
    assert [a["cause"] for a in stage(run, "a")["attempts"]] == ["host rebooted", None]
    assert run["outcome"] == "succeeded"


def docker_is_away(desk: Desk, host: str) -> bool:
    """Whether Hostler says that Docker does not answer there."""
    (row,) = [each for each in desk.gpus() if each["host"] == host]
    return "docker" in str(row["problem"]).lower()


def offered(desk: Desk, host: str) -> set[str]:
    """The GPUs of a host that Hostler calls free."""
    (row,) = [each for each in desk.gpus() if each["host"] == host]
    return {gpu["uuid"] for gpu in row["gpus"] if gpu["state"] == "free"}


def test_a_restart_of_docker_is_told_from_a_failed_stage(clean_lab: Lab, desk: Desk) -> None:
    run_id = desk.submit(
        HEAD
        + """
[stages.a]
command = "test $HOSTLER_ATTEMPT_NUMBER = 2 || sleep 600"
resources = { host = "gpu2", gpus = 1 }
retries = { max = 1, on = ["ended by docker restart"], backoff = "1ms" }
"""
    )
    desk.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    gpu2 = clean_lab.host("gpu2")
    gpu2.kill_docker()
    back_at = time.monotonic() + DOCKER_AWAY_S
    wait_until(lambda: docker_is_away(desk, "gpu2"), "Docker is seen to be away")
    on_gpu2 = 'command = "true"\nresources = {{ host = "gpu2", gpus = {gpus} }}\n'
    one = on_gpu2.format(gpus=1)
    waiting = desk.submit(f'{HEAD}[stages.b]\n{one}[stages.p]\nruntime = "process"\n{one}')
    # What needs no GPU needs no Docker either. Which GPUs containers hold, nobody can say.
    assert desk.run(f'name = "c"\n[stages.c]\n{on_gpu2.format(gpus=0)}')["outcome"] == "succeeded"
    desk.until(waiting, lambda r: all("Docker" in str(s["reason"]) for s in r["stages"]))
    while time.monotonic() < back_at:
        assert docker_is_away(desk, "gpu2")
        assert offered(desk, "gpu2") == set()
        assert desk.hostler("gpus", "--need", "1", "--host", "gpu2").code == 4
        assert stage(desk.show(run_id), "a")["status"] == "running"
        time.sleep(0.5)
    assert not any(s["attempts"] for s in desk.show(waiting)["stages"])
    desk.kill_daemon()
    wait_until(lambda: docker_is_away(desk, "gpu2"), "the next daemon finds no Docker")
    assert offered(desk, "gpu2") == set()
    gpu2.start_docker()
    run = desk.ended(run_id)
    assert desk.ended(waiting)["outcome"] == "succeeded"
    causes = [a["cause"] for a in stage(run, "a")["attempts"]]
    assert causes == ["ended by docker restart", None]
    assert "live-restore" in stage(run, "a")["attempts"][0]["detail"]


def test_two_peoples_daemons_never_share_a_gpu(clean_lab: Lab, desk: Desk) -> None:
    placements = int(os.environ.get("HOSTLER_TEST_PLACEMENTS", "40"))
    with desk_folder() as folder:
        other = Desk.at_lab(clean_lab, folder, user="bo")
        for person in (desk, other):
            text = person.config.read_text()
            person.config.write_text(text[: text.index("[hosts.gpu2]")])
        try:
            runs = [(p, p.submit(_many(placements // 2))) for p in (desk, other)]
            for person, run_id in runs:
                run = person.ended(run_id, timeout=400)
                assert run["outcome"] == "succeeded", person.hostler("events").out[-2000:]
        finally:
            other.close()
    assert clean_lab.referee_overlaps() == []
    assert len([g for g in clean_lab.grants() if g.gpus]) == placements


def _many(count: int) -> str:
    return (
        HEAD
        + f"""
[stages.a]
command = "true"
matrix = {{ n = [{", ".join(str(n) for n in range(count))}] }}
resources = {{ gpus = 1 }}
"""
    )


@pytest.fixture(scope="module")
def poor_lab() -> Iterator[Lab]:
    """Hosts that lack what others take for granted."""
    from tests.support.machines.labfixture import need_lab, own_name

    need_lab()
    lab = Lab.up(
        4,
        name=own_name("p"),
        owned=True,
        without={"gpu1": {"docker"}, "gpu2": {"python3"}, "gpu3": {"nvml"}},
    )
    yield lab
    lab.down()


@pytest.fixture
def poor_desk(poor_lab: Lab) -> Iterator[Desk]:
    with desk_folder() as folder:
        person = Desk.at_lab(poor_lab, folder)
        yield person
        person.close()


def test_hosts_that_lack_something_say_what_and_take_what_they_can(
    poor_lab: Lab, poor_desk: Desk
) -> None:
    desk = poor_desk
    said = desk.hostler("doctor")
    assert said.code == 3
    # A machine without an NVIDIA driver is no fault: it takes work without GPUs.
    for host, word, state in (
        ("gpu1", "docker", "warn"),
        ("gpu2", "python", "fail"),
        ("gpu3", "nvml", "ok"),
    ):
        lines = [x for x in said.out.lower().splitlines() if host in x and word in x]
        assert any(x.startswith(state) for x in lines), (host, said.out)
    run = desk.run(
        HEAD
        + """
[stages.container]
command = "true"
resources = { gpus = 1 }
[stages.on-cpu]
command = "true"
resources = { host = "gpu3" }
""",
        timeout=60,
    )
    assert stage(run, "container")["attempt"]["host"] == "gpu4"
    assert run["outcome"] == "succeeded"
    run = desk.run(
        'name = "p"\n[stages.p]\ncommand = "true"\nresources = { gpus = 1, host = "gpu1" }\n'
    )
    assert run["outcome"] == "succeeded"
    for host, gpus in (("gpu2", 0), ("gpu3", 1)):
        wanted = f'resources = {{ host = "{host}", gpus = {gpus} }}'
        refused = desk.submit(HEAD + f'[stages.a]\ncommand = "true"\n{wanted}\n')
        desk.until(refused, lambda r: stage(r, "a")["reason"] is not None)
        assert host in desk.ok("why", refused).out
        desk.ok("cancel", refused, "-y")


def test_gpus_with_a_dead_host_shows_the_others(clean_lab: Lab, desk: Desk) -> None:
    clean_lab.host("gpu2").cut()
    seen: dict[str, dict[str, Any]] = {}

    def the_others_answer() -> bool:
        # On a busy machine a living host may miss the deadline once; the dead one does each time.
        said = desk.ok("gpus", "--json").json
        assert said["source"] == "direct"
        seen.update({h["host"]: h for h in said["hosts"]})
        assert seen["gpu2"]["condition"] == "unreachable"
        assert seen["gpu2"]["problem"]
        return all(len(seen[name]["gpus"]) == 4 for name in ("gpu1", "gpu3"))

    wait_until(the_others_answer, "the living hosts are shown")
    assert all(gpu["state"] == "free" for gpu in seen["gpu1"]["gpus"])
    assert not Path(desk.state / "hostler.sock").exists(), "gpus must start nothing"
