"""The Docker runtime against a real dockerd."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import tarfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from hostler.base.errors import EngineError, InputError, Unreachable
from hostler.model.hosts import Workload
from hostler.model.jobs import Job, Mount, Placement
from hostler.runtimes.docker.engine import Engine
from hostler.runtimes.docker.options import DEFAULT_PATH, volume_name
from hostler.runtimes.docker.runtime import DockerRuntime
from tests.core.runtimes.support import (
    MemorySink,
    make_job,
    may_raise_limits,
    see_that_the_id_counts,
    silent,
)
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import Dockerd


async def run(runtime: DockerRuntime, link: DirectLink, job: Job) -> tuple[Workload, str]:
    """Create, start, follow to the end; the ended workload and its output."""
    ref = await runtime.create(link, job, silent)
    workload = await runtime.start(link, job, ref)
    sink = MemorySink()
    await runtime.follow(link, workload, sink)
    ended = await runtime.inspect(link, ref)
    assert ended is not None
    return ended, sink.data.decode()


async def test_a_stage_runs_as_the_person_and_ends(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    job = make_job('id; pwd; echo "$HOME $USER"; touch x .hostler/home/y; echo out >&2; exit 3')
    ended, output = await run(runtime, link, job)
    said = output.replace("out\n", "", 1)  # stdout and stderr: which comes first is open
    assert said == "uid=1234 gid=1235 groups=1235,1300\n/work\n/work/.hostler/home anna\n"
    assert said != output
    assert (ended.exit_code, ended.signal, ended.running, ended.oom_killed) == (
        3,
        None,
        False,
        False,
    )
    assert ended.attempt_id == job.attempt_id
    assert ended.daemon_id == job.daemon_id
    assert ended.owner == "anna"
    assert ended.started_at is not None
    assert ended.finished_at is not None
    # dockerd stamps the start, containerd the end: of a very short stage they may cross.
    assert -1 < ended.finished_at - ended.started_at < 20
    await runtime.remove(link, ended)
    await runtime.remove(link, ended)
    assert await runtime.inspect(link, ended.ref) is None


async def test_a_container_is_confined(runtime: DockerRuntime, link: DirectLink) -> None:
    job = make_job("cat /proc/self/status; echo [$NVIDIA_VISIBLE_DEVICES][$CUDA_VISIBLE_DEVICES]")
    ended, output = await run(runtime, link, job)
    assert "NoNewPrivs:\t1" in output
    assert "CapBnd:\t0000000000000000" in output
    assert "[void][]" in output
    await runtime.remove(link, ended)


async def test_programs_that_a_stage_installs_are_found(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    job = make_job(
        'mkdir -p "$HOME/.local/bin"; echo "echo mine" > "$HOME/.local/bin/tool"; '
        'chmod +x "$HOME/.local/bin/tool"; tool; echo "$PATH $HOSTLER_GPU_COUNT $HOSTLER_CPUS"'
    )
    ended, output = await run(runtime, link, job)
    assert output == f"mine\n{DEFAULT_PATH}:/work/.hostler/home/.local/bin 0 1\n"
    await runtime.remove(link, ended)


async def test_memory_may_be_locked_and_the_stack_is_large(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    """Where Docker may raise limits, which not every machine of tests lets it."""
    ended, output = await run(runtime, link, make_job("ulimit -l; ulimit -s"))
    if may_raise_limits():
        assert output.split() == ["unlimited", "65536"]
    else:
        assert "unlimited" not in output.split()[:1]
    await runtime.remove(link, ended)


async def test_a_docker_that_refuses_limits_gets_none(
    runtime: DockerRuntime, link: DirectLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one inside a container does: the start is begun again, without them."""
    real = Engine.start

    async def start(engine: Engine, ref: str) -> None:
        found: Any = await engine.inspect(ref)
        if found["HostConfig"]["Ulimits"]:
            said = "error setting rlimit type 8: operation not permitted"
            raise EngineError("here", f"starting {ref[:12]}: {said}", status=500)
        await real(engine, ref)

    monkeypatch.setattr(Engine, "start", start)
    job = make_job("echo ran", raise_limits=True)
    with pytest.raises(Unreachable, match="starts without them"):
        await run(runtime, link, job)
    ended, output = await run(runtime, link, job)
    assert output == "ran\n"
    await runtime.remove(link, ended)


@pytest.mark.parametrize(
    "said",
    [
        """command 'ulimit' was not found in the image""",
        """starting abc: failed to create shim task: OCI runtime create failed: chdir to cwd """
        """("/work/error setting rlimit") set in config.json failed: not a directory""",
        "starting abc: failed to create shim task: OCI runtime create failed: runc create failed: "
        "unable to start container process: exec /work/setrlimit: permission denied",
    ],
)
async def test_a_stages_own_words_take_no_limits_away_from_others(
    runtime: DockerRuntime, link: DirectLink, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """Names that a stage chooses stand in what Docker says of it."""

    async def start(engine: Engine, ref: str) -> None:
        raise EngineError("here", said, status=400)

    monkeypatch.setattr(Engine, "start", start)
    for _ in range(2):
        job = make_job("true", raise_limits=True)
        ref = await runtime.create(link, job, silent)
        found: Any = await (await runtime._engine(link)).inspect(ref)
        assert found["HostConfig"]["Ulimits"]
        with pytest.raises(EngineError):
            await runtime.start(link, job, ref)
        workload = await runtime.inspect(link, ref)
        assert workload is not None
        await runtime.remove(link, workload)


async def test_create_and_start_may_be_repeated(runtime: DockerRuntime, link: DirectLink) -> None:
    job = make_job("echo once >> count; cat count; exec sleep 100")
    ref = await runtime.create(link, job, silent)
    fresh = await runtime.inspect(link, ref)
    assert fresh is not None
    assert fresh.created_only
    assert fresh.started_at is None
    assert await runtime.create(link, job, silent) == ref
    other = DockerRuntime(lambda digest: Path("/nonexistent"))  # as after a restart of the daemon
    assert await other.create(link, job, silent) == ref
    assert (await other.start(link, job, ref)).running
    assert (await other.start(link, job, ref)).running
    assert await other.create(link, job, silent) == ref
    running = await other.start(link, job, ref)
    sink = MemorySink()
    following = asyncio.create_task(other.follow(link, running, sink))
    async with asyncio.timeout(60):
        while not sink.data:  # stopped before, it would have begun nothing
            await asyncio.sleep(0.01)
    await other.stop(link, running, 0.0)
    await following
    ended = await other.start(link, job, ref)
    assert not ended.running
    sink = MemorySink()
    await other.follow(link, ended, sink)
    assert sink.data == b"once\n"
    await other.remove(link, ended)
    await other.close()


async def test_somebody_elses_container_of_that_name_is_left_alone(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    job = make_job("true")
    stranger = dataclasses.replace(job, daemon_id="d" * 8 + "e" * 24)
    ref = await runtime.create(link, stranger, silent)
    with pytest.raises(EngineError, match="does not belong to this attempt") as caught:
        await runtime.create(link, job, silent)
    assert caught.value.status == 409
    found = await runtime.inspect(link, ref)
    assert found is not None
    await runtime.remove(link, found)


async def test_stop_asks_then_insists(runtime: DockerRuntime, link: DirectLink) -> None:
    polite = make_job("trap 'echo bye; exit 7' TERM; echo up; while true; do sleep 0.05; done")
    stubborn = make_job("trap '' TERM; echo up; while true; do sleep 0.05; done")
    codes = []
    for job in (polite, stubborn):
        ref = await runtime.create(link, job, silent)
        workload = await runtime.start(link, job, ref)
        await _says(runtime, link, workload, b"up")
        await runtime.stop(link, workload, 0.5 if job is stubborn else 20.0)
        await runtime.stop(link, workload, 0.5)
        ended = await runtime.inspect(link, ref)
        assert ended is not None
        codes.append((ended.running, ended.exit_code, ended.signal))
        await runtime.remove(link, ended)
        await runtime.stop(link, ended, 0.5)
    assert codes == [(False, 7, None), (False, 137, 9)]


async def _says(runtime: DockerRuntime, link: DirectLink, workload: Workload, word: bytes) -> None:
    """Until the container's output holds `word`."""
    sink = MemorySink()
    task = asyncio.create_task(runtime.follow(link, workload, sink))
    async with asyncio.timeout(20):
        while word not in sink.data:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_out_of_memory_is_told(runtime: DockerRuntime, link: DirectLink) -> None:
    # Docker hears of it only if the container has outlived its start; the agent knows the others.
    job = make_job(
        "until [ -e go ]; do sleep 0.01; done; exec tail -c 200m /dev/zero", ram=32 * 1024**2
    )
    ref = await runtime.create(link, job, silent)
    workload = await runtime.start(link, job, ref)
    await (await runtime._engine(link)).put_archive(ref, "/work", _tar({"go": b""}))
    await runtime.follow(link, workload, MemorySink())
    ended = await runtime.inspect(link, ref)
    assert ended is not None
    assert ended.oom_killed
    assert (ended.exit_code, ended.signal) == (137, 9)
    await runtime.remove(link, ended)


def _tar(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _store(folder: Path, data: bytes) -> Placement:
    digest = hashlib.sha256(data).hexdigest()
    (folder / digest).write_bytes(data)
    return Placement(digest=digest, size=len(data), target="")


async def test_archives_are_there_and_belong_to_the_person(
    runtime: DockerRuntime, link: DirectLink, tmp_path: Path
) -> None:
    source = _store(tmp_path, _tar({"a/train.py": b"print(1)"}))
    small = dataclasses.replace(_store(tmp_path, _tar({"s": b"2"})), target="inputs/small")
    big = dataclasses.replace(
        _store(tmp_path, _tar({"b": b"x" * 2 * 1024**2})), target="inputs/big"
    )
    line = "cat a/train.py inputs/small/s; stat -c '%u:%g %n' a/train.py inputs/*/* inputs a"
    job = make_job(line, placements=(source, small, big))
    ended, output = await run(runtime, link, job)
    assert output.startswith("print(1)2")
    assert output.count("1234:1235") == 5, output
    assert "inputs/big/b" in output
    assert list(link.blobs) == [big.digest]
    await runtime.remove(link, ended)


async def test_checkpoints_outlive_the_container_and_nameless_volumes_do_not(
    runtime: DockerRuntime, link: DirectLink, dockerd: Dockerd
) -> None:
    key = f"key{uuid.uuid4().hex[:6]}"
    first = make_job(
        "echo 41 > $HOSTLER_CHECKPOINT/step", checkpoint="out/ckpt", checkpoint_key=key
    )
    ended, _ = await run(runtime, link, first)
    assert ended.exit_code == 0
    await runtime.remove(link, ended)
    second = make_job("cat out/ckpt/step", checkpoint="out/ckpt", checkpoint_key=key)
    ended, output = await run(runtime, link, second)
    assert output == "41\n"
    # The container, which may be kept, still uses it: it stays, and is not told as removed.
    keep = {*await checkpoints_of(runtime, link, second)} - {key}
    assert await runtime.sweep(link, second.daemon_id, keep) == 0
    await runtime.remove(link, ended)
    client = docker.APIClient(base_url=dockerd.url, version="auto")
    try:
        volume = client.inspect_volume(volume_name(second))
        assert volume["Labels"]["hostler.checkpoint"] == key
        assert await runtime.sweep(link, second.daemon_id, keep, True) == 1
        assert await runtime.sweep(link, second.daemon_id, keep) == 1
        with pytest.raises(docker.errors.NotFound):
            client.inspect_volume(volume_name(second))
    finally:
        client.close()


async def checkpoints_of(runtime: DockerRuntime, link: DirectLink, job: Job) -> list[str]:
    """Keys of all of them: other tests use the same Docker."""
    engine = await runtime._engine(link)
    return [*(await engine.checkpoints(job.daemon_id)).values()]


async def test_mounts_are_checked_and_read_only(
    runtime: DockerRuntime, link: DirectLink, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "set").write_text("numbers")
    seen = {"path": str(data), "exists": True, "is_dir": True, "shared": False}
    link.answers["stat"] = {"paths": [seen]}
    line = f"cat {data}/set; touch {data}/new"
    job = make_job(line, mounts=(Mount(str(data)),), uid=0, gid=0)
    ended, output = await run(runtime, link, job)
    assert "numbers" in output
    assert "Read-only file system" in output
    assert link.calls == [("stat", {"paths": [str(data)]})]
    await runtime.remove(link, ended)
    link.answers["stat"] = {"paths": [{"path": "/gone", "exists": False}]}
    with pytest.raises(EngineError, match="/gone does not exist on here"):
        await runtime.create(link, make_job("true", mounts=(Mount("/gone"),)), silent)
    with pytest.raises(InputError, match="never mounted"):
        await runtime.create(link, make_job("true", mounts=(Mount("/var/run"),)), silent)
    leads = {"path": "/data", "real": "/run", "exists": True, "is_dir": True}
    link.answers["stat"] = {"paths": [leads]}
    with pytest.raises(InputError, match=r"/data is never mounted .*leads to /run"):
        await runtime.create(link, make_job("true", mounts=(Mount("/data"),)), silent)


async def test_a_folder_of_the_host_appears_at_the_path_that_the_stage_names(
    runtime: DockerRuntime, link: DirectLink, tmp_path: Path
) -> None:
    """Also below a folder that the image does not have, and not at its own path."""
    (tmp_path / "set").write_text("numbers")
    seen = {"path": str(tmp_path), "exists": True, "is_dir": True, "shared": False}
    link.answers["stat"] = {"paths": [seen]}
    mounts = (
        Mount(str(tmp_path), target="/no/such/cache"),
        Mount(str(tmp_path), read_only=False, target="/output"),
    )
    line = f"cat /no/such/cache/set; ls {tmp_path}; touch /no/such/cache/a; echo made > /output/b"
    ended, output = await run(runtime, link, make_job(line, mounts=mounts, uid=0, gid=0))
    assert "numbers" in output
    assert "No such file" in output
    assert "Read-only file system" in output
    assert (tmp_path / "b").read_text() == "made\n"
    await runtime.remove(link, ended)


async def test_a_link_that_is_changed_after_the_look_leads_nowhere_else(
    runtime: DockerRuntime, link: DirectLink, tmp_path: Path
) -> None:
    for name in ("data", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "words").write_text(name)
    named = tmp_path / "named"
    named.symlink_to(tmp_path / "data")
    seen = {"path": str(named), "real": str(tmp_path / "data"), "exists": True, "shared": False}
    link.answers["stat"] = {"paths": [seen]}
    job = make_job(f"cat {named}/words", mounts=(Mount(str(named)),), uid=0, gid=0)
    await runtime.create(link, job, silent)
    named.unlink()
    named.symlink_to(tmp_path / "secret")
    ended, output = await run(runtime, link, job)
    assert output == "data"
    await runtime.remove(link, ended)


async def test_refusals_name_cause_and_remedy(runtime: DockerRuntime, link: DirectLink) -> None:
    missing = make_job("true", image="127.0.0.1:9/nothing:1")
    with pytest.raises(EngineError, match="cannot reach the registry") as caught:
        await runtime.create(link, missing, silent)
    assert "docker save" in caught.value.remedy
    job = make_job("", command=("no-such-program",), shell=False)
    ended, output = await run(runtime, link, job)
    assert ended.exit_code == 127
    assert "no-such-program" in output
    await runtime.remove(link, ended)
    gpus = make_job("true", gpus=("GPU-1",), gpu_access="nvidia")
    ref = await runtime.create(link, gpus, silent)
    with pytest.raises(EngineError, match="no way to give GPUs to containers"):
        await runtime.start(link, gpus, ref)
    left = await runtime.inspect(link, ref)
    assert left is not None
    assert left.gpus == ("GPU-1",)
    assert left.created_only
    assert left.exit_code not in (None, 0)
    assert left.error
    await runtime.remove(link, left)


async def test_the_images_digest_is_its_id_where_no_registry_knows_it(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    await see_that_the_id_counts(runtime, link, make_job("true"))
    assert await runtime.image_digest(link, "0" * 64) is None


async def test_no_answer_is_silence_not_a_verdict(tmp_path: Path) -> None:
    runtime, link = DockerRuntime(lambda digest: tmp_path), DirectLink(tmp_path / "no.sock")
    workload = Workload("a", "d", "docker", "0" * 64, running=True)
    with pytest.raises(Unreachable):
        await runtime.create(link, make_job("true"), silent)
    with pytest.raises(Unreachable):
        await runtime.follow(link, workload, MemorySink())
    await runtime.close()


async def test_a_container_that_is_gone_has_no_log(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    workload = Workload("a", "d", "docker", "0" * 64, running=True)
    with pytest.raises(EngineError) as caught:
        await runtime.follow(link, workload, MemorySink())
    assert caught.value.status == 404
