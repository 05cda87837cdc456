"""What is wrong with the disk or the database, as the person at the terminal meets it: no new run
is taken, what runs goes on, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.base.errors import StateError
from hostler.base.paths import SOCKET_NAME
from hostler.client import AsyncClient
from tests.support.machines.desk import Desk, wait_until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(200),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk"),
]


@pytest.fixture
def small(alone: Desk) -> Iterator[Desk]:
    """A desk whose state lies on a disk of its own, of 24 MiB."""
    alone.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(alone.state)]
    subprocess.run(mount, check=True)
    yield alone
    alone.close()
    subprocess.run(["umount", "-l", str(alone.state)], check=True)


@contextlib.contextmanager
def waiting_run(desk: Desk) -> Iterator[str]:
    """A run that is under way until the block ends, and then has to end well."""
    gate = desk.home / "gate"
    os.mkfifo(gate)
    run_id = desk.ok("run", "-d", "-q", "--", "sh", "-c", f"echo begins; cat {gate}").out.strip()
    desk.until(run_id, lambda r: r["stages"][0]["status"] == "running")
    yield run_id
    with gate.open("w") as file:
        file.write("goes on\n")
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", desk.log()
    assert len(run["stages"][0]["attempts"]) == 1
    assert desk.ok("logs", run_id, "--raw").out == "begins\ngoes on\n"


def remounted(desk: Desk, how: str) -> bool:
    """Whether the disk of its state is mounted so now; not "ro" while a file there is written."""
    mount = ["mount", "-o", f"remount,{how}", str(desk.state)]
    return subprocess.run(mount, check=False).returncode == 0


def fill(folder: Path) -> Path:
    path = folder / "filler"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(handle, b"\0" * 4096)
    os.close(handle)
    return path


def test_a_full_disk_takes_no_new_run_and_says_so(small: Desk) -> None:
    with waiting_run(small) as run_id:
        filler = fill(small.state)
        refused = small.hostler("run", "-d", "-q", "--", "true")
        assert (refused.code, refused.out) == (1, "")
        assert "is full" in refused.err
        assert "Free some space" in refused.err
        assert small.show(run_id)["state"] == "running"
        filler.unlink()
        assert small.ok("run", "-d", "-q", "--", "true").out.startswith("r")


def test_a_locked_database_takes_no_new_run_and_names_who_to_look_for(small: Desk) -> None:
    with waiting_run(small) as run_id:
        with contextlib.closing(sqlite3.connect(small.state / "hostler.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            refused = small.hostler("run", "-d", "-q", "--timeout", "20s", "--", "true")
            assert (refused.code, refused.out) == (1, "")
            assert "locked by another program" in refused.err
            assert "fuser" in refused.err
            assert small.show(run_id)["state"] == "running"
            other.rollback()
        assert small.ok("run", "-d", "-q", "--", "true").out.startswith("r")


def test_a_read_only_disk_is_named_and_nothing_ends_for_it(small: Desk) -> None:
    with waiting_run(small) as run_id:
        small.ok("daemon", "stop")
        # What was the daemon's may hold its log a moment longer than the daemon its lock.
        wait_until(lambda: remounted(small, "ro"), "the disk is read-only")
        refused = small.hostler("run", "-d", "-q", "--", "true")
        assert (refused.code, refused.out) == (1, "")
        assert "read-only" in refused.err, refused.err
        assert remounted(small, "rw")
        assert small.show(run_id)["state"] == "running"


def test_a_damaged_database_is_kept_and_the_backup_and_the_host_bring_all_back(
    small: Desk,
) -> None:
    early = small.ok("run", "-d", "-q", "--", "true").out.strip()
    small.ended(early)
    small.ok("daemon", "stop")
    for copy in (small.state / "backups").glob("*"):
        copy.unlink()
    small.start_daemon()
    copies = small.state / "backups"
    wait_until(lambda: any(copies.glob("hostler-*.db")), "the day's backup")
    with waiting_run(small) as run_id:
        small.ok("daemon", "stop")
        database = small.state / "hostler.db"
        with database.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 8192)
        before = hashlib.sha256(database.read_bytes()).digest()
        refused = small.hostler("ps")
        assert refused.code == 5
        (backup,) = (small.state / "backups").glob("hostler-*.db")
        for word in ("is damaged", "kept unchanged", str(backup), "daemon recover"):
            assert word in refused.err, refused.err
        assert hashlib.sha256(database.read_bytes()).digest() == before
        damaged = small.state / "damaged"
        damaged.mkdir()
        for path in small.state.glob("hostler.db*"):
            path.rename(damaged / path.name)
        database.write_bytes(backup.read_bytes())
        (found,) = small.ok("daemon", "recover", "--yes", "--json").json["runs"]
        assert found["run_id"] == run_id
        assert small.show(early)["outcome"] == "succeeded"


def test_a_disk_that_fills_up_in_mid_upload_is_named_by_who_asks_watches_and_checks(
    small: Desk,
) -> None:
    small.start_daemon()
    (small.work / "data.bin").write_bytes(os.urandom(30_000_000))  # the disk has 24 MiB
    words = ("run", "-d", "-q", "--code", "snapshot", "--", "true")
    refused = small.hostler(*words)
    assert refused.code == 1
    # It is full, or has less left than will be written, by how much has come in time.
    assert f"the disk of the state folder {small.state} " in refused.err
    assert "hostler gc" in refused.err
    assert "daemon start" not in refused.err
    client = AsyncClient(small.state / SOCKET_NAME)
    data = small.work / "data.bin"
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    with pytest.raises(StateError, match="the disk of the state folder"):
        asyncio.run(client.put_snapshot(digest, data))
    assert not list((small.state / "partial").iterdir())
    filler = fill(small.state)
    alerts = small.ok("alerts", "--json").json["alerts"]
    assert any("is full" in alert["what"] for alert in alerts), alerts
    doctor = small.hostler("doctor", "--only", "local.state")
    assert doctor.code == 3
    assert "is full" in doctor.out
    filler.unlink()
    wait_until(
        lambda: not small.ok("alerts", "--open", "--json").json["alerts"], "there is room again"
    )
