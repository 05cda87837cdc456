"""Both runtimes with the real agent on this machine, from the first blob to the last output."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from hostler.base.errors import EngineError
from hostler.base.secret import Secret
from hostler.base.units import GIB, MIB
from hostler.link.agent_link import AgentLink
from hostler.model.jobs import GivenSecret, Job, Mount, Placement
from hostler.model.time_limits import Warn, Warned
from hostler.ports import HostLink, Runtime
from hostler.runtimes.collect import collect_output
from hostler.runtimes.docker.engine import Engine
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.runtimes.process.runtime import ProcessRuntime
from hostler.store.content import ContentStore
from hostler_agent.json_values import Message
from tests.core.runtimes.support import MemorySink, make_job, shares_a_loop, silent
from tests.support.machines.dockerd import IMAGE, Dockerd
from tests.support.values.metricsfile import last_values, read_metrics

pytestmark = shares_a_loop


def _blob(content: ContentStore, folder: Path, files: Mapping[str, bytes]) -> Placement:
    made = folder / "made.tar"
    with tarfile.open(made, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    size = made.stat().st_size
    return Placement(content.adopt(made), size, "")


_LINE = """
set -e
cat code.txt inputs/big/seed
echo '{"step": 1, "loss": 0.5}' >> "$HOSTLER_METRICS"
echo state >> "$HOSTLER_CHECKPOINT/step"
mkdir -p out/model
cp inputs/big/data out/model/weights
printf '{"loss": 0.25}' >> "$HOSTLER_METRICS"
wc -l < ckpt/step
"""


async def _whole_life(
    link: HostLink, runtime: Runtime, content: ContentStore, tmp_path: Path, image: str | None
) -> None:
    code = _blob(content, tmp_path, {"code.txt": b"code\n"})
    data = bytes(3 * MIB)
    big = _blob(content, tmp_path, {"seed": b"seed\n", "data": data})
    placements = (code, dataclasses.replace(big, target="inputs/big"))
    line = _LINE.replace("cp ", "cat < ").replace(" out/model/weights", " > out/model/weights")
    for number, lines in ((1, "1"), (2, "2")):
        changes = {} if image is None else {"image": image}
        job = make_job(
            line, placements=placements, checkpoint="ckpt", checkpoint_key="run-train",
            **({"image": None} | changes),
        )  # fmt: skip
        ref = await runtime.create(link, job, silent)
        assert await runtime.create(link, job, silent) == ref
        workload = await runtime.start(link, job, ref)
        sink = MemorySink()
        await runtime.follow(link, workload, sink)
        ended = await runtime.inspect(link, ref)
        assert ended is not None
        assert (ended.exit_code, ended.running) == (0, False), sink.data
        assert sink.data.decode().split() == ["code", "seed", lines], number
        points = await read_metrics(link, job.attempt_id, runtime.name, ref)
        assert last_values(points) == {"loss": 0.25}
        assert [point.step for point in points] == [1, None]
        output = await collect_output(link, ended, "out/model", content, GIB)
        with tarfile.open(content.path(output.digest)) as tar:
            weights = tar.extractfile("weights")
            assert weights is not None
            assert hashlib.sha256(weights.read()).digest() == hashlib.sha256(data).digest()
        await runtime.remove(link, ended)
        assert await runtime.inspect(link, ref) is None
        await runtime.remove(link, ended)


async def test_a_process(agent: AgentLink, content: ContentStore, tmp_path: Path) -> None:
    await _whole_life(agent, ProcessRuntime(content.path), content, tmp_path, None)


async def test_a_container(
    agent: AgentLink, content: ContentStore, tmp_path: Path, dockerd: Dockerd
) -> None:
    runtime = DockerRuntime(content.path)
    await _whole_life(agent, runtime, content, tmp_path, "hostler-test:1")
    await runtime.close()


_SAVES = "trap 'echo s > ckpt/step; exit 0' USR1; echo ready; while :; do sleep 0.1; done"


@pytest.mark.parametrize("image", [None, IMAGE], ids=["process", "container"])
async def test_a_stage_is_warned_once_and_its_new_checkpoint_is_seen(
    agent: AgentLink, content: ContentStore, stages: DockerRuntime, image: str | None
) -> None:
    runtime: Runtime = stages if image is not None else ProcessRuntime(content.path)
    job = make_job(_SAVES, image=image, checkpoint="ckpt", checkpoint_key="run-saves")
    workload = await runtime.start(agent, job, await runtime.create(agent, job, silent))
    sink = MemorySink()
    following = asyncio.create_task(runtime.follow(agent, workload, sink))
    while b"ready" not in sink.data:
        await asyncio.sleep(0.02)
    asked = [runtime.warn(agent, workload, Warn("USR1", 60.0)) for _ in range(2)]
    first, again = [await each for each in asked]
    assert (len(first.sent), first.denied, first.problem) == (1, (), "")
    assert again in (first, Warned(problem="it does not run"))
    await following
    ended = await runtime.inspect(agent, workload.ref)
    assert ended is not None
    assert ended.exit_code == 0
    seen = await runtime.checkpoint(agent, ended, "ckpt/", None)
    assert seen.problem == ""
    assert seen.newest is not None
    assert ended.started_at is not None
    assert seen.newest >= ended.started_at - 1.0  # Docker tells whole seconds
    await runtime.remove(agent, ended)


async def test_a_mount(agent: AgentLink, content: ContentStore, tmp_path: Path) -> None:
    """The agent says how the folder is mounted, so that Docker takes the bind."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("there")
    runtime = DockerRuntime(content.path)
    job = make_job(f"cat {tmp_path}/data/x", uid=0, gid=0, mounts=(Mount(str(tmp_path / "data")),))
    ref = await runtime.create(agent, job, silent)
    workload = await runtime.start(agent, job, ref)
    sink = MemorySink()
    await runtime.follow(agent, workload, sink)
    assert sink.data == b"there"
    await runtime.remove(agent, workload)
    await runtime.close()


_SECRETS = (
    GivenSecret("TOKEN", Secret("two\nlines 'q' é\n")),
    GivenSecret("KEY_FILE", Secret("only-a-file"), as_variable=False),
)
_SHOW = 'cd "$HOSTLER_SECRETS"; printf "[%s][%s]" "$TOKEN" "$KEY_FILE"; cat TOKEN KEY_FILE; cd /; '
_SHOWN = "[two\nlines 'q' é\n][]two\nlines 'q' é\nonly-a-file"


async def _secrets_told(link: HostLink, runtime: Runtime, job: Job) -> tuple[str, list[str]]:
    """The output of a job with secrets, and where its files were while it was there."""
    ref = await runtime.create(link, job, silent)
    workload = await runtime.start(link, job, ref)
    there = [str(path) for path in _places(job)]
    sink = MemorySink()
    await runtime.follow(link, workload, sink)
    ended = await runtime.inspect(link, ref)
    assert ended is not None
    await runtime.remove(link, ended)
    return sink.data.decode(), there


def _places(job: Job) -> list[Path]:
    uid = os.geteuid()
    folders = (Path(f"/run/user/{uid}/hostler-secrets"), Path(f"/dev/shm/hostler-secrets-{uid}"))
    return [folder / job.attempt_id for folder in folders if (folder / job.attempt_id).exists()]


async def test_secrets_of_a_process(agent: AgentLink, content: ContentStore) -> None:
    job = make_job(f"{_SHOW}sleep 0.2", image=None, secrets=_SECRETS)
    told, there = await _secrets_told(agent, ProcessRuntime(content.path), job)
    assert told == _SHOWN
    assert len(there) == 1
    assert _places(job) == []


async def test_secrets_of_a_container(
    agent: AgentLink, content: ContentStore, dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    inspect = Engine.image_config

    async def image_config(engine: Engine, image: str) -> Message | None:
        read.append(image)
        return await inspect(engine, image)

    monkeypatch.setattr(Engine, "image_config", image_config)
    runtime = DockerRuntime(content.path)
    job = make_job(_SHOW, uid=os.geteuid(), gid=os.getegid(), secrets=_SECRETS)
    told, there = await _secrets_told(agent, runtime, job)
    assert told == _SHOWN
    assert len(there) == 1
    assert _places(job) == []
    assert read == [job.image], "an image is read once"
    await runtime.close()


async def test_secrets_of_a_container_stay_when_the_folder_of_its_login_is_emptied(
    agent: AgentLink, content: ContentStore, dockerd: Dockerd, tmp_path: Path
) -> None:
    """As by systemd, when the last session of a login ends: no daemon is connected then."""
    (tmp_path / "data").mkdir()
    runtime = DockerRuntime(content.path)
    mount = Mount(str(tmp_path / "data"))
    own = {"uid": os.geteuid(), "gid": os.getegid(), "mounts": (mount,), "secrets": _SECRETS}
    job = make_job(f"until [ -e {tmp_path}/data/go ]; do sleep 0.05; done; {_SHOW}", **own)
    ref = await runtime.create(agent, job, silent)
    workload = await runtime.start(agent, job, ref)
    (folder,) = _places(job)
    shutil.rmtree(folder)
    (tmp_path / "data/go").touch()
    sink = MemorySink()
    await runtime.follow(agent, workload, sink)
    assert sink.data.decode() == _SHOWN
    await runtime.remove(agent, workload)
    await runtime.close()


async def test_secrets_come_to_a_host_only_after_the_image(
    agent: AgentLink, content: ContentStore, dockerd: Dockerd
) -> None:
    """A pull takes hours, and the host removes files of attempts that have no container."""
    runtime = DockerRuntime(content.path)
    files = tuple(dataclasses.replace(given, as_variable=False) for given in _SECRETS)
    job = make_job("true", image="127.0.0.1:1/none:1", secrets=files)
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1"):
        await runtime.create(agent, job, silent)
    assert _places(job) == []
    await runtime.close()


async def test_an_image_without_sh_takes_secrets_as_files_only(
    agent: AgentLink, content: ContentStore, dockerd: Dockerd
) -> None:
    dockerd.load_image("hostler-noshell:1", ["cat"])
    runtime = DockerRuntime(content.path)
    own = {"image": "hostler-noshell:1", "uid": os.geteuid(), "gid": os.getegid()}
    words = {"command": ("/bin/cat", "/run/secrets/TOKEN"), "shell": False}
    job = make_job("", secrets=_SECRETS, **own, **words)
    with pytest.raises(EngineError, match="has no sh") as refused:
        await runtime.create(agent, job, silent)
    assert "secret_files" in (refused.value.remedy or "")
    assert await runtime.inspect(agent, job.name) is None
    files = tuple(dataclasses.replace(given, as_variable=False) for given in _SECRETS)
    told, _ = await _secrets_told(agent, runtime, make_job("", secrets=files, **own, **words))
    assert told == "two\nlines 'q' é\n"
    await runtime.close()


async def test_a_process_is_stopped(agent: AgentLink, content: ContentStore) -> None:
    runtime = ProcessRuntime(content.path)
    job = make_job("trap '' TERM; echo up; while :; do sleep 0.05; done", image=None)
    ref = await runtime.create(agent, job, silent)
    workload = await runtime.start(agent, job, ref)
    assert (await runtime.start(agent, job, ref)).running
    sink = MemorySink()
    following = asyncio.create_task(runtime.follow(agent, workload, sink))
    while sink.data != b"up\n":  # it hears no TERM from now on
        await asyncio.sleep(0.01)
    await runtime.stop(agent, workload, 0.3)
    await following
    ended = await runtime.inspect(agent, ref)
    assert ended is not None
    assert (ended.running, ended.signal) == (False, 9)
    sink = MemorySink()
    await runtime.follow(agent, ended, sink)
    assert sink.data == b"up\n"
    await runtime.remove(agent, ended)
