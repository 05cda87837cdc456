"""Files of a job on a real agent, through the link: lists, changes, one file, a chosen few."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import sys
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ConflictError, HostlerError, InputError, NotFoundError
from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import agent_program
from hostler.model.files import FileEntry, Select
from hostler.ports import ArchiveSource, Exited
from tests.support.machines.warm_door import WarmDoor
from tests.support.programs.cache import cache
from tests.support.values.tars import tar_of

pytestmark = pytest.mark.programs

ATTEMPT = "r1-train-1"
ALL = Select()


def source(path: str = "", **more: Any) -> ArchiveSource:
    return ArchiveSource(ATTEMPT, "process", ATTEMPT, path, **more)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The agent's folder on this machine."""
    (tmp_path / "b").mkdir(mode=0o700)
    (tmp_path / "b" / "agent").symlink_to(cache("hostler-test-agents"))
    monkeypatch.setenv("HOSTLER_FOLDER", str(tmp_path / "b"))
    monkeypatch.setenv("HOSTLER_LEASES", str(tmp_path / "l" / "leases"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    return tmp_path / "b"


@pytest.fixture
def work(base: Path) -> Path:
    """The job's working folder."""
    return base / "jobs" / ATTEMPT / "work"


@pytest.fixture
async def link(base: Path) -> AsyncIterator[AgentLink]:
    """A host of which this daemon is "d1"."""
    made = AgentLink(WarmDoor("here"), agent_program().with_python(sys.executable), "d1")
    await made.connect()
    yield made
    await made.close()


async def ran(
    link: AgentLink, tmp_path: Path, line: str, here: Path | None = None, **placed: bytes
) -> Exited:
    """A job that has ended, with what was told of it."""
    created = {
        "attempt_id": ATTEMPT, "daemon_id": "d1", "run_id": "r1", "stage": "train", "owner": "ana",
        "gpus": [], "checkpoint": "ckpt", "checkpoint_key": "key", "log_cap": 100000, "grace": 1.0,
        "here": str(here) if here else None,
    }  # fmt: skip
    await link.call("job.create", created)
    if placed:
        data = tar_of({name.replace("__", "."): content for name, content in placed.items()})
        (tmp_path / "blob").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        await link.put_blob(digest, tmp_path / "blob")
        place = {"attempt_id": ATTEMPT, "digest": digest, "target": ""}
        await link.call("job.place", place)
    pushes = link.pushes()
    start = {"attempt_id": ATTEMPT, "argv": ["sh", "-c", line], "env": {}, "cwd": str(here or "")}
    await link.call("job.start", start)
    pushed = await anext(pushes)
    assert isinstance(pushed, Exited)
    assert pushed.workload.exit_code == 0, pushed.left
    return pushed


def paths(entries: tuple[FileEntry, ...]) -> list[str]:
    return [entry.path for entry in entries]


_MAKES = """
echo new > model.pt; mkdir -p runs/a; echo x > runs/a/log; ln -s runs/a latest
echo more >> changed__py; touch same__py; echo b > other; mv other equal__py
mkdir -p .cache/pip env .git node_modules/x inputs .hostler; echo 12345 > .cache/pip/c
touch env/pyvenv.cfg .git/HEAD node_modules/x/y inputs/in; head -c 5000 /dev/zero > env/lib
printf '\\177ELFxx' > core.12; echo text > core; mkfifo pipe; echo s > ckpt/state
""".replace("__", ".")
_PLACED = {"changed__py": b"a\n", "same__py": b"a\n", "equal__py": b"b\n", "left__py": b"l\n"}


async def test_what_is_new_or_changed(link: AgentLink, tmp_path: Path) -> None:
    await ran(link, tmp_path, _MAKES, None, **_PLACED)
    found = await link.changed_files(source(), ALL)
    assert paths(found.files) == ["changed.py", "core", "latest", "model.pt", "runs/a/log"]
    kinds = {entry.path: (entry.kind, entry.size) for entry in found.files}
    assert kinds["latest"] == ("link", 0)
    assert kinds["model.pt"] == ("file", 4)
    assert not found.truncated
    assert found.left_out["environments"] == 5000
    assert found.left_out["caches"] == 6
    assert found.left_out["core files"] == 6
    assert "special files" in found.left_out
    skipped = await link.changed_files(source(), Select(skip=("runs", "model.pt")))
    assert paths(skipped.files) == ["changed.py", "core", "latest"]


_NAMED: list[tuple[tuple[str, ...], list[str]]] = [
    (("*.pt",), ["model.pt"]),
    (("runs/",), ["runs/a/log"]),
    (("runs/*/log", "left.py"), ["left.py", "runs/a/log"]),
    (("**/log",), ["runs/a/log"]),
    ((".cache",), [".cache/pip/c"]),
    (("env/lib",), ["env/lib"]),
    (("inputs/i*",), ["inputs/in"]),
    (("no*",), []),
    ((), []),
]


async def test_what_is_named(link: AgentLink, tmp_path: Path) -> None:
    await ran(link, tmp_path, _MAKES, None, **_PLACED)
    for globs, expected in _NAMED:
        found = await link.changed_files(source(), Select(globs=globs))
        assert paths(found.files) == expected, globs


async def test_a_chosen_few_come_as_a_tar_again_and_again(link: AgentLink, tmp_path: Path) -> None:
    await ran(link, tmp_path, _MAKES, None, **_PLACED)
    wanted = ["runs/a/log", "model.pt", "latest", "gone", "runs"]
    archive = link.read_archive(source(), paths=wanted)
    whole = b"".join([piece async for piece in archive])
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == ["latest", "model.pt", "runs/a/log"]
        assert tar.getmember("latest").linkname == "runs/a"
        model = tar.extractfile("model.pt")
        assert model is not None
        assert model.read() == b"new\n"
    rest = [piece async for piece in link.read_archive(source(), 700, list(reversed(wanted)))]
    assert b"".join(rest) == whole[700:]
    inner = [piece async for piece in link.read_archive(source("runs"), paths=["a/log"])]
    with tarfile.open(fileobj=io.BytesIO(b"".join(inner))) as tar:
        assert tar.getnames() == ["a/log"]


async def test_a_list_of_a_folder(link: AgentLink, tmp_path: Path) -> None:
    await ran(link, tmp_path, "mkdir -p a/b; echo 1 > a/b/c; ln -s b a/l; mkfifo a/p")
    found = await link.list_files(source("a"), recursive=False)
    assert [(e.path, e.kind) for e in found.entries] == [("b", "folder"), ("l", "link")]
    deep = await link.list_files(source("a"), recursive=True)
    assert paths(deep.entries) == ["b", "b/c", "l"]
    one = await link.list_files(source("a/b/c"), recursive=False)
    assert [(e.path, e.size) for e in one.entries] == [("c", 2)]
    through = await link.list_files(source("a/l"), recursive=False)
    assert paths(through.entries) == ["c"]
    with pytest.raises(NotFoundError, match="there is no a/no in the folder"):
        await link.list_files(source("a/no"), recursive=False)


async def test_a_file_is_read_from_any_byte(link: AgentLink, tmp_path: Path, work: Path) -> None:
    await ran(link, tmp_path, "head -c 3000000 /dev/urandom > big; : > empty; ln -s big last")
    data = (work / "big").read_bytes()
    for path, offset in (("big", 0), ("last", 1_234_567), ("big", 4_000_000), ("empty", 0)):
        stream = link.read_file(source(path), offset)
        await stream.begin()
        whole = b"" if path == "empty" else data
        assert stream.size == len(whole)
        assert b"".join([piece async for piece in stream]) == whole[offset:]
        assert stream.sha256 == hashlib.sha256(whole).hexdigest()


_NO_FILES: list[tuple[str, type[HostlerError], str]] = [
    ("no", NotFoundError, "there is no no in the folder"),
    ("folder", InputError, "is a folder"),
    ("pipe", InputError, "not a plain file"),
    ("out", InputError, "leads out of the folder"),
    ("up/etc/passwd", InputError, "leads out of the folder"),
    ("round", InputError, "too many links"),
    ("../../x", InputError, "leads out"),
]


async def test_what_is_no_file_of_the_job_is_refused(link: AgentLink, tmp_path: Path) -> None:
    await ran(
        link, tmp_path,
        "mkdir folder; mkfifo pipe; ln -s /etc/passwd out; ln -s ../../../../../../.. up;"
        " ln -s round round",
    )  # fmt: skip
    for path, error, words in _NO_FILES:
        with pytest.raises(error, match=words):
            await link.read_file(source(path)).begin()


async def test_the_checkpoint_is_read_where_the_job_has_a_link_to_it(
    link: AgentLink, tmp_path: Path
) -> None:
    await ran(link, tmp_path, "echo state > ckpt/last; ln -s ../.. ckpt/out")
    found = [piece async for piece in link.read_file(source("ckpt/last"))]
    assert b"".join(found) == b"state\n"
    with pytest.raises(InputError, match="leads out"):
        await link.list_files(source("ckpt/out"), recursive=False)


async def test_names_that_are_no_text_are_found_again(
    link: AgentLink, tmp_path: Path, work: Path
) -> None:
    await ran(link, tmp_path, "true")
    for name in (b"a\xff", b"line\nbreak", "größe".encode()):
        (work / os.fsdecode(name)).write_bytes(name)
    found = await link.changed_files(source(), ALL)
    assert paths(found.files) == ["a\ufffd", "größe", "line\nbreak"]
    stream = link.read_file(source("a\ufffd"))
    assert b"".join([piece async for piece in stream]) == b"a\xff"
    archive = link.read_archive(source(), paths=paths(found.files))
    with tarfile.open(fileobj=io.BytesIO(b"".join([piece async for piece in archive]))) as tar:
        assert sorted(tar.getnames()) == paths(found.files)


async def test_a_folder_of_the_host_itself(link: AgentLink, tmp_path: Path) -> None:
    here = tmp_path / "project"
    (here / "sub").mkdir(parents=True)
    (here / "old").write_text("old")
    os.utime(here / "old", (1.0, 1.0))
    since = (here / "old").stat().st_ctime + 0.2
    while (here / "probe").write_text("") is not None and (here / "probe").stat().st_ctime < since:
        pass
    (here / "sub" / "new").write_text("new")
    (here / "probe").unlink()
    (here / "out").symlink_to("/etc/passwd")
    where = source("", here=str(here))
    found = await link.changed_files(where, Select(since=since))
    assert paths(found.files) == ["out", "sub/new"]
    stream = link.read_file(source("sub/new", here=str(here)))
    assert b"".join([piece async for piece in stream]) == b"new"
    with pytest.raises(InputError, match="leads out"):
        await link.read_file(source("out", here=str(here))).begin()
    with pytest.raises(NotFoundError, match="no longer exists"):
        await link.list_files(source("", here=str(tmp_path / "no")), recursive=False)


_QUIET = "mkdir -p out __pycache__; touch __pycache__/a.pyc; echo s > ckpt/s"


@pytest.mark.parametrize(
    ("line", "changed"), [(_QUIET, 0), ("echo x > new", None), ("echo b > b.py", None)]
)
async def test_nothing_changed_is_told_with_the_exit(
    link: AgentLink, tmp_path: Path, line: str, changed: int | None
) -> None:
    told = await ran(link, tmp_path, line, None, a__py=b"a", b__py=b"b")
    assert told.left is not None
    # A busy machine does not look to the end, and then it has to be asked for.
    assert told.left.changed in (changed, None)


@pytest.mark.parametrize(("line", "changed"), [("true", 0), ("echo x > model.pt", None)])
async def test_a_job_that_works_in_a_folder_of_the_host(
    link: AgentLink, tmp_path: Path, line: str, changed: int | None
) -> None:
    here = tmp_path / "project"
    here.mkdir()
    (here / "train.py").write_text("")
    while (here / "train.py").stat().st_ctime + 0.2 > time.time():
        await asyncio.sleep(0.01)
    told = await ran(link, tmp_path, line, here)
    assert told.left is not None
    # A busy machine does not look to the end, and then it has to be asked for.
    assert told.left.changed in (changed, None)


async def test_a_running_job_is_not_kept(link: AgentLink, tmp_path: Path, base: Path) -> None:
    await ran(link, tmp_path, "echo 1 > f; echo said")
    kept = await link.keep_files(source(), 5.0)
    assert (kept.files, kept.path) == (1, str(base / "jobs" / ATTEMPT / "work"))
    assert not list((base / "jobs" / ATTEMPT).glob("log.*"))
    await link.call("job.remove", {"attempt_id": ATTEMPT})
    await link.call(
        "job.start",
        {"attempt_id": ATTEMPT, "argv": ["sleep", "60"], "env": {},
         "create": {"daemon_id": "d1", "log_cap": 1000}},
    )  # fmt: skip
    with pytest.raises(ConflictError, match="still running"):
        await link.keep_files(source(), 5.0)
    await link.call("job.stop", {"attempt_id": ATTEMPT, "grace": 0.0})
