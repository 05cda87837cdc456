"""Docker that restarts, pulls, swallows answers; many followers without threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from hostler.base.errors import EngineError, Unkillable, Unreachable
from hostler.model.hosts import Workload
from hostler.model.timings import RuntimeTimings
from hostler.runtimes.docker import runtime as runtime_module
from hostler.runtimes.docker.engine import Engine
from hostler.runtimes.docker.runtime import DockerRuntime
from tests.core.runtimes.support import MemorySink, make_job, see_that_the_id_counts, silent
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import Dockerd, image_tree, why_not
from tests.support.machines.registry import serve


@pytest.fixture
def lasting() -> Iterator[Dockerd]:
    """A dockerd whose containers outlive it."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    engine = Dockerd("--live-restore")
    try:
        engine.start()
        engine.load_image()
        yield engine
    finally:
        engine.stop()


@pytest.mark.slow
async def test_a_stage_and_its_log_outlive_docker(lasting: Dockerd) -> None:
    link, runtime = DirectLink(lasting.socket), DockerRuntime(Path)
    line = "trap '' TERM; i=0; while [ ! -e stop ]; do i=$((i+1)); echo $i; sleep 0.02; done"
    job = make_job(line)
    ref = await runtime.create(link, job, silent)
    workload = await runtime.start(link, job, ref)
    sink = MemorySink()

    async def follow() -> None:
        while True:
            try:
                return await runtime.follow(link, workload, sink)
            except Unreachable:
                await asyncio.sleep(0.05)

    task = asyncio.create_task(follow())
    async with asyncio.timeout(30):
        while len(sink.data) < 100:
            await asyncio.sleep(0.01)
    await asyncio.to_thread(lasting.kill)
    with pytest.raises(Unreachable):
        await runtime.inspect(link, ref)
    with pytest.raises(Unreachable):
        await runtime.stop(link, workload, 0.0)
    await asyncio.to_thread(lasting.start)
    before = len(sink.data)
    async with asyncio.timeout(30):
        while len(sink.data) <= before + 100:
            await asyncio.sleep(0.01)
    again = await runtime.start(link, job, ref)
    assert again.running
    await runtime.stop(link, workload, 0.0)
    async with asyncio.timeout(30):
        await task
    lines = sink.data.decode().splitlines()
    assert lines == [str(n + 1) for n in range(len(lines))]
    await runtime.remove(link, workload)
    await runtime.close()


async def test_an_image_is_pulled_once_and_known_by_its_digest(
    runtime: DockerRuntime, link: DirectLink, dockerd: Dockerd
) -> None:
    told: list[tuple[str, int, int | None]] = []
    with serve(image_tree()) as registry:
        job = make_job("echo hello", image=registry.image)
        ref = await runtime.create(link, job, lambda *step: told.append(step))
        digest = await runtime.image_digest(link, ref)
        workload = await runtime.start(link, job, ref)
        sink = MemorySink()
        await runtime.follow(link, workload, sink)
        registry.refuse = 401
        with pytest.raises(EngineError, match="the registry refused"):
            await runtime.create(link, make_job("true", image=f"{registry.image}.2"), silent)
        registry.refuse = None
        with pytest.raises(EngineError, match="there is no image"):
            await runtime.create(link, make_job("true", image=f"{registry.image}.2"), silent)
        again = make_job("true", image=f"{registry.image}")
        other = await runtime.create(link, again, lambda *step: pytest.fail("pulled again"))
    assert sink.data == b"hello\n"
    assert digest == f"{registry.image.removesuffix(':1')}@{registry.digest}"
    assert told[0] == (f"pulling {registry.image}", 0, None)
    for container in (ref, other):
        found = await runtime.inspect(link, container)
        assert found is not None
        await runtime.remove(link, found)
    client = docker.APIClient(base_url=dockerd.url, version="auto")
    try:
        client.remove_image(registry.image, force=True)
    finally:
        client.close()


async def test_a_kill_without_effect_is_a_kill_that_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker says so after twelve seconds; Podman says nothing until it has ended."""
    signals: list[str] = []

    async def kill(_: Engine, ref: str, signal: str) -> bool:
        signals.append(signal)
        if signal == "SIGKILL":
            await asyncio.sleep(60)
        return True

    async def goes_on(*_: object) -> bool:
        return False

    monkeypatch.setattr(Engine, "kill", kill)
    monkeypatch.setattr(runtime_module, "ends_within", goes_on)
    workload = Workload("r1-a-1", "d1", "docker", "c" * 64, running=True)
    runtime = DockerRuntime(Path, RuntimeTimings(killed_within=0.1))
    with pytest.raises(Unkillable, match="r1-a-1 does not end after SIGKILL"):
        await runtime.stop(DirectLink(tmp_path / "none.sock"), workload, 0.0)
    assert signals == ["SIGTERM", "SIGKILL"]


async def test_a_stop_that_begins_again_after_a_cut_sends_no_second_term(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[str] = []
    patience: list[float] = []

    async def kill(_: Engine, ref: str, signal: str) -> bool:
        signals.append(signal)
        return True

    async def ends(_: object, ref: str, seconds: float) -> bool:
        patience.append(seconds)
        if len(patience) == 1:
            raise Unreachable("gpu1", "it was cut off")
        return signals[-1] == "SIGKILL"

    monkeypatch.setattr(Engine, "kill", kill)
    monkeypatch.setattr(runtime_module, "ends_within", ends)
    workload = Workload("r1-a-1", "d1", "docker", "c" * 64, running=True)
    runtime, link = DockerRuntime(Path), DirectLink(tmp_path / "none.sock")
    with pytest.raises(Unreachable):
        await runtime.stop(link, workload, 100.0)
    await runtime.stop(link, workload, 100.0)
    assert signals == ["SIGTERM", "SIGKILL"]
    assert patience[0] == 100.0 > patience[1], "the grace counts from the first"


async def test_what_docker_says_of_a_kill_without_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "cannot kill container: c1: tried to kill container, but did not receive an exit event"

    async def refuses(*_: object, **__: object) -> None:
        raise EngineError("gpu1", said, status=500)

    monkeypatch.setattr(Engine, "_call", refuses)
    assert await Engine("gpu1", "unix:///none").kill("c1", "SIGKILL") is True
    said = "something else"
    with pytest.raises(EngineError):
        await Engine("gpu1", "unix:///none").kill("c1", "SIGKILL")


async def test_an_image_is_found_and_pulled_by_digest_whatever_its_tag_means_now(
    runtime: DockerRuntime, link: DirectLink, dockerd: Dockerd
) -> None:
    with serve(image_tree()) as registry:
        moved = registry.image.removesuffix(":1") + ":moved"
        pinned = f"{registry.image.removesuffix(':1')}@{registry.digest}"
        job = make_job("true", image=moved, image_digest=pinned)
        told: list[str] = []
        ref = await runtime.create(link, job, lambda what, *_: told.append(what))
        assert told[0] == f"pulling {pinned}"
        again = make_job("true", image=moved, image_digest=pinned)
        other = await runtime.create(link, again, lambda *step: pytest.fail("pulled again"))
        for container in (ref, other):
            assert await runtime.image_digest(link, container) == pinned
            found = await runtime.inspect(link, container)
            assert found is not None
            await runtime.remove(link, found)
        gone = f"{registry.image.removesuffix(':1')}@sha256:{'0' * 64}"
        with pytest.raises(EngineError, match="which cannot pull it") as caught:
            await runtime.create(link, make_job("true", image=moved, image_digest=gone), silent)
        assert "hostler rerun" in caught.value.remedy
    client = docker.APIClient(base_url=dockerd.url, version="auto")
    try:
        client.remove_image(pinned, force=True)
    finally:
        client.close()


async def test_where_the_digest_cannot_be_had_an_image_loaded_by_hand_is_taken(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    pinned = f"127.0.0.1:9/lab/tool@sha256:{'0' * 64}"
    await see_that_the_id_counts(runtime, link, make_job("true", image_digest=pinned))


class Swallower:
    """A proxy before Docker that loses the answer to the first create."""

    def __init__(self, target: Path, path: Path) -> None:
        self.path = path
        self._target = target
        self._server: asyncio.Server | None = None
        self.creates = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_unix_connection(str(self._target))
        lose = False

        async def up() -> None:
            nonlocal lose
            while data := await reader.read(65536):
                if b"/containers/create" in data:
                    self.creates += 1
                    lose = self.creates == 1
                far_writer.write(data)
                await far_writer.drain()
            far_writer.write_eof()

        async def down() -> None:
            while data := await far_reader.read(65536):
                if lose:
                    break
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not lose:
                await tasks[1]
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for end in (writer, far_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            self._tasks.discard(task)


async def test_a_lost_answer_to_create_leaves_one_container(
    dockerd: Dockerd, tmp_path: Path
) -> None:
    proxy = Swallower(dockerd.socket, dockerd.folder / f"proxy-{tmp_path.name[-8:]}.sock")
    await proxy.start()
    link, runtime = DirectLink(proxy.path), DockerRuntime(Path)
    job = make_job("true")
    with pytest.raises(Unreachable):
        await runtime.create(link, job, silent)
    ref = await runtime.create(link, job, silent)
    assert proxy.creates == 2
    found = await runtime.inspect(link, ref)
    assert found is not None
    assert found.created_only
    assert (await runtime.start(link, job, ref)).attempt_id == job.attempt_id
    await runtime.stop(link, found, 0.0)
    await runtime.remove(link, found)
    await runtime.close()
    await proxy.stop()


async def test_two_hundred_followers_are_tasks(runtime: DockerRuntime, link: DirectLink) -> None:
    job = make_job("echo up; exec sleep 100")
    ref = await runtime.create(link, job, silent)
    workload = await runtime.start(link, job, ref)
    before = threading.active_count()
    sinks = [MemorySink() for _ in range(200)]
    tasks = [asyncio.create_task(runtime.follow(link, workload, sink)) for sink in sinks]
    async with asyncio.timeout(30):
        while not all(sink.data == b"up\n" for sink in sinks):
            await asyncio.sleep(0.02)
    assert threading.active_count() <= before + 1
    await runtime.stop(link, workload, 0.0)
    async with asyncio.timeout(30):
        await asyncio.gather(*tasks)
    assert link.streams == set()
    await runtime.remove(link, workload)
