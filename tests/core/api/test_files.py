"""Files of runs over the socket: what there is, ranges of bytes, and who gets them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import HostlerError, InputError, NotFoundError
from hostler.client import AsyncClient, Client
from hostler.daemon import files as daemon_files
from hostler.model.runs import Outcome
from tests.support.daemons.served import Served, served
from tests.support.machines.callers import ask, connected, open_to_all
from tests.support.machines.desk import wait_until
from tests.support.values import stored
from tests.support.values.kept import ended_run, keep, put

MODEL = os.urandom(700_001)
ODD = os.fsdecode(b"r\xe9sultat.csv")


@pytest.fixture
def daemon(open_path: Path) -> Iterator[Served]:
    with served(open_path / "s", allow=("nobody", "daemon")) as running:
        yield running


@pytest.fixture(params=[True, False], ids=["indexed", "of before"])
def run(daemon: Served, tmp_path: Path, request: pytest.FixtureRequest) -> Client:
    """A run with a declared folder, a declared file, and kept files."""
    has: Any = {"indexed": request.param}
    stage = stored.stage(outputs={"out": "result/out/", "model": "result/model.pt"})
    ended_run(daemon, stored.run(stages=(stage,)))
    keep(daemon, tmp_path, {"a.txt": b"a", "deep/b.txt": b"bb"}, name="out",
         links={"best": "deep/b.txt"}, **has)  # fmt: skip
    keep(daemon, tmp_path, {"model.pt": MODEL}, name="model", **has)
    keep(daemon, tmp_path, {"log.csv": b"1,2\n", ODD: b"odd", "empty": b""}, **has)
    return Client(daemon.socket_path)


def call(daemon: Served, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    with connected(daemon) as peer:
        lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
        peer.sendall("\r\n".join(lines).encode())
        said = b""
        while part := peer.recv(65536):
            said += part
    head, _, body = said.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    told = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    return int(first.split()[1]), told, body


def content_of(client: Client, path: str, **which: Any) -> tuple[bytes, str]:
    file = client.read_file("raaaaaa", "train", path, **which)
    return b"".join(file), file.sha256


def test_files_are_listed_by_their_path_in_the_working_folder(run: Client) -> None:
    told = run.files("raaaaaa")
    assert told.schema == "hostler.files/1"
    assert not told.truncated
    named = {file.path: file for file in told.files}
    assert set(named) == {
        "result/out/a.txt", "result/out/deep/b.txt", "result/out/best", "result/model.pt",
        "log.csv", ODD, "empty",
    }  # fmt: skip
    model = named["result/model.pt"]
    assert (model.artifact, model.kind, model.size) == ("model", "output", len(MODEL))
    assert (model.where, model.attempt, model.partial) == ("saved", 1, False)
    assert named["result/out/best"].link == "deep/b.txt"
    assert named["log.csv"].kind == "files"
    assert run.files("raaaaaa", stage="train") == told


def test_every_file_comes_whole_with_its_digest(run: Client) -> None:
    for path, data in (("result/model.pt", MODEL), ("result/out/deep/b.txt", b"bb"), (ODD, b"odd"),
                       ("empty", b"")):  # fmt: skip
        assert content_of(run, path) == (data, hashlib.sha256(data).hexdigest())

    async def read() -> bytes:
        file = await AsyncClient(run.found.path).read_file("raaaaaa", "train", "result/model.pt")
        data = b"".join([part async for part in file])
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        return data

    assert asyncio.run(read()) == MODEL


@pytest.mark.parametrize(
    ("wanted", "begin", "end"),
    [("bytes=0-", 0, None), ("bytes=5-9", 5, 10), ("bytes=700000-", 700_000, None),
     ("bytes=-3", -3, None), ("bytes=690000-99999999", 690_000, None)],
)  # fmt: skip
def test_a_range_is_what_was_asked_for(
    daemon: Served, run: Client, wanted: str, begin: int, end: int | None
) -> None:
    at = "/v1/runs/raaaaaa/files/train/content?path=result/model.pt"
    status, told, body = call(daemon, at, f"Range: {wanted}")
    assert (status, body) == (206, MODEL[begin:end])
    first = begin if begin >= 0 else len(MODEL) + begin
    assert told["content-range"] == f"bytes {first}-{first + len(body) - 1}/{len(MODEL)}"
    assert told["etag"] == f'"{hashlib.sha256(MODEL).hexdigest()}"'


@pytest.mark.parametrize("wanted", ["bytes=x", "bytes=9-5", "bytes=0-1,4-5", "lines=1-2"])
def test_a_range_that_means_nothing_is_the_whole_file(
    daemon: Served, run: Client, wanted: str
) -> None:
    at = "/v1/runs/raaaaaa/files/train/content?path=result/model.pt"
    status, _, body = call(daemon, at, f"Range: {wanted}")
    assert (status, body) == (200, MODEL)


def test_a_range_after_the_end_is_refused_and_one_of_another_version_is_the_whole(
    daemon: Served, run: Client
) -> None:
    at = "/v1/runs/raaaaaa/files/train/content?path=result/model.pt"
    status, told, _ = call(daemon, at, "Range: bytes=700001-")
    assert (status, told["content-range"]) == (416, f"bytes */{len(MODEL)}")
    status, _, body = call(daemon, at, "Range: bytes=5-", 'If-Range: "another"')
    assert (status, body) == (200, MODEL)
    etag = f'"{hashlib.sha256(MODEL).hexdigest()}"'
    assert call(daemon, at, "Range: bytes=5-", f"If-Range: {etag}")[0] == 206
    end = run.read_file("raaaaaa", "train", "result/model.pt", offset=len(MODEL), etag=etag)
    assert (b"".join(end), end.sha256, end.offset) == (b"", etag.strip('"'), len(MODEL))


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "a\0b", "out/../../x"])
def test_a_path_that_leads_out_is_refused(run: Client, path: str) -> None:
    with pytest.raises(InputError):
        run.read_file("raaaaaa", "train", path)


def test_what_there_is_not_is_told(run: Client) -> None:
    with pytest.raises(NotFoundError, match=r"has no file nope.*hostler get raaaaaa/train --list"):
        run.read_file("raaaaaa", "train", "nope")
    with pytest.raises(NotFoundError, match="no stage 'nope'"):
        run.files("raaaaaa", stage="nope")
    with pytest.raises(NotFoundError, match="has no file"):
        run.read_file("raaaaaa", "train", "result/model.pt", artifact="out")
    with pytest.raises(NotFoundError, match="has no file"):
        run.read_file("raaaaaa", "train", "result/model.pt", attempt=7)


def test_pages_have_every_file_once(
    daemon: Served, run: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_files, "PAGE", 2)
    paths = [file.path for file in run.files("raaaaaa").files]
    assert len(paths) == len(set(paths)) == 7


def test_the_newest_attempt_that_has_a_file_gives_it(daemon: Served, tmp_path: Path) -> None:
    ended_run(daemon, attempts=2)
    keep(daemon, tmp_path, {"model.pt": b"old", "only.txt": b"once"}, number=1, partial=True)
    keep(daemon, tmp_path, {"model.pt": b"new"}, number=2)
    client = Client(daemon.socket_path)
    assert content_of(client, "model.pt")[0] == b"new"
    assert content_of(client, "model.pt", attempt=1)[0] == b"old"
    assert content_of(client, "only.txt")[0] == b"once"
    first = [(f.attempt, f.path, f.partial) for f in client.files("raaaaaa").files]
    assert first == [(2, "model.pt", False), (1, "model.pt", True), (1, "only.txt", True)]


def test_what_a_retry_kept_of_an_earlier_run_is_there(daemon: Served, tmp_path: Path) -> None:
    ended_run(daemon)
    keep(daemon, tmp_path, {"model.pt": b"kept"})
    old = stored.attempt()
    daemon.loop.call_soon_threadsafe(
        daemon.service.context.run_cache.add,
        stored.run("rbbbbbb", kept={"train": old}, retry_of="raaaaaa", uid=os.getuid()),
    )
    file = Client(daemon.socket_path).read_file("rbbbbbb", "train", "model.pt")
    assert b"".join(file) == b"kept"
    daemon.loop.call_soon_threadsafe(
        daemon.service.context.run_cache.drop, "rbbbbbb", Outcome.SUCCEEDED
    )


def test_what_was_removed_is_not_listed(daemon: Served, run: Client) -> None:
    (model,) = [a for a in run.artifacts("raaaaaa") if a.name == "model"]
    daemon.service.context.content.remove([model.digest])
    assert "result/model.pt" not in {file.path for file in run.files("raaaaaa").files}
    with pytest.raises(NotFoundError, match="has no file"):
        run.read_file("raaaaaa", "train", "result/model.pt")


def test_a_folder_of_a_stage_that_has_ended_is_looked_into(run: Client) -> None:
    def names(path: str) -> dict[str, tuple[str, int]]:
        view = run.list_folder("raaaaaa", "train", path)
        return {entry.path: (entry.kind, entry.size) for entry in view.entries}

    assert names("")["result"] == ("folder", len(MODEL) + 3)
    assert names("result/out/") == {
        "a.txt": ("file", 1), "deep": ("folder", 2), "best": ("link", 0),
    }  # fmt: skip
    with pytest.raises(NotFoundError, match=r"stage train of .* no folder nope.*It has: ") as told:
        run.list_folder("raaaaaa", "train", "nope")
    assert "result/" in told.value.remedy


@pytest.mark.programs
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("path", ["/files", "/files/train/content?path=log.csv", "/ls/train"])
def test_nobody_gets_a_file_of_another_user(daemon: Served, tmp_path: Path, path: str) -> None:
    open_to_all(daemon.socket_path)
    ended_run(daemon, stored.run(owner="nobody", uid=65534))
    keep(daemon, tmp_path, {"log.csv": b'{"mine": 1}'})
    status, answer = ask(daemon.socket_path, uid=65534, call=f"GET /v1/runs/raaaaaa{path}")
    assert status == 200, answer
    status, answer = ask(daemon.socket_path, uid=1, call=f"GET /v1/runs/raaaaaa{path}")
    assert status == 403, answer
    assert "mine" not in str(answer)
    error = answer["error"]
    assert isinstance(error, dict)
    assert "belongs to nobody" in error["message"]


def test_a_reader_that_stops_holds_nothing_and_delays_nobody(
    daemon: Served, tmp_path: Path, run: Client
) -> None:
    large = os.urandom(1024) * 20 * 1024
    keep(daemon, tmp_path, {"large.bin": large}, name="large")

    def open_blobs() -> int:
        content = (
            str(daemon.service.context.content.path("0" * 64).parents[1]) if False else "/content/"
        )
        links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        return sum(content in _target(link) for link in links)

    peers = []
    for _ in range(3):
        peer = connected(daemon)
        peer.sendall(b"GET /v1/runs/raaaaaa/files/train/content?path=large/large.bin HTTP/1.1\r\n"
                     b"Host: x\r\n\r\n")  # fmt: skip
        assert peer.recv(1000).startswith(b"HTTP/1.1 200")
        peers.append(peer)
    wait_until(lambda: open_blobs() == 3, "the files are open")
    assert content_of(run, "log.csv")[0] == b"1,2\n"
    for peer in peers:
        peer.close()
    wait_until(lambda: open_blobs() == 0, "the files are let go of")


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_more_files_than_may_be_sent_at_a_time_wait_for_their_turn(
    daemon: Served, run: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = os.urandom(1024) * 8 * 1024
    keep(daemon, tmp_path, {"large.bin": large}, name="large")
    held = [run.read_file("raaaaaa", "train", "large/large.bin") for _ in range(4)]
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(daemon.socket_path))
    waiting.sendall(
        b"GET /v1/runs/raaaaaa/files/train/content?path=empty HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert run.version().api == 1  # other requests go on
    waiting.settimeout(0.2)
    with pytest.raises(TimeoutError):
        waiting.recv(10)
    for file in held:
        assert b"".join(file) == large
    waiting.settimeout(60)
    assert waiting.recv(100).startswith(b"HTTP/1.1 200")
    waiting.close()


def test_a_file_whose_disk_fails_ends_early_and_nobody_takes_it_for_whole(
    daemon: Served, run: Client, tmp_path: Path
) -> None:
    digest = keep(daemon, tmp_path, {"cut.bin": MODEL}, name="cut")
    blob = daemon.service.context.content.path(digest)
    assert run.files("raaaaaa").files
    content_of(run, "cut/cut.bin")
    os.truncate(blob, 300_000)
    with pytest.raises(HostlerError, match="was lost"):
        content_of(run, "cut/cut.bin")


def test_what_was_fetched_whole_is_noted(daemon: Served, run: Client) -> None:
    store = daemon.service.context.store
    (model,) = [a for a in run.artifacts("raaaaaa") if a.name == "model"]
    assert put(daemon, store.fetched("raaaaaa")) == {}
    run.note_fetched("raaaaaa", "train", "raaaaaa-train-1", "model")
    assert list(put(daemon, store.fetched("raaaaaa"))) == [("raaaaaa-train-1", model.digest)]
    with pytest.raises(NotFoundError, match="has no artifact nope"):
        run.note_fetched("raaaaaa", "train", "raaaaaa-train-1", "nope")
