"""Files of containers on a real dockerd through the real agent: what has changed, lists, reading
them while the stage runs and after its end, and containers that stay."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from hostler.base.errors import AgentError, ConflictError, HostlerError, InputError, NotFoundError
from hostler.link.agent_link import AgentLink
from hostler.model.files import FileEntry, Select
from hostler.model.hosts import Workload
from hostler.model.jobs import Mount, Placement
from hostler.ports import ArchiveSource
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.store.content import ContentStore
from tests.core.runtimes.support import MemorySink, make_job, shares_a_loop, silent
from tests.support.machines.dockerd import Dockerd

pytestmark = shares_a_loop
ALL = Select()


def snapshot(content: ContentStore, folder: Path, files: Mapping[str, bytes]) -> Placement:
    made = folder / "made.tar"
    with tarfile.open(made, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    size = made.stat().st_size
    return Placement(content.adopt(made), size, "")


class Stage:
    """A stage that was started, and how its files are asked for."""

    def __init__(self, agent: AgentLink, workload: Workload, placed: Placement | None) -> None:
        self.agent, self.workload, self.placed = agent, workload, placed

    def source(self, path: str = "") -> ArchiveSource:
        snapshot = self.placed.digest if self.placed else None
        w = self.workload
        return ArchiveSource(w.attempt_id, "docker", w.ref, path, snapshot=snapshot)

    async def bytes(self, path: str, offset: int = 0) -> bytes:
        stream = self.agent.read_file(self.source(path), offset)
        return b"".join([piece async for piece in stream])


async def started(
    runtime: DockerRuntime,
    agent: AgentLink,
    line: str,
    placed: Placement | None = None,
    **more: Any,
) -> Stage:
    job = make_job(line, placements=(placed,) if placed else (), **more)
    ref = await runtime.create(agent, job, silent)
    return Stage(agent, await runtime.start(agent, job, ref), placed)


async def ran(
    runtime: DockerRuntime,
    agent: AgentLink,
    line: str,
    placed: Placement | None = None,
    **more: Any,
) -> Stage:
    stage = await started(runtime, agent, line, placed, **more)
    sink = MemorySink()
    await runtime.follow(agent, stage.workload, sink)
    ended = await runtime.inspect(agent, stage.workload.ref)
    assert ended is not None
    assert ended.exit_code == 0, sink.data
    stage.workload = ended
    return stage


@contextlib.asynccontextmanager
async def running(
    runtime: DockerRuntime, agent: AgentLink, line: str, **more: Any
) -> AsyncIterator[Stage]:
    """A stage that has done the line and goes on."""
    stage = await started(runtime, agent, f"{line}\necho up; while :; do sleep 0.1; done", **more)
    sink = MemorySink()
    following = asyncio.create_task(runtime.follow(agent, stage.workload, sink))
    while b"up" not in sink.data.splitlines():  # dockerd may log what was on stderr after it
        assert not following.done(), sink.data
        await asyncio.sleep(0.01)
    yield stage
    await runtime.stop(agent, stage.workload, 0.0)
    await following
    await runtime.remove(agent, stage.workload)


def paths(entries: tuple[FileEntry, ...]) -> list[str]:
    return [entry.path for entry in entries]


_MAKES = """
set -e
echo new > model.pt; mkdir -p runs/a; echo x > runs/a/log; dd if=/dev/zero of=runs/z bs=1 count=9
echo more >> changed.py; cat equal.py > o; cat o > equal.py; rm o; touch same.py
mkdir -p .cache/pip env .git node_modules/x; echo 12345 > .cache/pip/c
touch env/pyvenv.cfg .git/HEAD node_modules/x/y; echo lib > env/lib
printf '\\177ELFxx' > core.12; echo text > core; echo s > ckpt/state
"""
_PLACED = {"changed.py": b"a\n", "same.py": b"a\n", "equal.py": b"b\n", "sub/left.py": b"l\n"}


async def _made(
    stages: DockerRuntime, agent: AgentLink, content: ContentStore, folder: Path
) -> Stage:
    placed = snapshot(content, folder, _PLACED)
    stage = await ran(
        stages, agent, _MAKES, placed, checkpoint="ckpt", checkpoint_key="dddddddd-run-stage"
    )
    await agent.put_blob(placed.digest, content.path(placed.digest))
    return stage


async def test_what_is_new_or_changed(
    stages: DockerRuntime, agent: AgentLink, content: ContentStore, tmp_path: Path
) -> None:
    stage = await _made(stages, agent, content, tmp_path)
    found = await agent.changed_files(stage.source(), ALL)
    assert paths(found.files) == ["changed.py", "core", "model.pt", "runs/a/log", "runs/z"]
    assert {entry.path: entry.size for entry in found.files}["runs/z"] == 9
    assert not found.truncated
    assert found.left_out["core files"] == 6
    assert found.left_out["caches"] == 6
    assert "environments" in found.left_out
    skipped = await agent.changed_files(stage.source(), Select(skip=("runs", "model.pt")))
    assert paths(skipped.files) == ["changed.py", "core"]
    named = await agent.changed_files(stage.source(), Select(globs=("*.pt", "env/lib", "runs/*/")))
    assert paths(named.files) == ["env/lib", "model.pt", "runs/a/log", "runs/z"]
    for line in (None, ["runs/z", "changed.py", "gone", "runs", "runs/a/log"]):
        await _check_chosen(stage, line or paths(found.files))
    await stages.remove(agent, stage.workload)


async def _check_chosen(stage: Stage, wanted: list[str]) -> None:
    """The tar of these files, whole and from a byte on, which is the same again."""
    archive = stage.agent.read_archive(stage.source(), 0, wanted)
    whole = b"".join([piece async for piece in archive])
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == sorted(set(wanted) - {"gone", "runs"})
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            assert content.read() == await stage.bytes(member.name)
    rest = stage.agent.read_archive(stage.source(), 600, wanted)
    assert b"".join([piece async for piece in rest]) == whole[600:]


async def test_a_snapshot_that_is_not_cached_is_asked_for(
    stages: DockerRuntime, agent: AgentLink, content: ContentStore, tmp_path: Path
) -> None:
    placed = snapshot(content, tmp_path, {"asked.py": b"for by this test alone\n"})
    stage = await ran(stages, agent, "true", placed)
    with pytest.raises(NotFoundError, match="is not cached here"):
        await agent.changed_files(stage.source(), ALL)
    await agent.put_blob(placed.digest, content.path(placed.digest))
    assert (await agent.changed_files(stage.source(), ALL)).files == ()
    await stages.remove(agent, stage.workload)


async def test_many_files_hard_links_and_names_that_are_no_text(
    stages: DockerRuntime, agent: AgentLink
) -> None:
    line = """
    mkdir many; for i in $(seq 60); do echo $i > many/f$i; done
    echo one > many/a; ln many/a many/b; ln -s a many/l; touch "many/line
break"; echo z > "many/z$(printf '\\377')"
    """
    stage = await ran(stages, agent, line)
    found = await agent.changed_files(stage.source(), ALL)
    sizes = {entry.path: (entry.kind, entry.size) for entry in found.files}
    assert len(sizes) == 65
    assert sizes["many/a"] == sizes["many/b"] == ("file", 4)
    assert sizes["many/l"] == ("link", 0)
    assert "many/line\nbreak" in sizes
    assert sizes["many/z\ufffd"] == ("file", 2)
    archive = agent.read_archive(stage.source(), 0, paths(found.files))
    whole = b"".join([piece async for piece in archive])
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert sorted(tar.getnames()) == sorted(sizes)
        for name, expected in (
            ("many/a", b"one\n"),
            ("many/b", b"one\n"),
            ("many/z\ufffd", b"z\n"),
        ):
            content = tar.extractfile(name)
            assert content is not None
            assert content.read() == expected
        assert tar.getmember("many/l").linkname == "a"
    await stages.remove(agent, stage.workload)


async def test_names_that_are_no_text_are_found_in_a_small_folder_and_alike_ones_are_told(
    stages: DockerRuntime, agent: AgentLink
) -> None:
    line = """
    mkdir one two; echo e > one/"$(printf 'caf\\351')"
    """
    stage = await ran(stages, agent, line)
    found = await agent.changed_files(stage.source(), ALL)
    assert (paths(found.files), found.truncated) == (["one/caf\ufffd"], False)
    archive = agent.read_archive(stage.source(), 0, paths(found.files))
    whole = b"".join([piece async for piece in archive])
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == ["one/caf\ufffd"]
    await stages.remove(agent, stage.workload)
    line += """
    echo a > two/"$(printf '\\350')"; echo b > two/"$(printf '\\351')"
    """
    stage = await ran(stages, agent, line)
    found = await agent.changed_files(stage.source(), ALL)
    assert (paths(found.files), found.truncated) == (["one/caf\ufffd", "two/\ufffd"], True)
    await stages.remove(agent, stage.workload)


async def test_a_file_of_terabytes_of_holes_is_named_and_not_read(
    stages: DockerRuntime, agent: AgentLink
) -> None:
    line = "mkdir d; cd d; dd if=/dev/zero of=big bs=1 count=1 seek=4000G; echo 1 > a; echo 2 > z"
    stage = await ran(stages, agent, line)
    async with asyncio.timeout(110):
        found = await agent.changed_files(stage.source(), ALL)
        assert paths(found.files) == ["d/a", "d/big", "d/z"]
        assert found.files[1].size > 4000 * 1024**3
        archive = agent.read_archive(stage.source(), 0, ["d/a", "d/z"])
        whole = b"".join([piece async for piece in archive])
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == ["d/a", "d/z"]
    await stages.remove(agent, stage.workload)


async def test_folders_without_end_are_cut(stages: DockerRuntime, agent: AgentLink) -> None:
    line = "echo 1 > top; i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done; touch f"
    stage = await ran(stages, agent, line)
    found = await agent.changed_files(stage.source(), ALL)
    assert "top" in paths(found.files)
    assert "folders that are too deep" in found.left_out
    listed = await agent.list_files(stage.source(), recursive=True)
    assert "top" in paths(listed.entries)
    await stages.remove(agent, stage.workload)


async def test_lists_and_files_of_an_ended_one(stages: DockerRuntime, agent: AgentLink) -> None:
    stage = await ran(
        stages, agent, "mkdir -p a/b; echo 1 > a/b/c; ln -s /etc a/out; echo 22 > top; ln -s top l"
    )
    found = await agent.list_files(stage.source("a"), recursive=False)
    assert [(e.path, e.kind) for e in found.entries] == [("b", "folder"), ("out", "link")]
    deep = await agent.list_files(stage.source("a"), recursive=True)
    assert paths(deep.entries) == ["b", "b/c", "out"]
    one = await agent.list_files(stage.source("a/b/c"), recursive=False)
    assert [(e.path, e.size) for e in one.entries] == [("c", 2)]
    assert await stage.bytes("top") == b"22\n"
    assert await stage.bytes("a/b/c", 1) == b"\n"
    wrong: list[tuple[str, type[HostlerError], str]] = [
        ("no", NotFoundError, "there is no no"), ("a", InputError, "not a plain file"),
        ("l", InputError, "is a link"), ("a/out/passwd", AgentError, "is a link"),
    ]  # fmt: skip
    for path, error, words in wrong:
        with pytest.raises(error, match=words):
            await stage.bytes(path)
    await stages.remove(agent, stage.workload)


async def test_lists_and_files_while_it_runs(stages: DockerRuntime, agent: AgentLink) -> None:
    line = """
    mkdir -p a/b .dot; echo 1 > a/b/c; echo 2 > .dot/h; ln -s a/b/c last; echo 22 > -n
    dd if=/dev/urandom of=big bs=100000 count=30; mkdir secret; chmod 0 secret
    touch "line
break" "z$(printf '\\377')"
    """
    async with running(stages, agent, line) as stage:
        found = await agent.list_files(stage.source(), recursive=True)
        kinds = {e.path: e.kind for e in found.entries}
        assert kinds["a/b/c"] == kinds["-n"] == kinds["line\nbreak"] == kinds["z\ufffd"] == "file"
        assert kinds[".dot"] == kinds["secret"] == "folder"
        assert (kinds[".dot/h"], kinds["last"]) == ("file", "link")
        flat = await agent.list_files(stage.source("a"), recursive=False)
        assert [(e.path, e.kind) for e in flat.entries] == [("b", "folder")]
        one = await agent.list_files(stage.source("-n"), recursive=False)
        assert [(e.path, e.size) for e in one.entries] == [("-n", 3)]
        stream = agent.read_file(stage.source("big"), 1_000_000)
        data = b"".join([piece async for piece in stream])
        assert (stream.size, len(data)) == (3_000_000, 2_000_000)
        whole = await stage.bytes("big")
        assert whole[1_000_000:] == data
        assert stream.sha256 == hashlib.sha256(whole).hexdigest()
        assert await stage.bytes("last") == b"1\n"
        wrong: list[tuple[str, type[HostlerError], str]] = [
            ("no", NotFoundError, "there is no no"), ("a", InputError, "not a plain file"),
            ("secret/x", NotFoundError, "there is no secret/x"),
        ]  # fmt: skip
        for path, error, words in wrong:
            with pytest.raises(error, match=words):
                await stage.bytes(path)
        with pytest.raises(ConflictError, match="still runs"):
            await agent.changed_files(stage.source(), ALL)


async def test_a_running_stage_shows_nothing_that_it_may_not_read_itself(
    stages: DockerRuntime, agent: AgentLink, tmp_path: Path
) -> None:
    theirs = tmp_path / "lab" / "alice"
    theirs.mkdir(parents=True, mode=0o700)
    (theirs / "key").write_text("secret")
    for folder in (tmp_path, tmp_path / "lab"):
        folder.chmod(0o755)
    line = f"ln -s {theirs}/key key; ln -s {theirs} folder"
    async with running(stages, agent, line, mounts=(Mount(str(tmp_path / "lab")),)) as stage:
        with pytest.raises(NotFoundError):
            await stage.bytes("key")
        with pytest.raises(HostlerError):
            await agent.list_files(stage.source("folder"), recursive=True)


async def test_a_reader_that_goes_away_leaves_no_process_in_the_stage(
    stages: DockerRuntime, agent: AgentLink, dockerd: Dockerd
) -> None:
    client = docker.APIClient(base_url=dockerd.url, version="auto")
    line = "dd if=/dev/zero of=big bs=1000000 count=60"
    async with running(stages, agent, line) as stage:

        def reads() -> bool:
            rows = client.top(stage.workload.ref)["Processes"]
            return any(row[-1].startswith("cat") for row in rows)

        stream = agent.read_file(stage.source("big"))
        assert await anext(stream)
        assert reads()
        await stream.aclose()
        async with asyncio.timeout(90):
            while reads():
                await asyncio.sleep(0.05)
    client.close()


@pytest.mark.parametrize(
    ("writes", "whole"),
    [("echo more >> big", True), ("echo other | dd of=big conv=notrunc", False)],
)
async def test_a_file_that_is_written_to_while_it_is_read(
    stages: DockerRuntime, agent: AgentLink, writes: str, whole: bool
) -> None:
    line = f"""
    dd if=/dev/zero of=big bs=1000000 count=40
    (while [ ! -e go ]; do sleep 0.05; done; {writes}; touch done) &"""
    async with running(stages, agent, line, mounts=()) as stage:
        stream = agent.read_file(stage.source("big"))
        await stream.begin()
        await _touch(stage, "go")
        while "done" not in paths((await agent.list_files(stage.source(), False)).entries):
            await asyncio.sleep(0.05)
        if whole:
            assert len(b"".join([piece async for piece in stream])) == 40_000_000
            return
        with pytest.raises(ConflictError, match="changed while it was read"):
            async for _ in stream:
                pass


async def _touch(stage: Stage, name: str) -> None:
    """Make a file in the stage, as it could itself."""
    client = docker.APIClient(base_url=os.environ["DOCKER_HOST"], version="auto")
    told = client.exec_create(stage.workload.ref, ["touch", f"/work/{name}"], user="1234:1235")
    client.exec_start(told["Id"])
    client.close()


async def test_an_image_without_programs_is_told(
    stages: DockerRuntime, agent: AgentLink, dockerd: Dockerd, tmp_path: Path
) -> None:
    client = docker.APIClient(base_url=dockerd.url, version="auto")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        program = next(p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p))
        tar.add(os.path.realpath(program), "bin/busybox")
    client.import_image_from_data(made.getvalue(), repository="hostler-bare", tag="1")
    client.close()
    line = ("/bin/busybox", "sleep", "60")
    job = make_job("", image="hostler-bare:1")
    job = replace(job, command=line, shell=False)
    ref = await stages.create(agent, job, silent)
    stage = Stage(agent, await stages.start(agent, job, ref), None)
    for asked in (agent.list_files(stage.source(), False), stage.bytes("x")):
        with pytest.raises(ConflictError, match="fetch them when the stage has ended"):
            await asked
    await stages.stop(agent, stage.workload, 0.0)
    await stages.remove(agent, stage.workload)


async def test_one_that_ended_stays_out_of_looks_until_it_is_removed(
    stages: DockerRuntime, agent: AgentLink, dockerd: Dockerd
) -> None:
    stage = await ran(stages, agent, "mkdir d; echo 12345 > d/f; echo 1 > g")
    attempt = stage.workload.attempt_id
    before = await agent.look(1.0, 10.0)
    assert attempt in [w.attempt_id for w in before.workloads]
    kept = await stages.keep(agent, stage.workload, 77.0)
    assert kept.files >= 2
    assert kept.bytes >= 8
    assert kept.path == f"container hostler-dddddddd-{attempt}, /work"
    look = await agent.look(2.0, 10.0)
    assert attempt not in [w.attempt_id for w in look.workloads]
    assert (look.kept.count, look.kept.bytes) == (1, kept.bytes)
    (told,) = (await agent.call("kept.list", {"daemon_id": "d" * 32}))["kept"]
    assert (told["attempt_id"], told["until"], told["exists"]) == (attempt, 77.0, True)
    assert (await agent.call("kept.list", {"daemon_id": "e"}))["kept"] == []
    assert await stage.bytes("g") == b"1\n"
    client = docker.APIClient(base_url=dockerd.url, version="auto")
    client.prune_containers()
    client.close()
    (told,) = (await agent.call("kept.list", {"daemon_id": "d" * 32}))["kept"]
    assert told["exists"] is False
    await stages.remove(agent, stage.workload)
    assert (await agent.call("kept.list", {"daemon_id": "d" * 32}))["kept"] == []
    assert (await agent.look(3.0, 10.0)).kept.count == 0


async def test_a_running_one_is_not_kept_and_not_hidden(
    stages: DockerRuntime, agent: AgentLink, dockerd: Dockerd
) -> None:
    async with running(stages, agent, "true") as stage:
        with pytest.raises(ConflictError, match="still runs"):
            await stages.keep(agent, stage.workload, 5.0)
    stage = await ran(stages, agent, "test -e again && sleep 60; touch again")
    await stages.keep(agent, stage.workload, 5.0)
    client = docker.APIClient(base_url=dockerd.url, version="auto")
    client.start(stage.workload.ref)  # somebody does so by hand
    client.close()
    look = await agent.look(4.0, 10.0)
    assert [w.running for w in look.workloads if w.ref == stage.workload.ref] == [True]
    await stages.stop(agent, stage.workload, 0.0)
    await stages.remove(agent, stage.workload)
