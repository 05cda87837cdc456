from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from hostler.base.errors import SchemaTooNew, StateError
from hostler.model.runs import Outcome
from hostler.store import migrations, opening
from hostler.store.database import Store
from hostler.store.faults import CorruptError
from hostler.store.files import file_system_type, network_type, write_durable
from tests.support.values.stored import event, run


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def _filled(folder: Path) -> str:
    store = await Store.open(folder)
    await store.create_run(run(), "text", [])
    await store.close()
    return store.daemon_id


async def test_a_new_folder_is_private_and_keeps_its_identity(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    daemon_id = await _filled(folder)
    assert (folder / "id").read_text().strip() == daemon_id
    assert _mode(folder) == 0o700
    for name in ("id", "hostler.db", "metrics.db"):
        assert _mode(folder / name) == 0o600, name
    again = await Store.open(folder)
    assert again.daemon_id == daemon_id
    assert [r.run_id for r in await again.open_runs()] == ["raaaaaa"]
    assert _mode(folder / "hostler.db-wal") == 0o600
    await again.close()


async def test_a_folder_that_others_can_read_is_tightened(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    await _filled(folder)
    assert _mode(folder) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(StateError, match="belongs to another user, uid 12345"):
        await Store.open(folder)


async def test_a_lost_id_file_comes_back_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    daemon_id = await _filled(tmp_path)
    (tmp_path / "id").unlink()
    assert await _filled(tmp_path) == daemon_id
    (tmp_path / "id").write_text("0" * 32)
    with pytest.raises(StateError, match="two different daemons") as caught:
        await Store.open(tmp_path)
    assert daemon_id in caught.value.remedy
    (tmp_path / "id").write_text("not an id")
    with pytest.raises(StateError, match="does not hold a daemon id"):
        await Store.open(tmp_path)


async def test_a_lost_database_keeps_the_identity(tmp_path: Path) -> None:
    daemon_id = await _filled(tmp_path)
    (tmp_path / "hostler.db").unlink()
    assert await _filled(tmp_path) == daemon_id


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


@pytest.mark.parametrize("unclean", [False, True])
async def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path, unclean: bool) -> None:
    await _filled(tmp_path)
    monitor = sqlite3.connect(tmp_path / "hostler.db")
    if unclean:  # as after a crash: the record of the migration is in the write-ahead log only
        monitor.execute("PRAGMA wal_autocheckpoint = 0")
    monitor.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('hostler', 'm9999_future', '')"
    )
    monitor.commit()
    if not unclean:
        monitor.close()
    before = _hashes(tmp_path)
    with pytest.raises(SchemaTooNew, match="m9999_future"):
        await Store.open(tmp_path)
    after = _hashes(tmp_path)
    monitor.close()
    assert {k: v for k, v in after.items() if not k.endswith("-shm")} == {
        k: v for k, v in before.items() if not k.endswith("-shm")
    }
    assert not (tmp_path / "backups").exists()


async def test_an_older_database_is_backed_up_then_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(tmp_path)

    def m0002_more(db: Database) -> None:
        db.execute("ALTER TABLE runs ADD COLUMN mood TEXT")

    schema = replace(migrations.STATE, steps=(*migrations.STATE.steps, m0002_more))
    opening.open_for_writing(
        tmp_path / "hostler.db", schema, synchronous="FULL", backups=True
    ).close()
    (copy,) = (tmp_path / "backups").glob("hostler-*.db")
    assert _mode(copy) == 0o600
    with (
        closing(sqlite3.connect(copy)) as old,
        closing(sqlite3.connect(tmp_path / "hostler.db")) as new,
    ):
        assert "mood" not in {row[1] for row in old.execute("PRAGMA table_info(runs)")}
        assert "mood" in {row[1] for row in new.execute("PRAGMA table_info(runs)")}
        assert old.execute("SELECT run_id FROM runs").fetchall() == [("raaaaaa",)]
    with pytest.raises(SchemaTooNew):
        await Store.open(tmp_path)


async def test_a_migration_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    await _filled(tmp_path)

    def m0002_broken(db: Database) -> None:
        db.execute("ALTER TABLE runs ADD COLUMN mood TEXT")
        db.execute("INSERT INTO no_such_table VALUES (1)")

    schema = replace(migrations.STATE, steps=(*migrations.STATE.steps, m0002_broken))
    with pytest.raises(StateError, match="no_such_table"):
        opening.open_for_writing(tmp_path / "hostler.db", schema, synchronous="FULL", backups=True)
    store = await Store.open(tmp_path)
    assert [r.run_id for r in await store.open_runs()] == ["raaaaaa"]
    await store.close()


def test_a_new_database_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "hostler.db"

    def m0002_broken(db: Database) -> None:
        db.execute("INSERT INTO no_such_table VALUES (1)")

    broken = replace(migrations.STATE, steps=(*migrations.STATE.steps, m0002_broken))
    with pytest.raises(StateError, match="no_such_table"):
        opening.open_for_writing(path, broken, synchronous="FULL", backups=True)
    assert _tables(path) == []
    opening.open_for_writing(path, migrations.STATE, synchronous="FULL", backups=True).close()
    stepwise = tmp_path / "stepwise.db"
    with closing(sqlite3.connect(stepwise, isolation_level=None)) as each:
        migrations.STATE.migrations.apply(Database(each))
    assert _tables(path) == _tables(stepwise) != []


def _tables(path: Path) -> list[tuple[str, ...]]:
    """Everything that the database has, as SQLite keeps it."""
    with closing(sqlite3.connect(path)) as opened:
        return opened.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()


async def test_three_backups_stay(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    made = [await store.back_up() for _ in range(5)]
    await store.close()
    assert sorted((tmp_path / "backups").iterdir()) == sorted(made[2:])


async def _copies(folder: Path, count: int) -> list[Path]:
    """Open a store until there are so many copies in all."""
    store = await Store.open(folder)
    async with asyncio.timeout(60):
        while len(found := sorted((folder / "backups").glob("hostler-*.db"))) < count:
            await asyncio.sleep(0.01)
    await store.close()
    return found


async def test_a_day_old_backup_is_renewed_while_the_daemon_works(tmp_path: Path) -> None:
    await _filled(tmp_path)
    assert not (tmp_path / "backups").exists()
    (first,) = await _copies(tmp_path, 1)
    await _filled(tmp_path)
    assert list((tmp_path / "backups").iterdir()) == [first]
    os.utime(first, (0, 0))
    second = (await _copies(tmp_path, 2))[-1]
    with closing(sqlite3.connect(second)) as copy:
        assert copy.execute("SELECT run_id FROM runs").fetchall() == [("raaaaaa",)]


async def test_a_start_does_not_wait_for_the_daily_backup_nor_does_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(tmp_path)
    begun = threading.Event()

    def endless(_path: Path, is_stopped: Callable[[], bool]) -> None:
        begun.set()
        while not is_stopped():
            time.sleep(0.01)
        raise opening.CopyStopped

    monkeypatch.setattr(opening, "back_up", endless)
    async with asyncio.timeout(60):
        store = await Store.open(tmp_path)
        await asyncio.to_thread(begun.wait)
        await store.add_event(event())
        await store.close()


async def test_a_backup_that_is_stopped_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(tmp_path)
    monkeypatch.setattr(opening, "_COPIED_PAGES", 1)
    asked = iter([False, False, True])
    with pytest.raises(opening.CopyStopped):
        opening.back_up(tmp_path / "hostler.db", lambda: next(asked))
    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_backup_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await Store.open(tmp_path)
    await store.create_run(run(), "text", [])
    monkeypatch.setattr(opening, "_COPIED_PAGES", 1)
    steps = 0

    def write() -> bool:
        nonlocal steps
        steps += 1
        with closing(sqlite3.connect(tmp_path / "hostler.db")) as other:
            other.execute("UPDATE runs SET title = ?", (f"step {steps}",))
            other.commit()
        return False

    target = await asyncio.to_thread(opening.back_up, tmp_path / "hostler.db", write)
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT title FROM runs").fetchall() == [("",)]
        (pages,) = copy.execute("PRAGMA page_count").fetchone()
    assert steps <= pages + 2  # it was not begun anew by each change
    await store.close()


@pytest.mark.programs
@pytest.mark.parametrize("damage", ["head", "middle", "garbage"])
async def test_a_damaged_database_is_kept_and_the_backup_restores_it(
    tmp_path: Path, damage: str
) -> None:
    store = await Store.open(tmp_path)
    for number in range(200):
        await store.create_run(run(f"r{number:06}"), "text" * 100, [])
    await store.back_up()
    await store.close()
    path = tmp_path / "hostler.db"
    data = bytearray(path.read_bytes())
    if damage == "head":
        data[:16] = b"\0" * 16
    elif damage == "middle":
        data[len(data) // 2 : len(data) // 2 + 8192] = b"\xa5" * 8192
    else:
        data = bytearray(b"this is not a database" * 1000)
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="is damaged") as caught:
        await Store.open(tmp_path)
    assert path.read_bytes() == data
    (command,) = (part for part in caught.value.remedy.split(": ") if part.startswith("mkdir"))
    assert os.system(command.partition(";")[0]) == 0
    assert (tmp_path / "damaged" / "hostler.db").read_bytes() == data
    again = await Store.open(tmp_path)
    assert len(await again.open_runs()) == 200
    await again.close()


async def test_damaged_metrics_are_put_aside_and_work_goes_on(tmp_path: Path) -> None:
    await _filled(tmp_path)
    (tmp_path / "metrics.db").write_bytes(b"garbage" * 5000)
    store = await Store.open(tmp_path)
    assert store.metrics.put_aside is not None
    assert store.metrics.put_aside.read_bytes() == b"garbage" * 5000
    assert len(await store.open_runs()) == 1
    await store.close()


async def test_a_full_disk_refuses_new_runs_and_keeps_the_old(store: Store) -> None:
    await store.create_run(run("rbefore"), "", [])

    def _no_more_room(db: sqlite3.Connection) -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")

    await store._write(_no_more_room)
    with pytest.raises(StateError, match="is full") as caught:
        await store.create_run(run("rtoobig"), "x" * 10_000_000, [])
    assert "free some space" in caught.value.remedy
    await store._write(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
    await store.create_run(run("rafter0"), "x" * 10_000_000, [])
    assert {r.run_id for r in await store.open_runs()} == {"rbefore", "rafter0"}


async def test_a_locked_database_is_said_to_be_locked(store: Store) -> None:
    await store._write(lambda db: db.execute("PRAGMA busy_timeout = 20").fetchone())
    with closing(sqlite3.connect(store.folder / "hostler.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked by another program"):
            await store.create_run(run(), "", [])
        other.rollback()
    await store.create_run(run(), "", [])
    assert len(await store.open_runs()) == 1


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.close()
    await store.close()
    with pytest.raises(StateError, match="is closed"):
        await store.end_run("x", Outcome.FAILED, 1.0)
    with pytest.raises(StateError, match="is closed"):
        await store.open_runs()


def test_a_durable_file_replaces_whole(tmp_path: Path) -> None:
    write_durable(tmp_path / "id", b"one")
    write_durable(tmp_path / "id", b"two")
    assert (tmp_path / "id").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["id"]


_TABLE = r"""
22 1 252:1 / / rw,relatime - ext4 /dev/vda1 rw
30 22 0:40 / /home rw,relatime shared:3 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /home/ana/scratch\040disk rw - xfs /dev/vdb rw
32 22 0:42 / /homestead rw - btrfs /dev/vdc rw
33 22 0:43 / /over rw - ext4 /dev/vdd rw
34 33 0:44 / /over rw - fuse.sshfs host: rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/tmp", "ext4"),
        ("/home/ana/.local", "nfs4"),
        ("/home", "nfs4"),
        ("/home/ana/scratch disk/x", "xfs"),
        ("/homestead/x", "btrfs"),
        ("/over/x", "fuse.sshfs"),
    ],
)
def test_the_disk_of_a_folder_is_found_in_the_table_of_mounts(path: str, kind: str) -> None:
    assert file_system_type(Path(path), _TABLE) == kind


def test_proc_is_a_local_disk_and_a_missing_folder_is_as_local_as_its_parent() -> None:
    assert network_type(Path("/proc")) is None
    assert network_type(Path("/proc/no/such/folder")) is None
