"""What a stage may leave behind to lead who lists, reads or copies its files elsewhere, or to hold
it up: links, mounts, exchanged folders, odd names, very many or very large files."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import (
    archive,
    beneath,
    boxexec,
    chosenfiles,
    cleaning,
    files,
    journal,
    keeping,
    left_out,
    placed,
    walk,
)
from hostler_agent.beneath import Root
from hostler_agent.files import Changes, Wanted
from hostler_agent.folders import Folders, Refusal
from hostler_agent.journal import Job
from hostler_agent.source import ArchiveSource
from tests.support.programs.agents import PYTHONS, AgentSaysNo, Place, eventually, serving, transfer

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
ALL = Wanted(None, (), None)


def quiet() -> None:
    """No pulse."""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def root(work: Path) -> Iterator[Root]:
    opened = Root(str(work), beneath.open_folder(str(work)))
    yield opened
    opened.close()


def changed(root: Root, wanted: Wanted = ALL) -> Changes:
    found = Changes(wanted, {}, quiet)
    found.through(root)
    return found


def names(found: Changes) -> list[str]:
    return [entry[0] for entry in found.entries.sorted()]


def content(root: Root, path: str) -> bytes:
    descriptor = files.opened(root, path.encode())
    try:
        size = os.fstat(descriptor).st_size
        return b"".join(files.pieces(descriptor, size, path.encode()))
    finally:
        os.close(descriptor)


def test_links_within_the_folder_are_followed_and_no_others(root: Root, work: Path) -> None:
    (work / "a" / "b").mkdir(parents=True)
    (work / "a" / "b" / "f").write_text("mine")
    (work / "up").symlink_to("a/b/../b/f")
    (work / "absolute").symlink_to(work / "a")
    (work / "a" / "out").symlink_to("../../secret")
    (work / "a" / "sly").symlink_to("b/../../../secret")
    (work.parent / "secret").write_text("theirs")
    assert content(root, "up") == content(root, "absolute/b/f") == b"mine"
    for path in ("a/out", "a/sly"):
        with pytest.raises(Refusal, match="leads out of the folder"):
            content(root, path)
    with pytest.raises(Refusal, match="leads out of the folder"):
        root.step(b"../secret")


def test_a_folder_that_is_exchanged_all_the_time_never_gives_what_is_outside(
    root: Root, work: Path
) -> None:
    """Whoever looks first and opens then would read the other file sooner or later."""
    outside = work.parent / "outside"
    for folder, text in ((work / "real", "mine"), (outside, "theirs")):
        folder.mkdir()
        (folder / "f").write_text(text)
    (work / "link").symlink_to(outside)
    (work / "d").symlink_to("real")
    over = threading.Event()

    def exchange() -> None:
        while not over.is_set():
            for target in ("real", str(outside)):
                (work / "next").symlink_to(target)
                (work / "next").rename(work / "d")

    exchanging = threading.Thread(target=exchange)
    exchanging.start()
    try:
        seen: set[bytes] = set()
        until = time.monotonic() + 60
        while seen != {b"mine", b"InputError"} and time.monotonic() < until:
            try:
                seen.add(content(root, "d/f"))
            except Refusal as refusal:
                seen.add(refusal.kind.encode())
            whole = b"".join(chosenfiles.chosen_tar(root, b"", [b"d/f"]))
            assert b"theirs" not in whole
    finally:
        over.set()
        exchanging.join()
    assert seen == {b"mine", b"InputError"}  # it was exchanged meanwhile


@pytest.mark.programs
@NEEDS_ROOT
@pytest.mark.parametrize("kind", ["--bind", "tmpfs"])
def test_nothing_is_read_of_what_is_mounted_in_the_folder(
    root: Root, work: Path, kind: str
) -> None:
    (work / "own").write_text("1")
    outside = work.parent / "outside"
    for folder in (outside, work / "m"):
        folder.mkdir()
    (outside / "f").write_text("theirs")
    source = ["--bind", str(outside)] if kind == "--bind" else ["-t", "tmpfs", "none"]
    if subprocess.run(["mount", *source, work / "m"], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        (work / "m" / "f").write_text("theirs")
        found = changed(root)
        assert names(found) == ["own"]
        assert left_out.ELSEWHERE in found.walk.left_out
        with pytest.raises(Refusal, match="lies on another file system"):
            content(root, "m/f")
        assert b"theirs" not in b"".join(chosenfiles.chosen_tar(root, b"", [b"m/f"]))
        entries, _ = files.listed(root, b"", True, quiet)
        assert [entry[0] for entry in entries] == ["own"]
        assert placed.unchanged(Job(str(work.parent), [])) is None
    finally:
        subprocess.run(["umount", work / "m"], check=True)


@pytest.fixture
def silent_mount(work: Path) -> Iterator[None]:
    """A file system on `m` that never answers, as any user with `fusermount` can make one."""
    (work / "m").mkdir()
    (work / "own").write_text("1")
    libc = ctypes.CDLL(None)
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("nothing may be mounted here")
    where = os.fsencode(work / "m")
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fuse
    if libc.mount(b"silent", where, b"fuse", 0, options):
        os.close(fuse)
        pytest.skip("nothing may be mounted here")
    yield
    libc.umount2(where, 2)
    os.close(fuse)  # whoever waits for it is told


@NEEDS_ROOT
@pytest.mark.usefixtures("silent_mount")
def test_nobody_waits_for_a_file_system_of_a_stage(work: Path) -> None:
    asks: dict[str, Callable[[Root], Any]] = {
        "changes": lambda root: names(changed(root)),
        "list": lambda root: [entry[0] for entry in files.listed(root, b"", True, quiet)[0]],
        "files": lambda root: (
            b"m/f" in b"".join(chosenfiles.chosen_tar(root, b"", [b"m", b"m/f", b"own"]))
        ),
        "size": lambda root: files.measured(root, quiet),
        "output": _archived,
    }
    answers: dict[str, Any] = {}

    def answer(name: str, ask: Callable[[Root], Any]) -> None:
        # Each opens the folder for itself, as each agent does: threads that list one open folder
        # share their place in it, and each finds what the others have not found yet.
        root = Root(str(work), beneath.open_folder(str(work)))
        answers[name] = ask(root)
        root.close()

    threads = [threading.Thread(target=answer, args=each, daemon=True) for each in asks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {
        "changes": ["own"], "list": ["own"], "files": False, "size": (1, 1),
        "output": beneath.Elsewhere,
    }  # fmt: skip


def _archived(root: Root) -> type[OSError] | None:
    """The error that ended an archive of the folder."""
    step = root.step(b"")
    try:
        b"".join(archive.stream(step, "work"))
    except OSError as error:
        return type(error)
    finally:
        os.close(step)
    return None


@NEEDS_ROOT
def test_what_is_mounted_in_a_jobs_folder_is_not_removed_with_it(
    place: Place, tmp_path: Path
) -> None:
    """A stage may have mounted a bucket, or left a bind of somebody's data."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "precious").write_text("1")
    with serving(place) as agent:
        agent.job("a", ["mkdir", "m"])
        agent.ended("a")
        where = place.base / "jobs/a/work/m"
        if subprocess.run(["mount", "--bind", data, where], capture_output=True).returncode:
            pytest.skip("nothing may be mounted here")
        try:
            with pytest.raises(AgentSaysNo, match=r"mounted in .* unmount it"):
                agent.ask("job.remove", attempt_id="a")
        finally:
            subprocess.run(["umount", where], check=True)
        assert (data / "precious").exists()
        agent.ask("job.remove", attempt_id="a")
        assert not where.exists()


@pytest.mark.programs
@NEEDS_ROOT
def test_what_is_mounted_in_a_checkpoint_is_not_removed_with_it(tmp_path: Path) -> None:
    folders = Folders(str(tmp_path / "b"))
    folders.make()
    data, where = tmp_path / "data", Path(folders.checkpoints, "dddddddd-r-s", "m")
    for path in (data, where, Path(folders.checkpoints, "dddddddd-r-t")):
        path.mkdir(parents=True)
    (data / "precious").write_text("1")
    if subprocess.run(["mount", "--bind", data, where], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        assert cleaning.sweep_checkpoints(folders, "dddddddd", []) == {"removed": 1}
    finally:
        subprocess.run(["umount", where], check=True)
    assert (data / "precious").exists()
    assert cleaning.sweep_checkpoints(folders, "dddddddd", []) == {"removed": 1}
    assert (data / "precious").exists()


@pytest.mark.parametrize("path", ["f", "d/f"])
def test_what_may_not_be_read_does_not_come_and_keeps_no_other_file_back(
    root: Root, work: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "d").mkdir()
    (work / path).write_text("1")
    (work / "other").symlink_to("f")

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(beneath, "open_plain" if path == "f" else "enter", refused)
    whole = b"".join(chosenfiles.chosen_tar(root, b"", [path.encode(), b"other"]))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == ["other"]
    if path == "d/f":
        found = changed(root)
        assert found.walk.truncated
        assert left_out.UNREADABLE in found.walk.left_out


@pytest.mark.programs
@NEEDS_ROOT
def test_a_file_that_is_mounted_over_is_not_read(root: Root, work: Path) -> None:
    (work.parent / "secret").write_text("theirs")
    (work / "f").write_text("mine")
    bind = ["mount", "--bind", str(work.parent / "secret"), str(work / "f")]
    if subprocess.run(bind, capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        with pytest.raises(Refusal, match="lies on another file system"):
            content(root, "f")
        assert b"theirs" not in b"".join(chosenfiles.chosen_tar(root, b"", [b"f"]))
    finally:
        subprocess.run(["umount", work / "f"], check=True)


def test_special_files_are_opened_by_nobody(root: Root, work: Path) -> None:
    """Who opens a FIFO waits for a writer, and a device may do anything."""
    os.mkfifo(work / "core")
    os.mkfifo(work / "pipe")
    if os.geteuid() == 0:
        os.mknod(work / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        with pytest.raises(Refusal, match="not a plain file"):
            content(root, "device")
    found = changed(root)
    assert names(found) == []
    assert left_out.SPECIAL in found.walk.left_out
    with pytest.raises(Refusal, match="not a plain file"):
        content(root, "pipe")
    whole = b"".join(chosenfiles.chosen_tar(root, b"", [b"pipe", b"device"]))
    assert whole == bytes(2 * tarfile.BLOCKSIZE)


def test_of_names_that_look_alike_it_is_told_that_there_are_more(root: Root, work: Path) -> None:
    for name in (b"f", b"a\xe9"):
        (work / os.fsdecode(name)).write_text("1")
    assert not changed(root).walk.truncated
    (work / os.fsdecode(b"a\xe8")).write_text("2")
    found = changed(root)
    assert (names(found), found.walk.truncated) == (["a\ufffd", "f"], True)
    assert files.listed(root, b"", True, quiet)[1]


def test_thousands_of_names_that_are_no_text_are_found_by_reading_their_folder_once(
    root: Root, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = work / os.fsdecode(b"d\xe9")
    odd.mkdir()
    for number in range(300):
        (odd / os.fsdecode(b"f%03d\xe9" % number)).touch()
    read: list[Any] = []
    scandir = os.scandir

    def noted(folder: Any) -> Any:
        read.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", noted)
    asked = [f"d\ufffd/f{number:03}\ufffd".encode() for number in range(300)]
    whole = b"".join(chosenfiles.chosen_tar(root, b"", asked))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert [name.encode() for name in tar.getnames()] == asked
    assert len(read) == 2


def test_terabytes_of_holes_are_named_and_not_read(root: Root, work: Path) -> None:
    with open(work / "big", "wb") as file:
        file.truncate(8 * 1024**4)
    (entry,) = changed(root).entries.sorted()
    assert entry[:3] == ("big", "file", 8 * 1024**4)
    assert files.measured(root, quiet) == (1, 0)


def test_a_walk_ends_at_what_a_list_may_hold(
    root: Root, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        (work / f"f{number:02}").touch()
    monkeypatch.setattr(files, "MOST_ENTRIES", 20)
    found = changed(root)
    assert len(names(found)) == 20
    assert found.walk.truncated
    monkeypatch.setattr(files, "MOST_ENTRIES", 1000)
    monkeypatch.setattr(walk, "MOST_SEEN", 30)
    found = changed(root)
    assert len(names(found)) <= 30
    assert found.walk.truncated
    monkeypatch.setattr(walk, "MOST_SEEN", 1000)
    monkeypatch.setattr(files, "MOST_NAMES", 8192 + 30)
    assert len(names(changed(root))) == 10


def dig(here: int, depth: int) -> int:
    """So many folders in each other, in an open one, which is closed; the last one, open."""
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    return here


def test_folders_without_end_are_cut(root: Root, work: Path) -> None:
    here = dig(os.open(work, os.O_RDONLY), walk.MOST_DEEP + 20)
    os.close(os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    (work / "f").touch()
    found = changed(root)
    assert names(found) == ["f"]
    assert left_out.TOO_DEEP in found.walk.left_out


def test_what_is_left_out_deep_down_may_be_deep_itself(root: Root, work: Path) -> None:
    here = dig(os.open(work, os.O_RDONLY), walk.MOST_DEEP - 20)
    os.mkdir("__pycache__", dir_fd=here)
    os.close(dig(os.open("__pycache__", os.O_RDONLY, dir_fd=here), walk.MOST_DEEP - 20))
    os.close(here)
    (work / "f").touch()
    assert names(changed(root)) == ["f"]


def test_a_file_that_shrinks_while_it_is_read_is_refused(root: Root, work: Path) -> None:
    (work / "f").write_bytes(bytes(3 * 1024 * 1024))
    descriptor = files.opened(root, b"f")
    pieces = files.pieces(descriptor, 3 * 1024 * 1024, b"f")
    next(pieces)
    os.truncate(work / "f", 100)
    with pytest.raises(Refusal, match="became shorter while it was read"):
        list(pieces)
    os.close(descriptor)


def test_a_path_that_is_too_long_is_not_taken_for_nothing(root: Root, work: Path) -> None:
    folder = beneath.open_folder(str(work))
    for _ in range(17):
        os.mkdir("d" * 250, dir_fd=folder)
        inner = beneath.enter(folder, b"d" * 250)
        os.close(folder)
        folder = inner
    os.close(os.open("model.pt", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    found = changed(root)
    assert names(found) == []
    assert found.walk.truncated


def test_a_job_that_is_no_folder_any_more_leads_nowhere(tmp_path: Path) -> None:
    """The job may put a link in the place of its own working folder."""
    folders = Folders(str(tmp_path / "b"))
    folders.make()
    job = Path(folders.job("a-1"))
    job.mkdir()
    journal.append(str(job), {"event": "created", "daemon_id": "d"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("theirs")
    (job / "work").symlink_to(outside)
    with pytest.raises((Refusal, OSError)):
        files.rooted(ArchiveSource("a-1", "", "", ""), folders)
    assert placed.unchanged(Job(str(job), [])) is None


def _ended(job: Path, **created: Any) -> Job:
    (job / "work").mkdir(parents=True)
    started: Any = {"event": "started", "at": time.time()}
    return Job(str(job), [{"event": "created", **created}, started])


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, the look after the end of a job comes to its end."""
    monkeypatch.setattr(placed, "_SOON", 60.0)


@pytest.mark.parametrize("key", ["..", ".", "../jobs", "", 5])
def test_a_journal_that_the_job_wrote_opens_no_folder_but_its_own(tmp_path: Path, key: Any) -> None:
    folders = Folders(str(tmp_path))
    folders.make()
    job = Path(folders.job("a-1"))
    (job / "work").mkdir(parents=True)
    (tmp_path / "jobs" / "b-1").mkdir()
    (tmp_path / "jobs" / "b-1" / "f").write_text("theirs")
    journal.append(str(job), {"event": "created", "daemon_id": "d", "checkpoint_key": key})
    (job / "work" / "l").symlink_to(f"{folders.checkpoints}/{key}/jobs/b-1/f")
    with pytest.raises(Refusal):
        content(files.rooted(ArchiveSource("a-1", "", "", ""), folders), "l")


@pytest.mark.usefixtures("patient")
def test_a_folder_in_which_nothing_happened_is_known_as_such(tmp_path: Path) -> None:
    job = _ended(tmp_path / "a", checkpoint="ckpt")
    work = tmp_path / "a" / "work"
    (work / "train.py").write_text("1")
    writer = placed.Writer(str(tmp_path / "a"), "")
    writer.add("train.py", str(work / "train.py"), "digest")
    writer.close()
    (work / "ckpt").symlink_to("/")
    (work / "out" / "__pycache__").mkdir(parents=True)
    (work / "out" / "__pycache__" / "x.pyc").touch()
    assert placed.unchanged(job) == 0
    (work / "out" / "model.pt").touch()
    assert placed.unchanged(job) is None
    (work / "out" / "model.pt").unlink()
    assert placed.unchanged(job) == 0
    os.utime(work / "train.py", (1, 1))  # its ctime is another: it has to be read
    assert placed.unchanged(job) is None


@pytest.mark.usefixtures("patient")
def test_folders_beyond_what_a_short_look_sees_are_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _ended(tmp_path / "a")
    for number in range(20):
        (tmp_path / "a" / "work" / f"d{number}").mkdir()
    *_, last = os.scandir(tmp_path / "a" / "work")
    (Path(last) / "model.pt").touch()
    for most in range(1, 25):
        monkeypatch.setattr(placed, "_FEW", most)
        assert placed.unchanged(job) is None, most


@pytest.mark.usefixtures("patient")
def test_a_folder_of_the_host_in_which_nothing_happened(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "sub" / "old").touch()
    until = time.time() + 2 * placed.COARSE
    while time.time() < until:
        os.sched_yield()
    job = _ended(tmp_path / "a", here=str(here))
    assert placed.unchanged(job) == 0
    (here / "sub" / "new").touch()
    assert placed.unchanged(job) is None
    (here / "sub" / "new").unlink()
    with placed._looking:  # another one hangs on a file server
        assert placed.unchanged(job) is None
    assert placed.unchanged(job) == 0


@pytest.mark.parametrize(
    "lie",
    [b"", b"nonsense\n", b'["f",1]\n', b'["f","x",1,2,3]\n', b"[" * 100000, b"{}\n" * 1000,
     b'["f",4,"aa",5,6]\n'],
)  # fmt: skip
def test_what_a_job_writes_of_what_was_placed_is_believed_of_its_own_files_only(
    tmp_path: Path, lie: bytes
) -> None:
    (tmp_path / placed.NAME).write_bytes(lie)
    folder = beneath.open_folder(str(tmp_path))
    try:
        assert set(placed.read(folder) or {}) <= {b"f"}
    finally:
        os.close(folder)
    (tmp_path / placed.NAME).unlink()
    os.mkfifo(tmp_path / placed.NAME)
    folder = beneath.open_folder(str(tmp_path))
    try:
        assert placed.read(folder) == {}
    finally:
        os.close(folder)


def test_a_journal_of_lists_in_lists_without_end_takes_no_agent_away(place: Place) -> None:
    with serving(place) as agent:
        line = "head -c 100000 /dev/zero | tr '\\0' '[' >> ../journal; echo >> ../journal; touch up"
        agent.job("a", ["sh", "-c", line])
        eventually(lambda: (place.base / "jobs/a/work/up").exists())
        assert not agent.ended("a")["running"]
        assert agent.look()["workloads"]


def test_a_mark_on_a_full_disk_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is almost full takes the beginning, and says so by a number only."""
    told = keeping.Mark("d", "a", 1.0, 1, 2, "/x")
    keeping.mark(str(tmp_path / "kept"), told)
    room, real = [20], os.write

    def write(descriptor: int, data: bytes) -> int:
        piece = bytes(data)[: room[0]]
        if not piece:
            raise OSError(28, "No space left on device")
        room[0] -= len(piece)
        return real(descriptor, piece)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space left"):
            keeping.mark(str(tmp_path / "kept"), told._replace(until=2.0))
    assert keeping.read(str(tmp_path / "kept")) == told
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize(
    "lie", ["", "[]", '{"daemon_id":1}', '{"until":1e999}', "x" * 100000, "[" * 15000]
)
def test_a_mark_that_is_none_is_none(tmp_path: Path, lie: str) -> None:
    (tmp_path / "kept").write_text(lie)
    assert keeping.read(str(tmp_path / "kept")) is None
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert keeping.read(str(tmp_path / "link")) is None


def test_a_running_job_cannot_hide_itself(place: Place) -> None:
    mark = '{"daemon_id":"d1","ref":"a","until":9,"files":0,"bytes":0,"path":"p"}'
    with serving(place) as agent:
        agent.job("a", ["sh", "-c", f"echo '{mark}' > ../kept; echo up > up; sleep 600"])
        eventually(lambda: (place.base / "jobs/a/work/up").exists())
        (workload,) = agent.look()["workloads"]
        assert workload["running"]
        assert agent.look()["kept"] == {"count": 0, "bytes": 0}
        agent.ask("job.stop", attempt_id="a", grace=0)


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_a_job_is_kept_on_every_python(place: Place, version: str) -> None:
    if not PYTHONS[version]:
        pytest.skip(f"Python {version} is not installed here")
    place.python = PYTHONS[version]
    with serving(place) as agent:
        agent.job("a", ["sh", "-c", "echo 123 > f; mkdir d; echo 4 > d/g"])
        agent.ended("a")
        fields: dict[str, Any] = {"attempt_id": "a", "runtime": "process", "ref": "a", "path": ""}
        with transfer(place, op="list", recursive=True, **fields) as bulk:
            _, (listed, end) = bulk.data()
        assert [entry[0] for entry in listed["entries"]] == [".hostler", "d", "d/g", "f"]
        assert end == {"end": True, "truncated": False}
        with transfer(place, op="keep", until=12.5, **fields) as bulk:
            told = bulk.result()
        assert (told["files"], told["path"]) == (2, str(place.base / "jobs/a/work"))
        eventually(lambda: not agent.look()["workloads"])
        assert agent.look()["kept"] == {"count": 1, "bytes": told["bytes"]}
        (kept,) = agent.ask("kept.list", daemon_id="d1")["kept"]
        assert (kept["attempt_id"], kept["until"], kept["exists"]) == ("a", 12.5, True)
        assert agent.ask("kept.list", daemon_id="d2")["kept"] == []
        with transfer(place, op="read", offset=0, **{**fields, "path": "d/g"}) as bulk:
            data, _ = bulk.data()
        assert data == b"4\n"
        agent.ask("job.remove", attempt_id="a")
        assert agent.look()["kept"] == {"count": 0, "bytes": 0}
        assert agent.ask("kept.list", daemon_id="d1")["kept"] == []


def test_what_somebody_removes_by_hand_is_kept_no_longer(place: Place) -> None:
    with serving(place) as agent:
        agent.job("a", ["sh", "-c", "echo 123 > f"])
        agent.ended("a")
        fields: dict[str, Any] = {"attempt_id": "a", "runtime": "process", "ref": "a", "path": ""}
        with transfer(place, op="keep", until=12.5, **fields) as bulk:
            bulk.result()
        eventually(lambda: agent.look()["kept"]["count"] == 1)
        shutil.rmtree(place.base / "jobs/a")
        eventually(lambda: agent.look()["kept"] == {"count": 0, "bytes": 0})


def test_a_transfer_ends_with_who_asked_for_it(place: Place) -> None:
    """Also one that reads what never ends or never answers."""
    with serving(place) as agent:
        agent.job("a", ["sh", "-c", "truncate -s 100G big"])
        agent.ended("a")
    fields: dict[str, Any] = {"attempt_id": "a", "runtime": "process", "ref": "a", "path": "big"}
    with transfer(place, op="read", offset=10**11, **fields) as bulk:
        assert bulk.result()["size"] == 100 * 1024**3  # and now it reads to that offset
        assert bulk.close(60.0) == 0


_GLOBS: list[tuple[str, str, bool]] = [
    ("*.pt", "a.pt", True), ("*.pt", "d/a.pt", False), ("**/*.pt", "d/e/a.pt", True),
    ("**/*.pt", "a.pt", True), ("d", "d/e/f", True), ("d/", "d/e", True), ("d/*", "d/e/f", True),
    ("[a-c]?", "b1", True), ("[!a]", "a", False), ("*", ".env", False), ("*", ".git/x", False),
    (".*", ".env", True), ("**", "__pycache__/x", False), ("d", "d/.cache/x", False),
    (".cache/**", ".cache/a/b", True), ("inputs", "inputs/x", True), ("*", "inputs/x", False),
    ("**", "inputs/x", False), ("./d/../e", "e/x", True), (".", "x/y", True), ("a[", "a[", True),
]  # fmt: skip


@pytest.mark.parametrize(("glob", "path", "fits"), _GLOBS)
def test_globs(glob: str, path: str, fits: bool) -> None:
    globs = left_out.Globs([glob])
    assert globs.matches(path.encode()) is fits
    above = os.path.dirname(path)
    if fits and above:
        assert globs.may_match_below(above.encode())


def test_no_glob_takes_long() -> None:
    """Backtracking would take longer than the world is old."""
    evil = left_out.Globs(["*a" * 100 + "b", "**/" * 50 + "x"])
    name = b"a" * 255
    seconds = _seconds(lambda: evil.matches(b"/".join([name] * 15)))
    assert seconds < 20


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


@pytest.mark.parametrize(
    ("told", "path"),
    [
        (b"81a4 5 7 ./..data", "..data"), (b"81a4 5 7 ./a\nb", "a\nb"),
        (b"81a4 5 7 ./a/../..", None), (b"81a4 5 7 ./a/..", None),
        (b"81a4 5 7 ./../x", None), (b"81a4 5 7 ./\0", None),
        (b"f" * 200 + b" 5 7 ./a", None), (b"81a4 " + b"9" * 5000 + b" 7 ./a", None),
        (b"81a4 5 " + b"9" * 5000 + b" ./a", None), (b"1180 5 7 ./fifo", None),
    ],
)  # fmt: skip
def test_what_the_stat_of_an_image_says_is_an_entry_or_nothing(
    told: bytes, path: str | None
) -> None:
    entry = boxexec._entry(told)
    assert (entry and entry[0]) == path
