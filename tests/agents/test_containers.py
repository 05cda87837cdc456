"""Containers as the agent reads them from a Docker socket."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.model import host_reports
from hostler.model.codec import from_json
from hostler.model.hosts import Look, Workload
from hostler_agent import containers
from hostler_agent.grants import grants, resolve
from hostler_agent.inspected import STARTED_UP, add_start, epoch, workload
from hostler_agent.json_values import Json
from hostler_agent.processes import Proc
from tests.support.daemons.fake_docker import FakeDocker, container, fake_docker, ours
from tests.support.programs.agents import Agent, Place, Talk, eventually, pushed, serving, soonest
from tests.support.programs.fake_nvml import FakeNvml

GPUS = [(0, "GPU-aaaa-0"), (1, "GPU-aaab-1")]


@pytest.fixture
def docker(short_folder: Path) -> Iterator[FakeDocker]:
    """An engine whose socket the agent uses."""
    with fake_docker(short_folder / "d.sock") as engine:
        yield engine


@pytest.fixture
def place(place: Place, docker: FakeDocker) -> Place:
    """The host, with that engine."""
    place.variables["DOCKER_HOST"] = f"unix://{docker.path}"
    return place


@pytest.mark.parametrize("mode", ["serve", "once"])
def test_the_docker_that_is_named_wins_over_the_logins_own(
    place: Place, docker: FakeDocker, mode: str
) -> None:
    docker.put(container(1, labels=ours("a-1")))
    place.variables["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    talk = Talk(place.popen())
    talk.bootstrap()
    talk.send({"mode": mode, "daemon": "d1", "docker_socket": str(docker.path)})
    assert talk.line()["hello"]["docker_socket"] == str(docker.path)
    talk.close()


def test_workloads_of_all_hostlers_are_listed(place: Place, docker: FakeDocker) -> None:
    docker.put(container(1, labels=ours("a-1", gpus="GPU-x,GPU-y")))
    docker.put(container(2, state="exited", exit=137, oom=True, labels=ours("a-2", "d2")))
    docker.put(container(3, state="created", labels=ours("a-3")))
    docker.put(container(4))
    with serving(place) as agent:
        look = from_json(Look, agent.look())
    found = {w.attempt_id: w for w in look.workloads}
    assert sorted(found) == ["a-1", "a-2", "a-3"]
    assert found["a-1"].running
    assert found["a-1"].gpus == ("GPU-x", "GPU-y")
    assert found["a-1"].owner == "alice"
    assert found["a-1"].started_at == pytest.approx(1763992800.123456)
    ended = found["a-2"]
    assert (ended.running, ended.exit_code, ended.oom_killed) == (False, 137, True)
    assert ended.finished_at == pytest.approx(1763993400.5)
    assert ended.daemon_id == "d2"
    assert (found["a-3"].created_only, found["a-3"].exit_code) == (True, None)
    assert look.docker_problem is None


@pytest.mark.parametrize("state", ["running", "created", "exited"])
def test_labels_of_an_image_make_a_container_nobodys(
    place: Place, docker: FakeDocker, state: str
) -> None:
    """Anybody may build an image with our labels: its containers are none of ours, and a GPU that
    one of them has is not free."""
    asks = [{"Driver": "nvidia", "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}]
    made = container(1, state=state, labels=ours("a-1", gpus="GPU-x"), requests=asks)
    docker.put({**made, "Name": "/somebodys"})
    with serving(place) as agent:
        look = from_json(Look, agent.look())
        docker.tell("die", docker.containers[made["Id"]])
        assert from_json(Look, agent.look()).workloads == ()
    assert look.workloads == ()
    assert [found.name for found in look.foreign_containers] == (
        ["somebodys"] if state == "running" else []
    )


def test_the_first_process_of_a_container_tells_since_when_it_runs(tmp_path: Path) -> None:
    """Only where /proc shows that it is of this container: a Docker of another machine or PID
    namespace has other PIDs."""
    ref = "c" * 64
    cgroup = f"0::/system.slice/docker-{ref}.scope\n"
    folder = tmp_path / "77"
    folder.mkdir()
    fields = ["S", *("0" for _ in range(18)), "12345"]
    (folder / "stat").write_text(f"77 (sh) {' '.join(fields)} 0\n")
    (folder / "cgroup").write_text(cgroup)
    for of, ticks in ((ref, 12345), ("d" * 64, None)):
        found: dict[str, Any] = {"State": {"Status": "running", "Pid": 77}}
        add_start(of, found, Proc(str(tmp_path)))
        up = found["State"].get(STARTED_UP)
        assert up == (None if ticks is None else pytest.approx(ticks / os.sysconf("SC_CLK_TCK")))
    states: list[Json] = [None, {}, {"Pid": 0}, {"Pid": "x"}]
    for state in states:
        add_start(ref, {"State": state}, Proc(str(tmp_path)))


def test_a_look_shows_what_was_there_when_it_was_asked(agent: Agent, docker: FakeDocker) -> None:
    agent.look()
    for number in range(1, 6):
        # No event is told: a look asks by itself.
        docker.put(container(number, labels=ours(f"a-{number}")))
        assert len(agent.look()["workloads"]) == number


def test_each_container_is_inspected_once(agent: Agent, docker: FakeDocker) -> None:
    agent.look()
    eventually(lambda: docker.followed)
    docker.put(container(1, labels=ours("a-1")))
    docker.put(container(2, devices=[{"PathOnHost": "/dev/nvidia0"}]), "start")
    eventually(lambda: agent.look()["foreign_containers"])
    for _ in range(3):
        docker.tell("start", container(2))
        agent.look()
    inspected = [r for r in docker.requests if r.endswith("/json") and len(r) > 60]
    assert len(inspected) == 3  # 1 as a workload, and both among all that run
    docker.put(container(1, state="exited", exit=2, labels=ours("a-1")))
    assert agent.look()["workloads"][0]["exit_code"] == 2


def test_a_container_that_lost_its_way_to_its_gpus_is_seen(
    agent: Agent, docker: FakeDocker
) -> None:
    def seen(status: str, code: int) -> bool:
        health = {"Status": status, "Log": [{"ExitCode": code}]}
        docker.put(container(1, labels=ours("a-1", gpus="GPU-x"), health=health))
        (one,) = from_json(Look, agent.look()).workloads
        return one.gpu_cut_off

    assert not seen("healthy", 0)
    assert seen("unhealthy", 1)
    assert not seen("healthy", 0)
    assert not seen("unhealthy", -1)


def test_a_check_that_could_not_be_made_is_asked_for_again(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result changes without a word in Docker's list."""
    monkeypatch.setattr(containers, "HEALTH_EVERY", 0.0)
    docker.put(container(1, labels=ours("a-1"), health=unhealthy(-1)))
    seen = containers.Containers(lambda: None, lambda _: None)
    seen.path = str(docker.path)
    seen._refresh()
    assert "gpu_cut_off" not in seen.work[0]
    docker.put(container(1, labels=ours("a-1"), health=unhealthy(1)))
    seen._refresh()
    assert seen.work[0]["gpu_cut_off"] is True
    seen._disconnect()


def unhealthy(code: int) -> dict[str, Any]:
    return {"Status": "unhealthy", "Log": [{"ExitCode": code}]}


def test_exits_are_pushed_once(agent: Agent, docker: FakeDocker) -> None:
    docker.put(container(1, labels=ours("a-1")), "start")
    assert agent.look()["workloads"][0]["running"]
    eventually(lambda: docker.followed)
    docker.put(container(9, state="exited"), "die")
    docker.put(container(1, state="exited", exit=3, labels=ours("a-1")), "die")
    kind, value = pushed(agent.push())
    assert kind == "exit"
    assert from_json(Workload, value).exit_code == 3
    agent.look()
    assert not agent.pushes


def test_an_exit_while_the_agent_still_asks_around_comes_after_the_hello(
    place: Place, docker: FakeDocker
) -> None:
    docker.hang, docker.hang_at = 1.0, "/info"
    talk = Talk(place.popen())
    talk.bootstrap()
    talk.send({"mode": "serve", "daemon": "d1"})
    eventually(lambda: docker.followed)
    docker.put(container(1, state="exited", exit=3, labels=ours("a-1")), "die")
    assert "hello" in talk.line()
    assert talk.line()["exit"]["exit_code"] == 3
    talk.close()


def test_foreign_containers_with_gpus(agent: Agent, docker: FakeDocker, gpus: FakeNvml) -> None:
    wanted = [{"Driver": "nvidia", "DeviceIDs": ["1"], "Capabilities": [["gpu"]]}]
    agent.look()
    eventually(lambda: docker.followed)
    docker.put(container(1, requests=wanted), "start")
    docker.put(container(2), "start")

    def seen() -> Any:
        return agent.look()["foreign_containers"]

    (foreign,) = eventually(seen)
    assert foreign == {
        "container_id": f"{1:064x}", "name": "box-1", "image": "busybox",
        "gpus": [gpus.gpus[1].uuid],
    }  # fmt: skip


def test_a_claim_asks_docker_anew(agent: Agent, docker: FakeDocker, gpus: FakeNvml) -> None:
    claim = {
        "gpus": [gpus.gpus[0].uuid], "attempt_id": "a-1", "daemon_id": "d1", "owner": "me",
        "memory_floor": 1 << 30, "ignore": [],
    }  # fmt: skip
    wanted = [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]]}]
    docker.put(container(1, requests=wanted))
    assert "container box-1 (busybox) was given it" in agent.ask("claim", claim)["refused"]
    docker.containers.clear()
    assert agent.ask("claim", claim)["lease_ids"]


def test_what_docker_lists_after_its_removal_is_not_there(
    agent: Agent, docker: FakeDocker, gpus: FakeNvml
) -> None:
    """Neither as work nor as what holds a GPU, though it was seen before and looks no different."""
    claim = {
        "gpus": [gpus.gpus[0].uuid], "attempt_id": "a-1", "daemon_id": "d1", "owner": "me",
        "memory_floor": 1 << 30, "ignore": [],
    }  # fmt: skip
    wanted = [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]]}]
    ours_, other = container(1, labels=ours("b-1")), container(2, requests=wanted)
    docker.put(ours_)
    docker.put(other)
    assert [w["attempt_id"] for w in agent.look()["workloads"]] == ["b-1"]
    assert "box-2" in agent.ask("claim", claim)["refused"]
    ours_["Name"] = other["Name"] = ""
    assert agent.look()["workloads"] == []
    assert agent.ask("claim", claim)["lease_ids"]


def test_a_docker_that_hangs_holds_nobody_up(agent: Agent, docker: FakeDocker) -> None:
    agent.look()
    docker.hang = 60.0
    began = time.monotonic()
    look = agent.look()
    assert time.monotonic() - began < 30  # not the minute that it hangs
    assert look["docker_problem"] == "Docker does not answer"
    assert soonest(agent.look) < 0.5
    claim = {"gpus": [look["gpus"][0]["uuid"]], "daemon_id": "d", "owner": "o"}
    assert "Docker does not answer" in agent.ask("claim", claim)["refused"]
    docker.hang = 0.0
    eventually(lambda: agent.look()["docker_problem"] is None)


def test_a_container_whose_start_takes_long_hides_nothing(agent: Agent, docker: FakeDocker) -> None:
    starting = docker.put(container(1, state="created", labels=ours("a-1", gpus="GPU-x")))
    docker.hang, docker.hang_at = 60.0, f"/containers/{starting}/"  # Docker holds its lock
    look = agent.look()
    assert look["docker_problem"] is None
    (shown,) = look["workloads"]
    assert (shown["attempt_id"], shown["gpus"], shown["owner"]) == ("a-1", ["GPU-x"], "alice")
    assert shown["created_only"]
    assert not shown["running"]
    docker.hang = 0.0


def test_docker_comes_and_goes(place: Place, docker: FakeDocker) -> None:
    docker.close()
    with serving(place) as agent:
        assert "Docker is not running" in agent.look()["docker_problem"]
        assert agent.first["hello"]["facts"]["runtimes"] == ["process"]
        with fake_docker(docker.path) as again:
            again.put(container(1, labels=ours("a-1")))
            look = agent.look()
            assert look["docker_problem"] is None
            assert len(look["workloads"]) == 1
        assert "Docker is not running" in agent.look()["docker_problem"]


def test_a_docker_that_is_silent_when_the_agent_greets_is_there(
    place: Place, docker: FakeDocker
) -> None:
    docker.hang = 60.0
    with serving(place) as agent:
        facts = agent.first["hello"]["facts"]
        assert facts["runtimes"] == ["docker", "process"]
        assert facts.get("docker") is None
        docker.hang = 0.0


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")
def test_a_login_that_may_not_use_docker(place: Place, docker: FakeDocker, tmp_path: Path) -> None:
    from hostler_agent.containers import Containers

    os.chmod(docker.path, 0o600)
    os.chmod(docker.path.parent, 0o755)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setuid(50_000)
            os.environ["DOCKER_HOST"] = f"unix://{docker.path}"
            containers = Containers(lambda: None, lambda workload: None)
            containers.start(events=False)
            containers.refresh()
            eventually(lambda: containers.ready(time.monotonic()))
            said = "may not use Docker" in str(containers.problem)
            status = 0 if said and not containers.usable() else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_facts(place: Place, docker: FakeDocker) -> None:
    docker.info = {"Runtimes": {"nvidia": {}}, "LiveRestoreEnabled": False}
    with serving(place) as agent:
        facts = agent.first["hello"]["facts"]
        assert (facts["docker"], facts["docker_gpu"]) == ("28.1.0", "nvidia")
        assert facts["runtimes"] == ["docker", "process"]
        checks = {c["check"]: c for c in agent.ask("doctor")["checks"]}
        assert checks["live-restore"]["state"] == "warn"
        assert "live-restore" in checks["live-restore"]["remedy"]
        assert checks["docker-gpu"]["state"] == "ok"
        assert all(c["remedy"] for c in checks.values() if c["state"] != "ok")


def test_labels_of_others_do_not_spoil_a_look(agent: Agent, docker: FakeDocker) -> None:
    docker.put(container(1, labels=ours("a-1")))
    docker.put(container(2, labels=ours("bad id \ud800", "d\n1", gpus="GPU-x y,,\0")))
    docker.put(container(3, labels=ours("a-3", gpus=",".join(f"GPU-{n}" for n in range(500)))))
    found = agent.look()["workloads"]
    assert [w["attempt_id"] for w in found] == ["a-1", "a-3"]
    assert len(found[1]["gpus"]) == 64


@given(st.dictionaries(st.sampled_from(sorted(ours(""))), st.text(max_size=300)))
def test_any_labels_give_a_workload_that_can_be_read_or_none(labels: dict[str, str]) -> None:
    found = workload(container(1, labels={**ours("a-1"), **labels}))
    if found is not None:
        assert host_reports.workload(json.loads(json.dumps(found)), "work").attempt_id


@pytest.mark.parametrize(
    ("inspect", "expected"),
    [
        ({"requests": [{"Driver": "nvidia", "DeviceIDs": ["GPU-aaaa"]}]}, ["GPU-aaaa-0"]),
        ({"requests": [{"Count": -1, "Capabilities": [["gpu"]]}]}, ["GPU-aaaa-0", "GPU-aaab-1"]),
        ({"requests": [{"Count": 1, "Capabilities": [["gpu", "utility"]]}]}, ["GPU-aaaa-0"]),
        ({"requests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=1"]}]}, ["GPU-aaab-1"]),
        (
            {"requests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all", "x.com/y=0"]}]},
            ["GPU-aaaa-0", "GPU-aaab-1"],
        ),
        ({"requests": [{"Driver": "amd", "DeviceIDs": ["0"]}]}, []),
        ({"requests": [{"Driver": "nvidia", "DeviceIDs": ["GPU-gone"]}]}, ["GPU-gone"]),
        ({"devices": [{"PathOnHost": "/dev/nvidia1"}, {"PathOnHost": "/dev/nvidiactl"}]},
         ["GPU-aaab-1"]),
        ({"env": ["NVIDIA_VISIBLE_DEVICES=all"]}, []),
        ({"env": ["NVIDIA_VISIBLE_DEVICES=0,1"], "runtime": "nvidia"},
         ["GPU-aaaa-0", "GPU-aaab-1"]),
        ({"env": ["NVIDIA_VISIBLE_DEVICES=void"], "runtime": "nvidia"}, []),
        ({"requests": [{"Driver": "nvidia", "DeviceIDs": ["GPU-<b>"]}]}, []),
    ],
)  # fmt: skip
def test_which_gpus_a_container_was_given(inspect: dict[str, Any], expected: list[str]) -> None:
    assert resolve(grants(container(1, **inspect)), GPUS) == expected


def test_nvidia_as_the_default_runtime() -> None:
    item = container(1, env=["NVIDIA_VISIBLE_DEVICES=all"], runtime="")
    assert grants(item, "nvidia") == ("all",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-11-24T14:00:00Z", 1763992800.0),
        ("2025-11-24T15:00:00.25+01:00", 1763992800.25),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
    ],
)
def test_dockers_times(text: str | None, expected: float | None) -> None:
    assert epoch(text) == expected


def test_an_answer_of_another_form_blinds_the_agent_only_while_it_lasts(
    agent: Agent, docker: FakeDocker
) -> None:
    docker.put(container(1, labels=ours("a-1")))
    assert agent.look()["docker_problem"] is None
    docker.odd = [3]
    assert "cannot be read" in agent.look()["docker_problem"]
    docker.odd = None
    look = agent.look()
    assert look["docker_problem"] is None
    assert [each["attempt_id"] for each in look["workloads"]] == ["a-1"]


def test_something_else_behind_the_socket(place: Place, docker: FakeDocker) -> None:
    docker.close()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(docker.path))
        listening.listen()
        with serving(place) as agent:
            number = agent.post("look")
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-x\n")
            assert agent.answer(number)["trouble"]["docker"]
