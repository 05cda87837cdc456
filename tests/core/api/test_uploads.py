"""What is uploaded is a plain tar within the limits, and its size and shape delay nobody else."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import hashlib
import io
import json
import logging
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import InputError
from hostler.daemon import sources
from hostler.daemon.sources import Globs, SourceNames
from hostler.submit.body import with_file_names
from tests.support.daemons.served import Served, served
from tests.support.machines.callers import connected, send
from tests.support.machines.desk import wait_until

GLOB = 'name = "x"\n[stages.a]\nmatrix = { f = { glob = "*.csv" } }\ncommand = "true"\n'


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "s") as running:
        yield running


def tar(*names: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            made.addfile(entry)
    return out.getvalue()


def upload(daemon: Served, data: bytes) -> tuple[int, Any, str]:
    digest = hashlib.sha256(data).hexdigest()
    return *send(daemon, "PUT", f"/v1/snapshots/{digest}", data), digest


@pytest.mark.parametrize(
    "data",
    [
        bz2.compress(bytes(1024**2)) * 64,
        gzip.compress(tar("a.csv")),
        tar("../a"),
        tar("/a"),
        tar("a", kind=tarfile.CHRTYPE),
        b"x" * 4096,
        b"",
    ],
    ids=["bomb", "compressed", "above", "absolute", "device", "no tar", "empty"],
)
def test_an_upload_that_is_no_plain_tar_is_refused_and_not_kept(
    daemon: Served, data: bytes
) -> None:
    status, answer, digest = upload(daemon, data)
    assert status == 400, answer
    assert answer["error"]["kind"] == "InputError"
    assert not daemon.service.context.content.has(digest)
    assert not list((daemon.socket_path.parent / "partial").iterdir())


def test_a_compressed_source_of_before_is_refused_and_not_unpacked(
    daemon: Served, tmp_path: Path
) -> None:
    """256 GiB of zeros, as 4096 members of a bzip2 file: opening it would take an hour."""
    bomb = tmp_path / "bomb"
    bomb.write_bytes(bz2.compress(bytes(64 * 1024**2)) * 4096)
    digest = daemon.service.context.content.adopt(bomb)
    body = {"pipeline": GLOB, "source": {"digest": digest}}
    status, answer = send(daemon, "POST", "/v1/check", json.dumps(body).encode())
    assert status == 400
    assert "not a valid tar file" in answer["error"]["message"]


@pytest.mark.parametrize("slow", ["inspect_archive", "list_archive"])
def test_a_source_that_takes_long_delays_no_other_user(
    daemon: Served, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = getattr(sources, slow)

    def wait(*given: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return real(*given)

    monkeypatch.setattr(sources, slow, wait)
    data = tar("a.csv")
    digest = hashlib.sha256(data).hexdigest()
    answers: list[int] = []

    def submit() -> None:
        answers.append(send(daemon, "PUT", f"/v1/snapshots/{digest}", data)[0])
        body = {"pipeline": GLOB, "source": {"digest": digest}}
        answers.append(send(daemon, "POST", "/v1/check", json.dumps(body).encode())[0])

    working = threading.Thread(target=submit)
    working.start()
    try:
        assert begun.wait(60)
        assert send(daemon, "GET", "/v1/version")[0] == 200
    finally:
        go_on.set()
        working.join(60)
    assert answers == [200, 200]


def test_a_rerun_with_code_that_was_not_uploaded_is_refused(daemon: Served) -> None:
    command = {"command": {"command": ["ls"]}}
    _, run = send(daemon, "POST", "/v1/runs", json.dumps(command).encode())
    again = json.dumps({"source": {"digest": "a" * 64}}).encode()
    status, answer = send(daemon, "POST", f"/v1/runs/{run['run_id']}/rerun", again)
    assert (status, answer["error"]["kind"]) == (404, "NotFoundError")


def test_globs_of_a_pipeline_have_a_limit() -> None:
    globs = Globs(SourceNames(frozenset({"b.csv", "a.csv"}), frozenset()))
    assert globs("*.csv") == ["a.csv", "b.csv"]
    for number in range(199):
        globs(f"*{number}")
    assert globs("*.csv") == ["a.csv", "b.csv"]
    with pytest.raises(InputError, match="at most 200 different globs"):
        globs("*.txt")


def test_what_may_be_behind_a_link_may_be_there() -> None:
    names = SourceNames(frozenset({"a/b"}), frozenset({"link"}), is_whole=True)
    assert names.may_hold("a/b")
    assert names.may_hold("link/bin/python")
    assert not names.may_hold("links/bin/python")
    assert SourceNames(frozenset(), frozenset()).may_hold("anything")


def test_a_name_that_is_no_text_hinders_only_a_glob_that_means_it(tmp_path: Path) -> None:
    odd = "\udcff.csv"
    try:
        (tmp_path / odd).touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    (tmp_path / "a.txt").touch()
    body = with_file_names({"pipeline": GLOB}, tmp_path)
    assert body["files"] == ["a.txt"]
    names = Globs(SourceNames(frozenset({odd, "a.txt"}), frozenset(), is_whole=True))
    assert names("*.txt") == ["a.txt"]
    with pytest.raises(InputError, match="is not UTF-8"):
        names("*.csv")


def arriving(daemon: Served) -> list[Path]:
    """The uploads that come just now."""
    return list((daemon.socket_path.parent / "partial").glob("source-*"))


def test_an_upload_that_its_sender_leaves_is_no_bug_in_the_log(
    daemon: Served, caplog: pytest.LogCaptureFixture
) -> None:
    data = tar("a.csv")
    path = f"/v1/snapshots/{hashlib.sha256(data).hexdigest()}"
    with connected(daemon) as peer:
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        peer.sendall(head.encode() + data[:100])
        wait_until(lambda: arriving(daemon) != [], "it is taken in")
    wait_until(lambda: arriving(daemon) == [], "what came of it is dropped")
    assert send(daemon, "PUT", path, data)[0] == 200
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("uid", [7, os.getuid()])
def test_nobody_keeps_another_from_sending_the_same_source(daemon: Served, uid: int) -> None:
    """Nor does one user who submits the same folder twice at once."""
    data, go_on = tar("a.csv"), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield data[:100]
        await go_on.wait()
        yield data[100:]

    digest = hashlib.sha256(data).hexdigest()
    other = asyncio.run_coroutine_threadsafe(
        daemon.service.sources.take_in(digest, slow(), uid), daemon.loop
    )
    wait_until(lambda: arriving(daemon) != [], "the other's is taken in")
    assert upload(daemon, data)[0] == 200
    daemon.loop.call_soon_threadsafe(go_on.set)
    assert other.result(60) == len(data)
    assert upload(daemon, data)[0] == 200
    assert arriving(daemon) == []
