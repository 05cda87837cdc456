"""Fetching files from real hosts: containers and processes, running and ended, through cuts."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from hostler.base.errors import HostlerError
from hostler.base.paths import SOCKET_NAME
from hostler.client import Client
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.hosts("gpu1")]

MIB = 1024 * 1024
STAGE = """
name = "f"
[stages.a]
%s
shell = true
command = '''
mkdir -p ckpt && head -c %d /dev/urandom > ckpt/last.pt && ln -s /etc/passwd leak
ln -s /etc etc; echo made
while [ ! -e stop ]; do sleep 0.1; done
'''
resources = { host = "gpu1" }
outputs = { ckpt = "ckpt" }
"""
IMAGES = pytest.mark.parametrize(
    "image", [f'image = "{BUSYBOX}"', ""], ids=["container", "process"]
)


@pytest.fixture
def desk(shared_desk: Desk, tmp_path: Path) -> Desk:
    """A work folder of the test's own, at the desk that all tests here share."""
    return shared_desk.at_work(tmp_path / "work")


def started(desk: Desk, image: str, size: int) -> str:
    """A run whose stage has written its files and runs on until it is cancelled."""
    run_id = desk.submit(STAGE % (image, size))
    desk.until(run_id, lambda run: stage(run, "a")["status"] == "running", timeout=90)
    wait_until(lambda: "made" in desk.output(run_id, "a"), "the files are made", 90)
    return run_id


def cancelled(desk: Desk, run_id: str) -> None:
    desk.ok("cancel", "-y", run_id)
    desk.ended(run_id)


def client(desk: Desk) -> Client:
    return Client(desk.state / SOCKET_NAME, timeout=30, revive=desk.start_daemon)


def read(desk: Desk, run_id: str, path: str) -> bytes:
    """What is to be had of a file; of a container its own, which the stage may read as well."""
    try:
        return b"".join(client(desk).read_file(run_id, "a", path))
    except HostlerError:
        return b""


@IMAGES
def test_a_checkpoint_is_fetched_while_its_training_runs(desk: Desk, image: str) -> None:
    run_id = started(desk, image, 300_000)
    try:
        listed = desk.ok("ls", f"{run_id}/a").out
        assert {"ckpt/", "leak@", "etc@"} <= {row.split("\t")[0] for row in listed.splitlines()}
        assert desk.ok("ls", f"{run_id}/a", "ckpt").out.startswith("last.pt\t293 KiB")
        desk.ok("get", f"{run_id}/a", "ckpt/last.pt", "-o", "got")
        assert (desk.work / "got/ckpt/last.pt").stat().st_size == 300_000
        for path in ("ckpt", "nope", "/etc/passwd", "../x", "../../../../etc/passwd"):
            with pytest.raises(HostlerError):
                client(desk).read_file(run_id, "a", path)
        for path in ("leak", "etc/passwd"):
            assert b"ana:" not in read(desk, run_id, path)  # no file of the host
    finally:
        cancelled(desk, run_id)


@IMAGES
def test_a_fetch_goes_on_after_its_host_was_cut_off_and_the_daemon_killed(
    desk: Desk, lab: Lab, image: str
) -> None:
    run_id, host = started(desk, image, 32 * MIB), lab.host("gpu1")
    done: list[str] = []

    def disturb(_to: str, there: int, _size: int) -> None:
        if there > 8 * MIB and not done:
            done.append("cut")
            host.cut()
            threading.Timer(2.0, host.heal).start()
        elif there > 20 * MIB and len(done) == 1:
            done.append("killed")
            desk.kill_daemon()

    try:
        (file,) = client(desk).download(
            run_id, ["ckpt/last.pt"], desk.work / "got", stage="a", progress=disturb
        )
        assert done == ["cut", "killed"]
        data = (desk.work / "got/ckpt/last.pt").read_bytes()
        assert len(data) == 32 * MIB
        assert hashlib.sha256(data).hexdigest() == file.sha256
    finally:
        cancelled(desk, run_id)
