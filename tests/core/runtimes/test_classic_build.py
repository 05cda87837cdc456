"""Builds by the classic builder of a real dockerd, which has no network."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from hostler.base.errors import EngineError, Unreachable
from hostler.model.builds import BuildJob, Built
from hostler.model.jobs import Placement
from hostler.runtimes.docker.builder import DockerBuilder
from hostler.runtimes.docker.classic import ClassicBuilder
from tests.core.runtimes.support import MemorySink
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import IMAGE, Dockerd


class Bench:
    """Builds from files that a test names."""

    def __init__(self, link: DirectLink, folder: Path) -> None:
        self.link, self.folder = link, folder
        self.sink = MemorySink()
        self.seen: list[str] = []
        self.builder: ClassicBuilder | DockerBuilder = ClassicBuilder(
            lambda digest: self.folder / digest
        )

    async def build(self, files: dict[str, str], **keys: Any) -> Built:
        """Build what these files say, without a network."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text), 0o755 if text.startswith("#!") else 0o644
                if text.startswith("->"):
                    entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, text[2:], 0
                tar.addfile(entry, io.BytesIO(text.encode()))
        digest = hashlib.sha256(data.getvalue()).hexdigest()
        (self.folder / digest).write_bytes(data.getvalue())
        placements = (Placement(digest, len(data.getvalue()), ""),)
        keys = {"network": "none", "owner": "anna", **keys}
        owner = keys.pop("owner")
        job = BuildJob("run-1", owner, "here", "hostler/dddddddd/run:image", placements, **keys)
        return await self.builder.build(self.link, job, self.sink, self._progress)

    def _progress(self, what: str, done: int, total: int | None) -> None:
        self.seen.append(what)

    @property
    def log(self) -> str:
        """What the builder said."""
        return self.sink.data.decode()


@pytest.fixture
def bench(link: DirectLink, tmp_path: Path) -> Bench:
    return Bench(link, tmp_path)


@pytest.fixture
def client(dockerd: Dockerd) -> Iterator[Any]:
    made = docker.APIClient(base_url=dockerd.url, version="auto")
    yield made
    made.close()


FILES = {
    "Dockerfile": f"FROM {IMAGE}\nARG WORD=none\nCOPY app /app\nRUN echo said $WORD > /said\n",
    "app/main.py": "print(1)",
    "app/big.log": "x" * 3_000_000,
    ".dockerignore": "**/*.log",
}


async def test_an_image_is_built_logged_and_found_again(bench: Bench, client: Any) -> None:
    built = await bench.build(FILES, args={"WORD": "hello"})
    assert built.image is not None, bench.log
    assert client.inspect_image(built.image)["Id"] == built.image
    assert client.inspect_image("hostler/dddddddd/run:image")["Id"] == built.image
    assert "RUN echo said $WORD" in bench.log
    assert any(what.startswith("step 4/4: RUN echo said") for what in bench.seen)
    made = client.create_container(built.image, ["cat", "/said", "/app/main.py"])
    data = client.get_archive(made["Id"], "/app")[0]
    client.remove_container(made["Id"])
    with tarfile.open(fileobj=io.BytesIO(b"".join(data))) as tar:
        assert tar.getnames() == ["app", "app/main.py"]
    again = await bench.build(FILES, args={"WORD": "hello"})
    assert again == built
    assert "Using cache" in bench.log


async def test_a_stage_of_the_dockerfile_may_be_named(bench: Bench) -> None:
    text = f"FROM {IMAGE} AS base\nRUN true\nFROM base\nRUN false\n"
    assert (await bench.build({"Dockerfile": text}, target="base")).image is not None
    missing = await bench.build({"Dockerfile": text}, target="other")
    assert "other" in missing.error


async def test_a_command_that_fails_is_named_with_its_exit_code(bench: Bench) -> None:
    built = await bench.build({"Dockerfile": f"FROM {IMAGE}\nRUN echo oh; exit 7\n"})
    assert (built.image, built.exit_code) == (None, 7)
    assert built.error == "step 2/2: RUN echo oh; exit 7: exit code 7"
    assert "oh" in bench.log


async def test_a_dockerfile_that_does_not_parse_is_told(bench: Bench) -> None:
    built = await bench.build({"Dockerfile": f"FROM {IMAGE}\nRUM true\n"})
    assert built.image is None
    assert "RUM" in built.error


async def test_a_missing_base_image_is_the_hosts_lack(bench: Bench) -> None:
    with pytest.raises(EngineError, match=r"the base image: nowhere\.example/none:1 .*registry"):
        await bench.build({"Dockerfile": "FROM nowhere.example/none:1\n"})


async def test_what_needs_buildkit_is_said(bench: Bench) -> None:
    text = f"# syntax=docker/dockerfile:1\nFROM {IMAGE}\nRUN --mount=type=cache,target=/c true\n"
    built = await bench.build({"Dockerfile": text})
    assert "the classic builder of Docker on here does not have" in built.error


async def test_a_build_ends_with_its_connection(bench: Bench, client: Any) -> None:
    text = f"FROM {IMAGE}\nRUN echo waits; sleep 600\n"
    task = asyncio.ensure_future(bench.build({"Dockerfile": text}))
    while b"waits" not in bench.sink.data.replace(b"RUN echo waits", b""):
        assert not task.done(), bench.log
        await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        while client.containers():
            await asyncio.sleep(0.05)


async def test_a_cut_is_no_verdict(bench: Bench) -> None:
    text = f"FROM {IMAGE}\nRUN echo waits; sleep 600\n"
    task = asyncio.ensure_future(bench.build({"Dockerfile": text}))
    while b"waits" not in bench.sink.data.replace(b"RUN echo waits", b""):
        assert not task.done(), bench.log
        await asyncio.sleep(0.05)
    bench.link.cut()
    with pytest.raises(Unreachable):
        await task


async def test_a_context_is_not_read_to_the_end_where_docker_refuses(bench: Bench) -> None:
    built = await bench.build({"Dockerfile": "", "big": "x" * 5_000_000})
    assert "empty" in built.error.lower()
