"""Folders that are made before a command starts, in processes and containers."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from hostler.link.agent_link import AgentLink
from hostler.model.jobs import Placement
from hostler.ports import Runtime
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.runtimes.layout import folders_to_make
from hostler.runtimes.process.runtime import ProcessRuntime
from hostler.store.archive_scan import Outline
from hostler.store.content import ContentStore
from tests.core.runtimes.support import MemorySink, make_job, shares_a_loop, silent

MAKE = ("out", "deep/er/", "there", "link/below", "file")


def _source(content: ContentStore, folder: Path) -> Placement:
    made = folder / "made.tar"
    with tarfile.open(made, mode="w") as tar:
        for name, kind in (("there", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = kind, "elsewhere", 0o750
            tar.addfile(entry)
        entry = tarfile.TarInfo("file")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"1"))
    size = made.stat().st_size
    return Placement(content.adopt(made), size, "")


@shares_a_loop
@pytest.mark.parametrize("name", ["process", "docker"])
async def test_folders_are_made_where_nothing_is_in_their_place(
    name: str, agent: AgentLink, content: ContentStore, tmp_path: Path
) -> None:
    docker = DockerRuntime(content.path)
    runtime: Runtime = docker if name == "docker" else ProcessRuntime(content.path)
    line = (
        "touch out/a deep/er/b there/c && test -f file && test -h link && test ! -e elsewhere"
        " && echo made"
    )
    more = {} if name == "docker" else {"image": None}
    job = make_job(line, placements=(_source(content, tmp_path),), make=MAKE, **more)
    ref = await runtime.create(agent, job, silent)
    workload = await runtime.start(agent, job, ref)
    sink = MemorySink()
    await runtime.follow(agent, workload, sink)
    assert sink.data == b"made\n"
    ended = await runtime.inspect(agent, ref)
    assert ended is not None
    await runtime.remove(agent, ended)
    await docker.close()


def test_nothing_is_made_as_root_where_links_may_be() -> None:
    job = make_job("", make=("a/b", "l/x", "data/x", "ckpt/best", "data"), checkpoint="ckpt")
    outlines = {"": Outline({"l": "link"}, frozenset())}
    assert folders_to_make(job, outlines, "/work", ["/work/data", "/mnt"]) == ["a/b"]
