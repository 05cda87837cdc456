"""Outputs come whole into the content store, over cuts, and nothing bad comes along."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import (
    AgentError,
    EngineError,
    InputError,
    NotFoundError,
    StateError,
    Unreachable,
)
from hostler.base.units import GIB, MIB
from hostler.model.hosts import Workload
from hostler.ports import ArchiveSource
from hostler.runtimes.collect import collect_output
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.store import files
from hostler.store.content import ContentStore
from hostler.store.files import Space
from tests.core.runtimes.support import MemorySink, make_job, silent
from tests.support.machines.direct_link import DirectLink

WORKLOAD = Workload("run-train-1", "d", "process", "run-train-1", running=False)


class _Stream:
    """A tar from an offset, with its hash at the end, as the link gives it."""

    def __init__(self, link: _Link, offset: int) -> None:
        self._link = link
        self._offset = offset
        self.sha256: str | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        data, link = self._link.data, self._link
        for at in range(self._offset, len(data), 1000):
            if link.left == 0:
                link.left = None
                raise Unreachable("gpu1", "cut")
            if link.left is not None:
                link.left -= 1
            link.sent += len(data[at : at + 1000])
            yield data[at : at + 1000]
        self.sha256 = hashlib.sha256(data).hexdigest()


class _Link(DirectLink):
    def __init__(self, data: bytes) -> None:
        super().__init__(None, "gpu1")  # type: ignore[arg-type]
        self.data = data
        self.left: int | None = None
        self.sent = 0

    def read_archive(
        self, source: ArchiveSource, offset: int = 0, paths: Sequence[str] | None = None
    ) -> Any:
        return _Stream(self, offset)


def _tar(**files: bytes | str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            if isinstance(data, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, data
                tar.addfile(entry)
                continue
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


async def test_a_cut_is_resumed_where_it_was(tmp_path: Path) -> None:
    content, link = ContentStore(tmp_path), _Link(_tar(weights=bytes(100_000), log=b"x"))
    link.left = 40
    with pytest.raises(Unreachable):
        await collect_output(link, WORKLOAD, "out/model", content, GIB)
    assert link.sent == 40_000
    found = await collect_output(link, WORKLOAD, "out/model/", content, GIB)
    assert link.sent == len(link.data)
    assert _names(content.path(found.digest)) == ["log", "weights"]
    assert found.files == 2
    assert found.size == content.size(found.digest)
    assert list((tmp_path / "partial").iterdir()) == []
    again = await collect_output(link, WORKLOAD, "out/model", content, GIB)
    assert again == found


async def test_what_a_gc_looks_at_is_waited_for(tmp_path: Path) -> None:
    """A stage has not failed for that."""
    content, link = ContentStore(tmp_path), _Link(_tar(weights=bytes(100_000)))
    link.left = 40
    with pytest.raises(Unreachable):
        await collect_output(link, WORKLOAD, "out", content, GIB)
    (lies,) = (tmp_path / "partial").iterdir()
    with content.partial(lies.name), pytest.raises(Unreachable, match="is being received"):
        await collect_output(link, WORKLOAD, "out", content, GIB)
    found = await collect_output(link, WORKLOAD, "out", content, GIB)
    assert _names(content.path(found.digest)) == ["weights"]


async def test_the_last_room_of_the_disk_is_left_to_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come waits for room: it is not copied again, and nothing else runs full."""
    content, link = ContentStore(tmp_path), _Link(_tar(weights=bytes(100_000)))
    disk, used = 160_000, tmp_path / "partial"

    def space_of(_folder: Path) -> Space:
        taken = sum(path.stat().st_size for path in used.iterdir())
        return Space(disk - taken, 1000 * GIB)

    monkeypatch.setattr(files, "space_of", space_of)
    monkeypatch.setattr(files, "_KEPT", 10_000)
    for _ in range(2):
        with pytest.raises(StateError, match="the disk of the state folder"):
            await collect_output(link, WORKLOAD, "out", content, GIB)
        assert link.sent == len(link.data)
        assert sum(path.stat().st_size for path in used.iterdir()) < disk - 10_000
    disk = 50_000
    for path in used.iterdir():
        path.unlink()
    with pytest.raises(StateError, match="the disk of the state folder"):
        await collect_output(link, WORKLOAD, "out", content, GIB)
    disk = 300_000
    found = await collect_output(link, WORKLOAD, "out", content, GIB)
    assert _names(content.path(found.digest)) == ["weights"]
    assert link.sent == 2 * len(link.data) + 1000, "the piece that did not fit came twice"


async def test_a_beginning_of_something_else_is_not_continued(tmp_path: Path) -> None:
    content, link = ContentStore(tmp_path), _Link(_tar(weights=b"a" * 50_000))
    link.left = 20
    with pytest.raises(Unreachable):
        await collect_output(link, WORKLOAD, "model", content, GIB)
    link.data = _tar(weights=b"b" * 50_000)
    found = await collect_output(link, WORKLOAD, "model", content, GIB)
    with tarfile.open(content.path(found.digest)) as tar:
        member = tar.extractfile("weights")
        assert member is not None
        assert member.read() == b"b" * 50_000


@pytest.mark.parametrize(
    ("data", "limit", "message"),
    [
        (_tar(weights=bytes(3 * MIB)), MIB, "larger than the limit of 1 MiB"),
        (_tar(weights=bytes(MIB + 1)), MIB, "over the limit of 1 MiB"),
        (_tar(passwd="/etc/passwd"), GIB, "leads out"),
        (b"no tar" * 200, GIB, "not a valid tar"),
    ],
)
async def test_what_is_refused_leaves_nothing(
    tmp_path: Path, data: bytes, limit: int, message: str
) -> None:
    content = ContentStore(tmp_path)
    with pytest.raises(InputError, match=message):
        await collect_output(_Link(data), WORKLOAD, "model", content, limit)
    assert list((tmp_path / "partial").iterdir()) == []
    assert content.sizes() == {}


async def test_a_path_that_leads_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not inside"):
        await collect_output(_Link(b""), WORKLOAD, "../x", ContentStore(tmp_path), GIB)


async def test_a_missing_output_is_the_stages_fault(tmp_path: Path) -> None:
    class _Missing(_Link):
        async def read_archive(
            self, source: ArchiveSource, offset: int = 0, paths: Sequence[str] | None = None
        ) -> AsyncIterator[bytes]:
            raise AgentError("gpu1", f"no {source.path}")
            yield b""

    with pytest.raises(EngineError, match="no model"):
        await collect_output(_Missing(b""), WORKLOAD, "model", ContentStore(tmp_path), GIB)


async def test_an_output_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    class _Missing(_Link):
        async def read_archive(
            self, source: ArchiveSource, offset: int = 0, paths: Sequence[str] | None = None
        ) -> AsyncIterator[bytes]:
            raise EngineError("gpu1", "Could not find the file /work/model in x", status=404)
            yield b""

    with pytest.raises(NotFoundError, match="no model in the working folder"):
        await collect_output(_Missing(b""), WORKLOAD, "model", ContentStore(tmp_path), GIB)
    assert list((tmp_path / "partial").iterdir()) == []


async def test_from_a_real_container_over_a_cut(
    runtime: DockerRuntime, link: DirectLink, tmp_path: Path
) -> None:
    content = ContentStore(tmp_path)
    job = make_job("mkdir -p out/m; head -c 30000000 /dev/zero > out/m/w; echo 1 > out/one")
    ref = await runtime.create(link, job, silent)
    workload = await runtime.start(link, job, ref)
    await runtime.follow(link, workload, MemorySink())
    link.cut_after = link.received + 20_000_000
    with pytest.raises(Unreachable):
        await collect_output(link, workload, "out/m", content, GIB)
    link.heal()
    received = link.received
    found = await collect_output(link, workload, "out/m", content, GIB)
    assert _names(content.path(found.digest)) == ["w"]
    assert link.received - received < 31_000_000
    file = await collect_output(link, workload, "out/one", content, GIB)
    assert _names(content.path(file.digest)) == ["one"]
    with pytest.raises(EngineError):
        await collect_output(link, workload, "out/nothing", content, GIB)
    await runtime.remove(link, workload)
