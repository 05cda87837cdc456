"""Files of simulated stages: what is new, lists, one of them, and what stays."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hostler.base.errors import ConflictError, InputError, NotFoundError
from hostler.model.files import KeptFolder, Select
from hostler.model.jobs import Job
from hostler.ports import ArchiveSource
from hostler.sim import SimLab, SimLink, SimRuntime
from tests.support.daemons.simlab import small_lab

SOURCE = ArchiveSource("r1-a-1", "docker", "", "")
WRITES = "write=a/first.pt:100 write=a/second.pt:200000"


@pytest.fixture
async def lab() -> AsyncIterator[SimLab]:
    made = small_lab(1, gpus=1)
    yield made
    await made.close()


@pytest.fixture
async def link(lab: SimLab) -> AsyncIterator[SimLink]:
    made = SimLink(lab, "gpu1", "d1")
    await made.connect()
    yield made
    await made.close()


async def started(link: SimLink, behaviour: str) -> SimRuntime:
    runtime = SimRuntime("docker", Path)
    job = Job(
        attempt_id="r1-a-1", daemon_id="d1", run_id="r1", stage="a", owner="ana", host="gpu1",
        name="r1-a-1", command=("true",), shell=False, env={"SIM": behaviour}, gpus=(), image="i",
    )  # fmt: skip
    ref = await runtime.create(link, job, lambda *_: None)
    await runtime.start(link, job, ref)
    return runtime


async def ended(link: SimLink, behaviour: str) -> SimRuntime:
    runtime = await started(link, behaviour)
    while (await link.look(0.0, 5.0)).workloads[0].running:
        await asyncio.sleep(0.01)
    return runtime


async def test_what_a_stage_writes_is_listed_read_and_chosen(link: SimLink) -> None:
    await ended(link, f"seconds=0.05 metric.loss=1 {WRITES}")
    found = await link.changed_files(SOURCE, Select())
    assert [(e.path, e.size) for e in found.files] == [("a/first.pt", 100), ("a/second.pt", 200000)]
    assert not (await link.changed_files(SOURCE, Select(skip=("a",)))).files
    named = await link.changed_files(SOURCE, Select(globs=("a/f*",)))
    assert [entry.path for entry in named.files] == ["a/first.pt"]
    listed = await link.list_files(SOURCE, recursive=False)
    assert [(e.path, e.kind) for e in listed.entries] == [(".hostler", "folder"), ("a", "folder")]
    source = ArchiveSource("r1-a-1", "docker", "", "a/second.pt")
    stream = link.read_file(source, 150_000)
    data = b"".join([piece async for piece in stream])
    assert (len(data), stream.size) == (50_000, 200_000)
    whole = b"".join([piece async for piece in link.read_file(source)])
    assert stream.sha256 == hashlib.sha256(whole).hexdigest()
    archive = link.read_archive(SOURCE, 0, ["a/first.pt", "gone"])
    with tarfile.open(fileobj=io.BytesIO(b"".join([p async for p in archive]))) as tar:
        assert tar.getnames() == ["a/first.pt"]
    for path, error in (("a", InputError), ("no", NotFoundError)):
        with pytest.raises(error):
            await link.read_file(ArchiveSource("r1-a-1", "docker", "", path)).begin()


async def test_files_come_one_after_the_other(link: SimLink) -> None:
    await started(link, f"seconds=600 {WRITES}")
    assert not (await link.list_files(SOURCE, recursive=True)).entries


async def test_what_ended_stays_out_of_looks_until_it_is_removed(link: SimLink) -> None:
    runtime = await ended(link, f"seconds=0.05 {WRITES}")
    (workload,) = (await link.look(1.0, 5.0)).workloads
    kept = await runtime.keep(link, workload, 9.0)
    assert (kept.files, kept.bytes) == (2, 200100)
    look = await link.look(2.0, 5.0)
    assert look.workloads == ()
    assert (look.kept.count, look.kept.bytes) == (1, 200100)
    (told,) = (await link.call("kept.list", {"daemon_id": "d1"}))["kept"]
    assert KeptFolder(**told).until == 9.0
    assert (await link.call("kept.list", {"daemon_id": "d2"}))["kept"] == []
    await runtime.remove(link, workload)
    assert (await link.look(3.0, 5.0)).kept.count == 0


async def test_a_running_stage_is_not_kept(link: SimLink) -> None:
    runtime = await started(link, "seconds=600")
    (workload,) = (await link.look(1.0, 5.0)).workloads
    with pytest.raises(ConflictError, match="still runs"):
        await runtime.keep(link, workload, 9.0)
