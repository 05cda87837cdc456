"""Files that ended stages left on their hosts, or in the folder that they worked in."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import HostlerError, NotFoundError, Unreachable
from hostler.client import Client
from hostler.daemon.context import Context
from hostler.model.files import Artifact, ChangedFiles, FileEntry, FileList, Select
from hostler.model.records import Remainder
from hostler.ports import ArchiveSource
from hostler.store.saved import ListedFile, Listing, write_listing
from tests.support.daemons.served import Served, served, set_timings
from tests.support.machines.desk import wait_until
from tests.support.values import stored
from tests.support.values.kept import ended_run, keep, put

BIG = os.urandom(900_000)


class FakeStream:
    """As `ports.FileStream`."""

    def __init__(self, link: FakeLink, source: ArchiveSource, offset: int) -> None:
        self.size: int | None = None
        self.mtime: float | None = None
        self.sha256: str | None = None
        self._link, self._source, self._at = link, source, offset
        self._skips = link.skips if offset else 0.0

    async def begin(self) -> None:
        self._link.opened.append((self._source.path, self._at))
        if self._link.away:
            raise Unreachable("gpu1", "no answer")
        if self._source.path == "hangs":
            await self._link.never.wait()
        if self._source.path not in self._link.contents:
            raise NotFoundError(f"there is no {self._source.path}")
        self.size, self.mtime = len(self._data) + self._link.lies, 7.5

    @property
    def _data(self) -> bytes:
        return self._link.contents[self._source.path]

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> bytes:
        if self._skips:  # the host reads what comes before, to hash it
            await asyncio.sleep(self._skips)
            self._skips = 0.0
        piece = self._data[self._at : self._at + 100_000]
        self._at += len(piece)
        if self._link.endless:
            return b"x" * 100_000
        if not piece:
            self.sha256 = hashlib.sha256(self._data).hexdigest()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._link.closed += 1


class FakeLink:
    """As much of `ports.HostLink` as is asked for."""

    host = "gpu1"

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.away = self.endless = False
        self.lies = 0
        self.closed = 0
        self.opened: list[tuple[str, int]] = []
        self.sources: list[ArchiveSource] = []
        self.blobs: list[str] = []
        self.wants_blob = False
        self.hanging: asyncio.Event | None = None
        self.never = asyncio.Event()
        self.skips = 0.0
        self.beside: list[bool] = []

    def _entries(self) -> tuple[FileEntry, ...]:
        return tuple(FileEntry(p, "file", len(d), 7.5) for p, d in sorted(self.contents.items()))

    async def changed_files(
        self, source: ArchiveSource, select: Select, *, beside: bool = False
    ) -> ChangedFiles:
        self.sources.append(source)
        self.beside.append(beside)
        if self.hanging is not None:
            await self.hanging.wait()
        if self.away:
            raise Unreachable("gpu1", "no answer")
        if self.wants_blob and not self.blobs:
            raise NotFoundError("the snapshot is not here")
        return ChangedFiles(self._entries())

    async def put_blob(self, digest: str, path: Path) -> None:
        assert path.exists()
        self.blobs.append(digest)

    async def list_files(self, source: ArchiveSource, recursive: bool) -> FileList:
        return FileList(self._entries())

    def read_file(self, source: ArchiveSource, offset: int = 0) -> FakeStream:
        self.sources.append(source)
        return FakeStream(self, source, offset)


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> FakeLink:
    made = FakeLink()
    monkeypatch.setattr(Context, "link", lambda _self, _host: made)
    return made


@pytest.fixture
def daemon(open_path: Path) -> Iterator[Served]:
    with served(open_path / "s") as running:
        yield running


def leave(daemon: Served, link: FakeLink, run_id: str = "raaaaaa", /, **contents: bytes) -> Client:
    """A run whose stage saved `small.csv` and left these files on its host."""
    link.contents = contents
    left = Remainder(
        attempt_id=f"{run_id}-train-1", run_id=run_id, stage="train", host="gpu1",
        runtime="process", ref="4711:9", path="/var/tmp/x/work", files=len(contents),
        size=sum(map(len, contents.values())), since=200.0, until=4e9, names=tuple(contents)[:20],
    )  # fmt: skip
    put(daemon, daemon.service.context.store.add_remainder(left))
    return Client(daemon.socket_path)


def test_what_stays_on_a_host_is_listed_and_fetched(
    daemon: Served, link: FakeLink, tmp_path: Path
) -> None:
    ended_run(daemon)
    keep(daemon, tmp_path, {"small.csv": b"1"})
    client = leave(daemon, link, **{"big.pt": BIG, "small.csv": b"1"})
    listed = {file.path: file for file in client.files("raaaaaa").files}
    assert set(listed) == {"big.pt", "small.csv"}
    assert listed["small.csv"].where == "saved"
    big = listed["big.pt"]
    assert (big.where, big.kind, big.host) == ("host", "left", "gpu1")
    assert (big.folder, big.until, big.size) == ("/var/tmp/x/work", 4e9, len(BIG))
    assert {e.path for e in client.list_folder("raaaaaa", "train").entries} == set(listed)
    done = client.download("raaaaaa", target=tmp_path / "to")
    assert [file.state for file in done] == ["fetched", "fetched"]
    assert (tmp_path / "to/big.pt").read_bytes() == BIG
    assert link.sources[-1].ref == "4711:9"
    assert all(link.beside)  # nothing that is collected waits for such a list
    (left,) = put(daemon, daemon.service.context.store.remainders("raaaaaa"))
    assert left.fetched_at is not None


def test_what_stays_is_held_while_it_is_fetched(
    daemon: Served, link: FakeLink, tmp_path: Path
) -> None:
    ended_run(daemon)
    client = leave(daemon, link, **{"big.pt": BIG * 5})
    fetching = daemon.service.expirer._fetching
    file = client.read_file("raaaaaa", "train", "big.pt")
    next(iter(file))
    assert fetching["raaaaaa-train-1"] == 1
    file.close()
    wait_until(lambda: fetching["raaaaaa-train-1"] == 0, "it is let go of")
    wait_until(lambda: link.closed == len(link.opened), "the host's streams are closed")
    link.contents.clear()
    with pytest.raises(NotFoundError):
        client.read_file("raaaaaa", "train", "big.pt")
    assert fetching["raaaaaa-train-1"] == 0


def test_of_a_host_that_is_away_the_known_names_are_listed_and_the_rest_is_fetched(
    daemon: Served, link: FakeLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostler.client.fetch.PATIENCE_S", 0.0)
    ended_run(daemon)
    keep(daemon, tmp_path, {"small.csv": b"1"})
    client = leave(daemon, link, **{"big.pt": BIG})
    link.away = True
    told = client.files("raaaaaa")
    assert told.truncated
    assert [(f.path, f.where, f.size) for f in told.files] == [
        ("small.csv", "saved", 1), ("big.pt", "host", len(BIG)),
    ]  # fmt: skip
    done = {file.path: file for file in client.download("raaaaaa", target=tmp_path / "to")}
    assert done["small.csv"].state == "fetched"
    assert (done["big.pt"].state, done["big.pt"].why) == ("missing", "no answer")
    assert os.listdir(tmp_path / "to") == ["small.csv"]
    (left,) = put(daemon, daemon.service.context.store.remainders("raaaaaa"))
    assert left.fetched_at is None


def test_a_snapshot_that_the_host_lacks_is_sent_to_it(
    daemon: Served, link: FakeLink, tmp_path: Path
) -> None:
    digest = daemon.service.context.content.adopt(_file(tmp_path / "source", b"tar"))
    source = stored.run().source
    ended_run(daemon, stored.run(source=type(source)(digest=digest)))
    client = leave(daemon, link, **{"big.pt": BIG})
    link.wants_blob = True
    assert [file.path for file in client.files("raaaaaa").files] == ["big.pt"]
    assert link.blobs == [digest]


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_files_of_code_here_are_read_where_they_lie(
    daemon: Served, link: FakeLink, tmp_path: Path
) -> None:
    source = stored.run().source
    run = stored.run(
        source=type(source)(path="/data/ana/project"), stages=(stored.stage(code="here"),)
    )
    ended_run(daemon, run)
    content, store = daemon.service.context.content, daemon.service.context.store
    listing = Listing((ListedFile("out/model.pt", len(BIG), "", 0o644, -1),))
    digest = write_listing(listing, content, "here")
    artifact = Artifact(
        run_id="raaaaaa", stage="train", attempt_id="raaaaaa-train-1", name="files", digest=digest,
        size=len(BIG), collected_at=200.0, files=1, kind="here",
    )  # fmt: skip
    put(daemon, store.add_artifact(artifact))
    link.contents = {"out/model.pt": BIG, "secret": b"not noted"}
    client = Client(daemon.socket_path)
    (one,) = client.files("raaaaaa").files
    assert (one.path, one.where, one.kind) == ("out/model.pt", "here", "here")
    client.download("raaaaaa", target=tmp_path / "to")
    assert (tmp_path / "to/out/model.pt").read_bytes() == BIG
    assert link.sources[-1].here == "/data/ana/project"
    with pytest.raises(NotFoundError):
        client.read_file("raaaaaa", "train", "secret")


def test_a_host_that_sends_without_end_or_too_little_is_not_believed(
    daemon: Served, link: FakeLink, caplog: pytest.LogCaptureFixture
) -> None:
    ended_run(daemon)
    client = leave(daemon, link, **{"big.pt": BIG})
    link.endless = True
    with pytest.raises(HostlerError, match="was lost"):
        b"".join(client.read_file("raaaaaa", "train", "big.pt"))
    link.endless, link.lies = False, 10
    with pytest.raises(HostlerError, match="was lost"):
        b"".join(client.read_file("raaaaaa", "train", "big.pt"))
    wait_until(lambda: link.closed == len(link.opened), "the streams are closed")


def test_a_reader_that_takes_nothing_gives_the_hosts_turn_away_and_goes_on_later(
    daemon: Served, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timings(daemon, reader_patience=0.05)
    ended_run(daemon)
    large = os.urandom(1024) * 16 * 1024
    client = leave(daemon, link, **{"big.pt": large, "small": b"s"})
    slow = client.read_file("raaaaaa", "train", "big.pt")
    pieces = iter(slow)
    first = next(pieces)
    got: list[bytes] = []
    other = threading.Thread(
        target=lambda: got.append(b"".join(client.read_file("raaaaaa", "train", "small")))
    )
    other.start()
    other.join(60)
    assert got == [b"s"]
    assert first + b"".join(pieces) == large
    assert slow.sha256 == hashlib.sha256(large).hexdigest()
    assert len([path for path, _ in link.opened if path == "big.pt"]) > 1  # opened once more


def test_a_long_transfer_lets_others_list_and_hosts_that_hang_delay_no_other_request(
    daemon: Served, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timings(daemon, reader_turn=0.0)
    ended_run(daemon)
    client = leave(daemon, link, **{"big.pt": os.urandom(1024) * 8192})
    link.hanging = asyncio.Event()
    threads = [
        threading.Thread(target=lambda: client.files("raaaaaa"), daemon=True) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: bool(link.sources), "the host is asked")
    assert client.version().api == 1
    assert client.runs()
    daemon.loop.call_soon_threadsafe(link.hanging.set)
    for thread in threads:
        thread.join(60)
    file = client.read_file("raaaaaa", "train", "big.pt")
    pieces = iter(file)
    next(pieces)
    assert client.files("raaaaaa").files
    assert sum(map(len, pieces)) > 0


def test_two_readers_of_one_host_have_turns(
    daemon: Served, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_timings(daemon, reader_turn=0.0)
    ended_run(daemon)
    contents: dict[str, Any] = {name: os.urandom(1024) * 4096 for name in ("a", "b", "c")}
    client = leave(daemon, link, **contents)
    got: dict[str, bytes] = {}

    def read(name: str) -> None:
        got[name] = b"".join(client.read_file("raaaaaa", "train", name))

    readers = [threading.Thread(target=read, args=(name,)) for name in contents]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert got == contents


def test_a_stage_that_keeps_its_readers_waiting_keeps_no_other_user_waiting(
    daemon: Served, link: FakeLink
) -> None:
    ended_run(daemon)
    ended_run(daemon, stored.run("rbbbbbb", owner="bo", uid=1001))
    leave(daemon, link, hangs=b"")
    client = leave(daemon, link, "rbbbbbb", hangs=b"", mine=b"bo's")
    asked = lambda: b"".join(client.read_file("raaaaaa", "train", "hangs"))  # noqa: E731
    anas = [threading.Thread(target=asked) for _ in range(3)]
    for thread in anas:
        thread.start()
    wait_until(lambda: ("hangs", 0) in link.opened, "ana's stage is asked")
    got: list[bytes] = []
    bo = threading.Thread(
        target=lambda: got.append(b"".join(client.read_file("rbbbbbb", "train", "mine"))),
        daemon=True,
    )
    bo.start()
    bo.join(60)
    daemon.loop.call_soon_threadsafe(link.never.set)
    for thread in anas:
        thread.join(60)
    assert got == [b"bo's"]
    assert [path for path, _ in link.opened].index("mine") == 1  # ana's others waited


def test_readers_of_large_files_come_further_however_long_the_host_takes_to_go_on(
    daemon: Served, link: FakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host reads a file from its beginning each time: with short turns that would be all."""
    set_timings(daemon, reader_turn=0.0)
    ended_run(daemon)
    large = os.urandom(1024) * 6 * 1024
    client = leave(daemon, link, a=large, b=large)
    link.skips = 0.3
    got: dict[str, bytes] = {}

    def read(name: str) -> None:
        got[name] = b"".join(client.read_file("raaaaaa", "train", name))

    readers = [threading.Thread(target=read, args=(name,)) for name in "ab"]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert got == {"a": large, "b": large}
    assert len(link.opened) < 40
