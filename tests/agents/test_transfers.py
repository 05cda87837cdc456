"""Bulk transfers by the real agent: blobs in, archives and logs out."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import archive, blobs, files, sending, transfers, wire
from hostler_agent.folders import Folders, Refusal
from hostler_agent.joblog import Reader, Writer, parts
from tests.support.daemons.fake_docker import container, fake_docker, ours
from tests.support.programs.agents import Agent, AgentSaysNo, Place, eventually, serving, transfer
from tests.support.values.tars import tar_of


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _put(place: Place, data: bytes) -> str:
    digest = _digest(data)
    with transfer(place, op="blob.put", digest=digest, size=len(data)) as bulk:
        assert bulk.result() == {"offset": 0}
        for at in range(0, len(data), 60_000):
            bulk.write(wire.frame(data[at : at + 60_000]))
        bulk.write(wire.END)
        assert bulk.result() == {"ok": True}
    return digest


def test_a_cut_upload_goes_on_where_it_stopped(place: Place) -> None:
    data = os.urandom(300_000)
    digest = _digest(data)
    part = place.base / "blobs" / f"{digest}.part"
    with transfer(place, op="blob.put", digest=digest, size=len(data)) as bulk:
        assert bulk.result() == {"offset": 0}
        bulk.write(wire.frame(data[:200_000]))
        eventually(lambda: part.exists())
    assert part.stat().st_size == 200_000
    with serving(place) as agent:
        assert agent.ask("blob.has", digest=digest) == {"size": 200_000, "complete": False}
        with transfer(place, op="blob.put", digest=digest, size=len(data)) as bulk:
            assert bulk.result() == {"offset": 200_000}
            bulk.write(wire.frame(data[200_000:]) + wire.END)
            assert bulk.result() == {"ok": True}
        assert agent.ask("blob.has", digest=digest) == {"size": 300_000, "complete": True}
    with transfer(place, op="blob.put", digest=digest, size=len(data)) as bulk:
        assert bulk.result() == {"offset": 300_000}
        bulk.write(wire.END)
        assert bulk.result() == {"ok": True}


@pytest.mark.parametrize(
    ("sent", "words"),
    [(b"x" * 10, "was damaged"), (b"x" * 9, "9 of 10 bytes"), (b"x" * 11, "received more bytes")],
)
def test_wrong_bytes_are_no_blob(sent: bytes, words: str, place: Place) -> None:
    digest = _digest(b"y" * 10)
    with transfer(place, op="blob.put", digest=digest, size=10) as bulk:
        bulk.result()
        bulk.write(wire.frame(sent) + wire.END)
        assert words in bulk.result()["error"]["message"]
    assert not (place.base / "blobs" / digest).exists()


def test_place_and_run_and_read_back(place: Place) -> None:
    digest = _put(place, tar_of({"run.sh": b"mkdir out; seq 1000 > out/n; ln -s n out/l\n"}))
    with serving(place) as agent:
        agent.ask("job.create", attempt_id="a", daemon_id="d1")
        assert agent.ask("job.place", attempt_id="a", digest=digest, target="src") == {}
        agent.job("a", ["sh", "run.sh"], cwd="src")
        assert agent.ended("a")["exit_code"] == 0
        placed = agent.place.base / "jobs/a/work/src/run.sh"
        assert placed.stat().st_mode & 0o7777 == 0o755  # no set-user-id bit
        with pytest.raises(AgentSaysNo, match="has started already"):
            agent.ask("job.place", attempt_id="a", digest=digest, target="")
    fields = {"op": "archive", "attempt_id": "a", "runtime": "process", "ref": "a"}
    with transfer(place, **fields, path="src/out", offset=0) as bulk:
        data, (end,) = bulk.data()
    assert end == {"sha256": _digest(data), "size": len(data)}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["l", "n"]
        numbers = tar.extractfile("n")
        assert numbers is not None
        assert len(numbers.read().split()) == 1000
    with transfer(place, **fields, path="src/out", offset=700) as bulk:
        rest, (end,) = bulk.data()
    assert rest == data[700:]
    assert end == {"sha256": _digest(data), "size": len(data)}
    with transfer(place, **fields, path="src/out/n", offset=0) as bulk:
        data, _ = bulk.data()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["n"]


@pytest.mark.parametrize(
    ("path", "words"),
    [("../../b", "leads out"), ("/etc", "leads out"), ("no", "there is no no"),
     ("away", "leads out")],
)  # fmt: skip
def test_paths_that_are_not_the_jobs(path: str, words: str, place: Place) -> None:
    with serving(place) as agent:
        agent.job("a", ["ln", "-s", "/etc", "away"])
        agent.ended("a")
    fields = {"op": "archive", "attempt_id": "a", "runtime": "process", "ref": "a", "offset": 0}
    with transfer(place, **fields, path=path) as bulk:
        assert words in bulk.result()["error"]["message"]


def test_a_log_is_sent_as_far_as_it_is_written(place: Place) -> None:
    with serving(place) as agent:
        agent.job("a", ["sh", "-c", "echo one; echo two >&2"])
        agent.ended("a")
        with transfer(place, op="log", attempt_id="a", offset=5) as bulk:
            assert bulk.data() == (b"wo\n", [{"offset": 5}, {"end": True, "offset": 8}])
        with transfer(place, op="log", attempt_id="a", offset=99) as bulk:
            assert bulk.data() == (b"", [{"end": True, "offset": 8}])
        with transfer(place, op="log", attempt_id="no", offset=0) as bulk:
            assert "there is no job" in bulk.result()["error"]["message"]


def test_the_log_of_a_running_job_ends_where_it_is(place: Place) -> None:
    with serving(place) as agent:
        agent.job("a", ["sh", "-c", "echo one; sleep 300"])
        log = place.base / "jobs/a/log.0"
        eventually(lambda: log.exists() and log.read_bytes() == b"one\n")
        with transfer(place, op="log", attempt_id="a", offset=0) as bulk:
            assert bulk.data() == (b"one\n", [{"offset": 0}, {"end": True, "offset": 4}])
        agent.ask("job.stop", attempt_id="a", grace=1)


def test_a_log_over_its_cap_keeps_counting(place: Place) -> None:
    with serving(place) as agent:
        agent.job("a", ["sh", "-c", "seq 1 20000"], log_cap=16384)
        assert agent.ended("a")["exit_code"] == 0
    whole = "".join(f"{n}\n" for n in range(1, 20001)).encode()
    there = sorted((place.base / "jobs/a").glob("log.*"))
    assert len(there) == 2
    assert sum(p.stat().st_size for p in there) <= 16384
    with transfer(place, op="log", attempt_id="a", offset=100) as bulk:
        data, notes = bulk.data()
    start = notes[0]["offset"]
    assert start > 100
    assert data == whole[start:]
    assert notes[-1] == {"end": True, "offset": len(whole)}


def test_the_log_by_itself(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path), 16384)
    reader = Reader(str(tmp_path), 0)
    try:
        seen = b""
        for number in range(3000):
            writer.write(b"%05d\n" % number)
            if number % 500 == 0:
                for at, data in reader.pieces():
                    assert at == len(seen)
                    seen += data
        jumped = [at for at, _ in reader.pieces()]
        assert jumped[0] >= len(seen)
        assert reader.offset == 18000
        assert len(parts(str(tmp_path))) == 2
    finally:
        reader.close()
        writer.close()
    resumed = Writer(str(tmp_path), 16384)
    resumed.write(b"more")
    resumed.close()
    assert sum(parts(str(tmp_path))[-1]) == 18004


_LINKS: list[tuple[dict[str, Any], str]] = [
    ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "leads out"),
    ({"type": tarfile.SYMTYPE, "linkname": "../../x"}, "leads out"),
    ({"type": tarfile.LNKTYPE, "linkname": "../x"}, "leads out"),
    ({"name": "../x"}, "leads out"),
    ({"name": "/x"}, "leads out"),
    ({"name": "a/../../x"}, "leads out"),
    ({"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, "special file"),
    ({"type": tarfile.FIFOTYPE}, "special file"),
]


@pytest.mark.parametrize(("fields", "words"), _LINKS)
def test_hostile_archives_are_refused_whole(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "t.tar").write_bytes(tar_of({"good": b"1"}, bad=dict(fields)))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(Refusal, match=words):
        archive.extract(str(tmp_path / "t.tar"), str(target))
    assert list(target.iterdir()) == []


def test_nothing_is_written_through_links(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "d").symlink_to(outside)
    (target / "f").symlink_to(outside / "f")
    (tmp_path / "a.tar").write_bytes(tar_of({"f": b"new"}))
    archive.extract(str(tmp_path / "a.tar"), str(target))
    assert (target / "f").read_bytes() == b"new"
    assert not (target / "f").is_symlink()
    (tmp_path / "b.tar").write_bytes(tar_of({"d/g": b"new"}))
    with pytest.raises(Refusal, match="below something that is not a folder"):
        archive.extract(str(tmp_path / "b.tar"), str(target))
    assert list(outside.iterdir()) == []


def test_garbage_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(b"not a tar at all" * 100)
    with pytest.raises(Refusal, match="cannot be read"):
        archive.extract(str(tmp_path / "t.tar"), str(tmp_path))


def test_an_archive_comes_back_as_it_went(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub" / "empty").mkdir(parents=True)
    (source / "sub" / "ä").write_text("x" * 1000)
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o755)
    (source / "link").symlink_to("sub/ä")
    for path in (source, *source.rglob("*")):
        os.utime(path, (1e9, 1e9), follow_symlinks=False)
    target.mkdir()
    data = _packed(source)
    assert data == _packed(source)
    (tmp_path / "t.tar").write_bytes(data)
    archive.extract(str(tmp_path / "t.tar"), str(target))
    assert _packed(target) == data


def _packed(path: Path) -> bytes:
    step = os.open(path, os.O_PATH)
    try:
        return b"".join(archive.stream(step, path.name))
    finally:
        os.close(step)


@pytest.fixture
def docker_place(place: Place, short_folder: Path) -> Iterator[tuple[Place, Any]]:
    """A host with a scripted Docker."""
    with fake_docker(short_folder / "d.sock") as engine:
        place.variables["DOCKER_HOST"] = f"unix://{engine.path}"
        yield place, engine


def test_place_into_a_created_container(docker_place: tuple[Place, Any]) -> None:
    place, docker = docker_place
    data = tar_of({"f": b"1"})
    digest = _put(place, data)
    ref = docker.put(container(1, state="created", labels=ours("a-1")))
    fields = {"op": "place", "digest": digest, "runtime": "docker", "ref": ref, "path": "in"}
    with transfer(place, **fields, attempt_id="a-1") as bulk:
        assert bulk.result() == {"ok": True}
    ((where, stored),) = docker.stored.items()
    assert where == f"/containers/{ref}/archive?path=%2Fwork%2Fin"
    assert stored == data
    with transfer(place, **fields, attempt_id="a-2") as bulk:
        assert bulk.result()["error"]["kind"] == "ForbiddenError"
    docker.put(container(1, labels=ours("a-1")))
    with transfer(place, **fields, attempt_id="a-1") as bulk:
        assert "started already" in bulk.result()["error"]["message"]
    with transfer(place, **{**fields, "ref": "../x"}, attempt_id="a-1") as bulk:
        assert "not a container id" in bulk.result()["error"]["message"]
    with transfer(place, **{**fields, "ref": "abc"}, attempt_id="a-1") as bulk:
        error = bulk.result()["error"]
    assert (error["kind"], error["status"]) == ("EngineError", 404)


def test_archive_of_a_container(docker_place: tuple[Place, Any]) -> None:
    place, docker = docker_place
    data = tar_of({"out/f": os.urandom(100_000)})
    ref = docker.put(container(1, state="exited", labels=ours("a-1")))
    docker.archives["path=%2Fwork%2Fout"] = data
    fields = {"op": "archive", "runtime": "docker", "ref": ref, "path": "out"}
    with transfer(place, **fields, attempt_id="a-1", offset=90_000) as bulk:
        got, (end,) = bulk.data()
    assert got == data[90_000:]
    assert end == {"sha256": _digest(data), "size": len(data)}


def test_a_docker_that_is_not_there_is_told_from_one_that_refuses(
    place: Place, short_folder: Path
) -> None:
    place.variables["DOCKER_HOST"] = f"unix://{short_folder / 'none.sock'}"
    fields = {"op": "archive", "runtime": "docker", "ref": "abc", "path": "out"}
    with transfer(place, **fields, attempt_id="a-1") as bulk:
        error = bulk.result()["error"]
    assert (error["kind"], error["status"]) == ("EngineError", 503)


def test_unknown_transfers_are_answered(place: Place) -> None:
    with transfer(place, op="dance") as bulk:
        assert bulk.result()["error"]["kind"] == "InputError"


def test_gc_removes_what_nobody_keeps(agent: Agent) -> None:
    blobs = agent.place.base / "blobs"
    names = [f"{n:064x}" for n in range(4)]
    for age, name in enumerate(names):
        (blobs / name).write_bytes(b"x" * 100)
        os.utime(blobs / name, (time.time() - age * 100, time.time() - age * 100))
    (blobs / f"{names[3]}.part").write_bytes(b"x" * 50)
    old = agent.place.base / "venvs" / f"{9:064x}"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    assert agent.ask("gc", keep=[names[2]], max_bytes=250) == {"freed": 200}
    left = {p.name for p in blobs.iterdir()}
    assert names[2] in left
    assert names[0] in left
    assert not old.exists()


@pytest.mark.programs
def test_gc_keeps_the_code_of_agents_that_run(short_folder: Path) -> None:
    """Of an older version, say, months after its start."""
    place = Place(short_folder, fresh=True)
    with serving(place, "d1") as old:
        (own,) = (place.base / "agent").iterdir()
        other = own.with_name("0" * 64)
        shutil.copytree(own, other)
        for folder in (own, other):
            for path in (folder / "stamp", folder):
                os.utime(path, (1.0, 1.0))
        folders = Folders(str(place.base))
        blobs.collect(folders, (), 0, "another")
        assert own.is_dir(), "an agent runs from it"
        assert not other.exists()
        old.job("a-1", ["sh", "-c", "sleep 600"])
    blobs.collect(folders, (), 0, "another")
    assert own.is_dir(), "its job's shim runs from it"
    with serving(place, "d1") as again:
        again.ask("job.stop", attempt_id="a-1", grace=0)


def test_stat(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / ".token").write_text("t1")
    token = {"name": ".token", "content": "t1"}
    wrong = {"name": ".token", "content": "t2"}
    asked = [
        str(tmp_path), str(tmp_path / "no"), {"path": str(tmp_path), "token": token},
        {"path": str(tmp_path), "token": wrong},
    ]  # fmt: skip
    here, missing, right, other = agent.ask("stat", paths=asked)["paths"]
    assert (here["exists"], here["is_dir"], here["writable"]) == (True, True, True)
    assert not missing["exists"]
    assert (right["token_ok"], other["token_ok"]) == (True, False)
    (tmp_path / "link").symlink_to("/usr")
    (led,) = agent.ask("stat", paths=[str(tmp_path / "link")])["paths"]
    assert (led["path"], led["real"]) == (str(tmp_path / "link"), "/usr")
    with pytest.raises(AgentSaysNo, match="not an absolute path"):
        agent.ask("stat", paths=["relative"])


def test_doctor_speaks_of_everything(agent: Agent) -> None:
    checks = {c["check"]: c for c in agent.ask("doctor")["checks"]}
    assert {"python", "docker", "nvml", "disk", "var-tmp"} <= set(checks)
    assert checks["nvml"]["message"] == "2 GPUs, driver 550.54.15"
    assert all(c["state"] in ("ok", "warn", "fail") for c in checks.values())
    assert all(c["remedy"] for c in checks.values() if c["state"] != "ok")


def test_work_of_which_nothing_comes_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To go on where a cut was, all before it is read again; the other side waits two minutes."""
    monkeypatch.setattr(sending, "_EVERY", -1.0)
    sent: list[bytes] = []
    for module in (sending, transfers):
        monkeypatch.setattr(module, "send", sent.append)
    transfers._send_file(8, 1.0, iter((b"ab", b"cd", b"", b"efgh")), 5)
    reader = wire.FrameReader()
    sha256 = hashlib.sha256(b"abcdefgh").hexdigest()
    busy = {"busy": True}
    assert [*reader.feed(b"".join(sent))] == [
        {"size": 8, "mtime": 1.0}, busy, busy, busy, b"fgh", {"sha256": sha256}, None,
    ]  # fmt: skip
    sent.clear()
    skipped = archive.Skipped(iter((b"ab", b"cd", b"ef")), 3, sending.Pulse())
    assert list(skipped) == [b"d", b"ef"]
    file = tmp_path / "log"
    file.write_bytes(b"grown")
    with file.open("rb") as grown:
        before = os.fstat(grown.fileno())
        with file.open("ab") as more:
            more.write(b"more")
        at_first = hashlib.sha256(b"grown").hexdigest()
        files.require_steady(grown.fileno(), before, b"log", at_first, sending.Pulse())
    assert [*reader.feed(b"".join(sent))] == [busy, busy]
