"""The agent beside a real dockerd: what the scripted one of other tests only plays."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hostler.model.codec import from_json
from hostler.model.hosts import Look
from hostler_agent import wire
from hostler_agent.processes import Proc
from tests.support.daemons.fake_docker import ours
from tests.support.machines.dockerd import IMAGE, Dockerd, why_not
from tests.support.programs.agents import Place, eventually, pushed, serving, transfer


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    """A running dockerd with the test image; skips where it cannot run."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    engine = Dockerd()
    engine.start()
    engine.load_image()
    yield engine
    engine.stop()


@pytest.fixture
def client(dockerd: Dockerd) -> Iterator[Any]:
    """The SDK's low-level client."""
    import docker

    made = docker.APIClient(base_url=dockerd.url, version="auto")
    yield made
    for found in made.containers(all=True):
        made.remove_container(found["Id"], force=True)
    made.close()


def _create(client: Any, attempt: str, command: str, **more: Any) -> str:
    made = client.create_container(
        IMAGE, ["sh", "-c", command], labels=ours(attempt, gpus="GPU-x"), working_dir="/work",
        user="1000:1000", host_config=client.create_host_config(network_mode="none"),
        name=f"hostler-d1-{attempt}", **more,
    )  # fmt: skip
    return str(made["Id"])


def test_from_created_to_exited(place: Place, dockerd: Dockerd, client: Any) -> None:
    place.variables["DOCKER_HOST"] = dockerd.url
    with serving(place) as agent:
        facts = agent.first["hello"]["facts"]
        assert facts["docker"] == client.version()["Version"]
        ref = _create(client, "a-1", "exit 42")
        created = from_json(Look, agent.look()).workloads[0]
        assert (created.ref, created.created_only, created.exit_code) == (ref, True, None)
        before = time.time()
        client.start(ref)
        kind, value = pushed(agent.push())
        assert (kind, value["ref"], value["exit_code"]) == ("exit", ref, 42)
        ended = from_json(Look, agent.look()).workloads[0]
        assert ended.started_at is not None
        assert ended.finished_at is not None
        # dockerd stamps the start, containerd the end: of a very short one they may cross.
        assert before - 1 < ended.started_at < ended.finished_at + 1 < time.time() + 2
        client.remove_container(ref)
        assert agent.look()["workloads"] == []


def test_out_of_memory_at_once_is_told(place: Place, dockerd: Dockerd, client: Any) -> None:
    place.variables["DOCKER_HOST"] = dockerd.url
    limits = client.create_host_config(network_mode="none", mem_limit=32 << 20)
    with serving(place) as agent:
        agent.look()
        made = client.create_container(
            IMAGE,
            ["tail", "-c", "200m", "/dev/zero"],
            labels=ours("a-1"),
            host_config=limits,
            name="hostler-d1-a-1",
        )
        assert agent.look()["workloads"][0]["created_only"]
        client.start(made["Id"])
        kind, value = pushed(agent.push())
        assert (kind, value["exit_code"], value["oom_killed"]) == ("exit", 137, True)
        assert agent.look()["workloads"][0]["oom_killed"]


def test_a_running_process_is_traced_to_its_container(
    place: Place, dockerd: Dockerd, client: Any, gpus: Any
) -> None:
    place.variables["DOCKER_HOST"] = dockerd.url
    with serving(place) as agent:
        ref = _create(client, "a-1", "sleep 300")
        client.start(ref)
        pid = client.inspect_container(ref)["State"]["Pid"]
        eventually(lambda: _sleeps(pid))
        gpus.set(0, processes=[f"{pid}:100"], used=100)
        process = from_json(Look, agent.look()).gpus[0].processes[0]
        assert process.container_id == ref
        assert process.command is not None
        assert "sleep 300" in process.command


def _sleeps(pid: int) -> bool:
    """Whether a shell has become `sleep` or has begun it: before, its command may be unreadable."""
    proc = Proc()
    is_sleep = (proc.command(pid) or "").startswith("sleep ")
    return is_sleep or any(proc.state(child)[1] == pid for child in proc.pids())


def test_place_and_archive(place: Place, dockerd: Dockerd, client: Any) -> None:
    place.variables["DOCKER_HOST"] = dockerd.url
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo("in/data")
        info.size = 300_000
        tar.addfile(info, io.BytesIO(os.urandom(300_000)))
    data = made.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    with transfer(place, op="blob.put", digest=digest, size=len(data)) as bulk:
        bulk.result()
        bulk.write(wire.frame(data) + wire.END)
        assert bulk.result() == {"ok": True}
    script = "stat -c %u:%g in/data > out && wc -c < in/data >> out"
    # As the Docker runtime does: the working folder is there, and the user's, before archives come.
    ref = _create(client, "a-1", script)
    folder = io.BytesIO()
    with tarfile.open(fileobj=folder, mode="w") as tar:
        info = tarfile.TarInfo("work")
        info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, 0o755, 1000, 1000
        tar.addfile(info)
    client.put_archive(ref, "/", folder.getvalue())
    fields = {"runtime": "docker", "ref": ref, "attempt_id": "a-1"}
    with transfer(place, op="place", digest=digest, path="", **fields) as bulk:
        assert bulk.result() == {"ok": True}
    client.start(ref)
    assert client.wait(ref)["StatusCode"] == 0
    with transfer(place, op="archive", path="out", offset=0, **fields) as bulk:
        got, (end,) = bulk.data()
    assert end["size"] == len(got)
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        content = tar.extractfile("out")
        assert content is not None
        assert content.read().split() == [b"1000:1000", b"300000"]
    with transfer(place, op="archive", path="out", offset=len(got) - 100, **fields) as bulk:
        assert bulk.data()[0] == got[-100:]


def test_dockerd_is_killed_and_comes_back(place: Place, dockerd: Dockerd, client: Any) -> None:
    place.variables["DOCKER_HOST"] = dockerd.url
    with serving(place) as agent:
        _create(client, "a-1", "true")
        assert len(agent.look()["workloads"]) == 1
        dockerd.kill()
        assert agent.look()["docker_problem"]
        dockerd.start()
        eventually(lambda: agent.look()["docker_problem"] is None)
        assert len(agent.look()["workloads"]) == 1


def _volume(client: Any, attempt: str, command: str) -> str:
    """A container as the Docker runtime makes it: with an init, and a volume for its checkpoint."""
    mount = {"Type": "volume", "Source": "hostler-test-ckpt", "Target": "/work/ckpt"}
    host = client.create_host_config(network_mode="none", init=True)
    made = client.create_container(
        IMAGE, ["sh", "-c", command], labels=ours(attempt), working_dir="/work",
        name=f"hostler-d1-{attempt}", host_config={**host, "Mounts": [mount]},
    )  # fmt: skip
    return str(made["Id"])


def test_a_container_is_warned_and_its_checkpoint_seen(
    place: Place, dockerd: Dockerd, client: Any
) -> None:
    place.variables["DOCKER_HOST"] = dockerd.url
    trap = "trap 'echo 1 > ckpt/step; exit 0' USR1; echo ready; while :; do sleep 0.1; done"
    with serving(place) as agent:
        ref = _volume(client, "a-1", trap)
        client.start(ref)
        eventually(lambda: b"ready" in client.logs(ref))
        ask = {"ref": ref, "attempt_id": "a-1", "signal": "USR1", "to": "command"}
        answer = agent.ask("container.warn", ask)
        assert (len(answer["sent"]), answer["problem"]) == (1, ""), answer
        assert client.wait(ref)["StatusCode"] == 0
        assert agent.ask("container.warn", ask)["problem"] == "it does not run"
        ended = from_json(Look, agent.look()).workloads[0]
        began = ended.started_at
        assert began is not None
        seen = {"ref": ref, "attempt_id": "a-1", "path": "ckpt", "until": ended.finished_at}
        answer = agent.ask("container.checkpoint", {**seen, "since": began})
        assert answer["newest"] >= began
        answer = agent.ask("container.checkpoint", {**seen, "since": began + 3600})
        assert answer["newest"] < began + 3600
        agent.ask("kept.forget", {"attempt_id": "a-1"})
        assert not (place.base / "warned" / "a-1").exists()


def test_what_does_not_catch_it_in_a_container_gets_none(
    place: Place, dockerd: Dockerd, client: Any
) -> None:
    place.variables["DOCKER_HOST"] = dockerd.url
    with serving(place) as agent:
        ref = _volume(client, "a-1", "sleep 300; true")
        client.start(ref)
        ask = {"ref": ref, "attempt_id": "a-1", "signal": "USR1", "to": "command"}
        answer = agent.ask("container.warn", ask)
        assert answer["sent"] == []
        assert "sh" in [each["name"] for each in answer["deaf"]]
        assert client.inspect_container(ref)["State"]["Running"]
