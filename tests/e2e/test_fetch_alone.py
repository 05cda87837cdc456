"""Fetching files with the real command line, daemon and agent, on one machine."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostler.base.errors import HostlerError, NotFoundError
from hostler.base.paths import SOCKET_NAME
from hostler.client import Client
from hostler.client.fetch import Fetcher
from hostler.client.fetch_writer import Target
from tests.support.machines.desk import Desk, stage, wait_until

MIB = 1024 * 1024
RUNNING = """
name = "f"
[stages.a]
shell = true
command = '''
mkdir -p ckpt/old && head -c %d /dev/urandom > ckpt/last.pt && echo hello > ckpt/old/note.txt
ln -s /etc/passwd leak; ln -s ckpt/last.pt best.pt; ln -s /etc etc; mkfifo pipe
touch ../made
while [ ! -e ../go ]; do sleep 0.05; done
'''
outputs = { ckpt = "ckpt" }
"""


def job_folder(run_id: str) -> Path:
    return Path(f"/var/tmp/hostler-{os.getuid()}/jobs/{run_id}-a-1")


@contextmanager
def running(alone: Desk, size: int = 300_000) -> Iterator[tuple[str, Path]]:
    """A stage that has written its files and runs on until the block ends; its id and folder."""
    run_id = alone.submit(RUNNING % size)
    folder = job_folder(run_id)
    alone.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    wait_until((folder / "made").exists, "the files are made")
    try:
        yield run_id, folder / "work"
    finally:
        if folder.exists():
            (folder / "go").touch()
        alone.ended(run_id)


@pytest.fixture(scope="module")
def large(shared_alone: Desk) -> Iterator[tuple[str, Path]]:
    """A running stage with a file larger than all that lies on the way, for all who only read."""
    with running(shared_alone, 16 * MIB) as found:
        yield found


@pytest.fixture
def desk(shared_alone: Desk, tmp_path: Path) -> Desk:
    """With the daemon of all others, in a work folder of its own."""
    return shared_alone.at_work(tmp_path / "work")


def client(alone: Desk) -> Client:
    return Client(alone.state / SOCKET_NAME)


def test_the_folder_of_a_running_stage_is_listed_and_a_file_of_it_fetched(desk: Desk) -> None:
    with running(desk) as (run_id, work):
        told = desk.ok("ls", f"{run_id}/a").out
        names = {line.split("\t")[0] for line in told.splitlines()}
        assert {"ckpt/", "best.pt@", "leak@", "etc@"} <= names
        assert desk.ok("ls", f"{run_id}/a", "ckpt").out.startswith("last.pt\t293 KiB")
        data = (work / "ckpt/last.pt").read_bytes()
        desk.ok("get", f"{run_id}/a", "ckpt/last.pt", "-o", "got")
        assert (desk.work / "got/ckpt/last.pt").read_bytes() == data
        whole = desk.ok("get", f"{run_id}/a", "-o", "whole", "--json").json
        assert {"ckpt/last.pt", "ckpt/old/note.txt"} <= {f["to"] for f in whole["files"]}
        assert not (desk.work / "whole/leak").exists()
        assert "still runs: `hostler get" in desk.hostler("get", run_id).err
    desk.ok("get", run_id, "-o", "after")
    assert (desk.work / "after/ckpt/last.pt").read_bytes() == data


@pytest.mark.parametrize("path", ["leak", "etc/passwd", "pipe", "ckpt", "../go", "/etc/passwd"])
def test_nothing_but_plain_files_of_the_folder_is_read(
    desk: Desk, large: tuple[str, Path], path: str
) -> None:
    with pytest.raises(HostlerError) as raised:
        b"".join(client(desk).read_file(large[0], "a", path))
    assert "root:" not in str(raised.value)


def test_a_file_that_does_not_exist_and_a_stage_that_has_not_begun_are_told(
    desk: Desk, large: tuple[str, Path]
) -> None:
    with pytest.raises(NotFoundError):
        client(desk).read_file(large[0], "a", "nope")
    said = desk.hostler("get", f"{large[0]}/a", "nope.pt")
    assert said.code == 2
    assert "It has: " in said.err
    assert "ckpt/ (2 files)" in said.err
    waits = desk.submit('name = "w"\n[stages.a]\ncommand = "true"\nresources = { gpus = 64 }\n')
    said = desk.hostler("get", f"{waits}/a")
    assert said.code == 2
    assert f"hostler why {waits}/a" in said.err
    desk.ok("cancel", waits)


def test_a_fetch_goes_on_through_the_death_of_the_daemon(alone: Desk) -> None:
    with running(alone, 16 * MIB) as (run_id, work):
        killed: list[int] = []

        def kill_once(_to: str, done: int, _size: int) -> None:
            if done > 4 * MIB and not killed:
                killed.append(done)
                alone.kill_daemon()

        revived = Client(alone.state / SOCKET_NAME, revive=alone.start_daemon)
        done = revived.download(
            run_id, ["ckpt/last.pt"], alone.work / "got", stage="a", progress=kill_once
        )
        assert killed
        data = (work / "ckpt/last.pt").read_bytes()
        assert (alone.work / "got/ckpt/last.pt").read_bytes() == data
        assert done[0].sha256 == hashlib.sha256(data).hexdigest()
        assert os.listdir(alone.work / "got/ckpt") == ["last.pt"]


def test_a_stage_that_ends_meanwhile_gives_the_file_that_it_saved(desk: Desk) -> None:
    with running(desk, 4 * MIB) as (run_id, work):
        ask = client(desk)
        files = ask.files(run_id, stage="a").files
        data = (work / "ckpt/last.pt").read_bytes()
        (work.parent / "go").touch()
        desk.ended(run_id)
        fetcher = Fetcher(ask, run_id)
        names = ["ckpt/last.pt", "ckpt/old/note.txt"]
        fetcher.fetch(files, names, Target(desk.work / "got"), force=False)
        assert (desk.work / "got/ckpt/last.pt").read_bytes() == data


def test_ctrl_c_leaves_no_half_file_and_the_next_time_goes_on(desk: Desk) -> None:
    run_id = desk.submit(
        f'name = "f"\n[stages.a]\ncommand = "head -c {100 * MIB} /dev/urandom > m"\nshell = true\n'
        'outputs = { m = "m" }\n'
    )
    desk.ended(run_id)
    part = desk.work / "got"
    fetching = subprocess.Popen(
        [sys.executable, "-m", "hostler", "get", run_id, "-o", "got"],
        env=desk.env, cwd=desk.work, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    wait_until(
        lambda: any(_size(p) > MIB for p in part.glob(".m.part-*")), "it arrives", every=0.001
    )
    fetching.send_signal(signal.SIGINT)
    _, said = fetching.communicate(timeout=60)
    told = json.loads(desk.ok("get", run_id, "--list", "--json").out)["files"][0]["sha256"]
    if (part / "m").exists():  # it was faster
        assert fetching.returncode in (0, 130), said
        assert hashlib.sha256((part / "m").read_bytes()).hexdigest() == told
        return
    assert fetching.returncode == 130, said
    assert "run the same command to continue" in said
    assert "Traceback" not in said
    (left,) = part.glob(".m.part-*")
    before = left.stat().st_size
    assert before > 0
    desk.ok("get", run_id, "-o", "got")
    assert os.listdir(part) == ["m"]
    assert hashlib.sha256((part / "m").read_bytes()).hexdigest() == told


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_slow_reader_of_a_host_keeps_nobody_waiting(desk: Desk, large: tuple[str, Path]) -> None:
    run_id, work = large
    slow = client(desk).read_file(run_id, "a", "ckpt/last.pt")
    pieces = iter(slow)
    first = next(pieces)
    quick: list[bytes] = []

    def read() -> None:
        quick.append(b"".join(client(desk).read_file(run_id, "a", "ckpt/old/note.txt")))

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(30)
    assert quick == [b"hello\n"]
    data = first + b"".join(pieces)  # it goes on where it was
    assert data == (work / "ckpt/last.pt").read_bytes()
    assert slow.sha256 == hashlib.sha256(data).hexdigest()


def test_a_file_that_is_written_to_meanwhile_is_told(desk: Desk, large: tuple[str, Path]) -> None:
    run_id, work = large
    target = desk.work / "got"

    def change(_to: str, done: int, _size: int) -> None:
        with (work / "ckpt/last.pt").open("r+b") as file:
            file.write(os.urandom(16))

    ask = client(desk)
    with pytest.raises(HostlerError, match="keeps changing while it is read"):
        ask.download(run_id, ["ckpt/last.pt"], target, stage="a", progress=change)
    assert not (target / "ckpt/last.pt").exists()


def test_a_log_that_only_grows_is_fetched_as_far_as_it_was(
    desk: Desk, large: tuple[str, Path]
) -> None:
    run_id, work = large
    data = (work / "ckpt/last.pt").read_bytes()

    def grow(_to: str, done: int, _size: int) -> None:
        with (work / "ckpt/last.pt").open("ab") as file:
            file.write(b"more")

    target = desk.work / "got"
    client(desk).download(run_id, ["ckpt/last.pt"], target, stage="a", progress=grow)
    assert (target / "ckpt/last.pt").read_bytes() == data
