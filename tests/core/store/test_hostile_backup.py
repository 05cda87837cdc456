"""Backups in places that others may write to, over what is no backup, and made up by somebody."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import stat
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ForbiddenError, InputError, StateError
from hostler.store import backup as backup_module
from hostler.store.backup import back_up_to
from tests.core.store.test_backup import back_up, left, listed, make, packed, relisted, restore


async def state_in(folder: Path) -> Path:
    await (await make(folder / "old", "r1")).close()
    return folder / "old"


async def test_where_others_may_write_no_key_ever_lies_within_their_reach(tmp_path: Path) -> None:
    """They could put another folder, or links, in the place of one that is being filled."""
    state, shared = await state_in(tmp_path), tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    seen: list[tuple[str, int]] = []

    def told(_what: str, _done: int, _total: int) -> None:
        seen.extend((path.name, stat.S_IFMT(path.lstat().st_mode)) for path in shared.iterdir())
        seen.extend((str(path), stat.S_IMODE(path.lstat().st_mode)) for path in shared.iterdir())

    back_up_to(shared / "file", state, overwrite=False, progress=told)
    assert seen
    assert {kind for name, kind in seen if not name.startswith("/")} == {stat.S_IFREG}
    assert {mode for name, mode in seen if name.startswith("/")} == {0o600}
    assert left(shared) == ["file"]
    assert not list(state.glob(".backup*"))
    assert stat.S_IMODE((shared / "file").stat().st_mode) == 0o600
    restore(shared / "file", tmp_path / "new")


@pytest.mark.programs
async def test_a_backup_that_somebody_exchanged_is_not_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, put = await state_in(tmp_path), backup_module._put_in_place

    def exchanged(whole: Path, target: Path, *, overwrite: bool) -> None:
        whole.unlink()
        whole.write_text("theirs")
        put(whole, target, overwrite=overwrite)

    monkeypatch.setattr(backup_module, "_put_in_place", exchanged)
    with pytest.raises(StateError, match="another user replaced"):
        back_up(state, tmp_path / "file")


async def test_only_files_are_ever_replaced_and_none_of_the_daemons_own(tmp_path: Path) -> None:
    state = await state_in(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    for name, said in (("fifo", "is not a file"), ("old/hostler.db", "one of the daemon's own")):
        with pytest.raises(InputError, match=said):
            back_up(state, tmp_path / name, overwrite=True)
    (tmp_path / "link").symlink_to(state)
    with pytest.raises(InputError, match="one of the daemon's own"):
        back_up(state, tmp_path / "link" / "copies.key", overwrite=True)
    assert stat.S_ISFIFO((tmp_path / "fifo").lstat().st_mode)
    back_up(state, tmp_path / "file")


async def test_what_a_killed_backup_left_goes_with_the_next_one(tmp_path: Path) -> None:
    state, folder = await state_in(tmp_path), tmp_path / "backups"
    old, young, other = (folder / f".{n}.new" for n in ("file.one", "file.two", "mine.one"))
    for path in (old, young, other):
        path.mkdir(parents=True)
        (path / "hostler.db").write_text("half")
    for path in (old, other):
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    back_up(state, folder / "file")
    assert left(folder) == [".file.two.new", ".mine.one.new", "file"]


async def test_a_full_disk_is_that_of_the_backup(tmp_path: Path) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    with (
        pytest.raises(StateError, match="the disk that holds /b/copy is full"),
        backup_module._copy_faults(Path("/a/hostler.db"), Path("/b/copy")),
    ):
        raise full


@pytest.mark.programs
async def test_a_folder_that_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(ForbiddenError, match="may only be read by root and the daemon's login"):
        back_up(tmp_path / "old", tmp_path / "file")


def changed_database(parts: dict[str, bytes], folder: Path, statements: str) -> None:
    path = folder / "changed.db"
    path.write_bytes(parts["hostler.db"])
    connection = sqlite3.connect(path)
    connection.executescript(statements)
    connection.close()
    relisted(parts, "hostler.db", path.read_bytes())
    path.unlink()


KEEPS = (
    "CREATE TRIGGER t BEFORE UPDATE ON identity BEGIN SELECT RAISE(IGNORE); END"  # the old number
)
HOSTILE: dict[str, Callable[[dict[str, bytes], Path], Any]] = {
    "lists without end": lambda p, _f: p.update({"manifest.json": b"[" * 100_000}),
    "a time without end": lambda p, _f: listed(p, at=float("inf")),
    "a time that no calendar has": lambda p, _f: listed(p, at=1e300),
    "blobs that are none": lambda p, _f: relisted(p, "blobs", b"\xff yy\n"),
    "a database that is none": lambda p, _f: relisted(p, "hostler.db", b"no database" * 999),
    "a number beyond 64 bits": lambda p, f: changed_database(
        p, f, f"UPDATE identity SET generation = {2**63 - 1}"
    ),
    "a number that no host takes": lambda p, f: changed_database(
        p, f, f"UPDATE identity SET superseded_by = {2**53}"
    ),
    "a database that keeps its number": lambda p, f: changed_database(p, f, KEEPS),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_somebody_made_up_changes_nothing(tmp_path: Path, what: str) -> None:
    file, new = tmp_path / "file", tmp_path / "new"
    back_up(await state_in(tmp_path), file)
    made_up = packed(lambda parts: HOSTILE[what](parts, tmp_path), file, tmp_path / "made-up")
    with pytest.raises(InputError, match="is not a valid Hostler backup"):
        restore(made_up, new)
    assert left(new) == []


async def test_holes_of_gigabytes_are_never_written(tmp_path: Path) -> None:
    """A member of a few bytes that unpacks to as many zeros as it likes."""
    file, new, size = tmp_path / "file", tmp_path / "new", 2**33
    back_up(await state_in(tmp_path), file)
    with tarfile.open(file) as tar:
        parts = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    files = json.loads(parts["manifest.json"])["files"]
    files["blobs"]["size"] = size
    listed(parts, files=files)
    with tarfile.open(tmp_path / "holes", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if name == "blobs":
                sparse = {"major": "1", "minor": "0", "realsize": str(size), "name": name}
                member.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
                data = b"1\n0\n0\n".ljust(512, b"\0")
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(InputError, match="'blobs' in it is not as its list says"):
        restore(tmp_path / "holes", new)
    assert left(new) == []


async def test_headers_that_cost_minutes_are_not_looked_through(tmp_path: Path) -> None:
    file, new = tmp_path / "file", tmp_path / "new"
    back_up(await state_in(tmp_path), file)
    slow = tarfile.TarInfo("x")
    slow.type, slow.size = tarfile.XHDTYPE, 20_480
    header = slow.tobuf(tarfile.USTAR_FORMAT) + b"1" * slow.size
    (tmp_path / "slow").write_bytes(header + file.read_bytes())
    with pytest.raises(InputError, match="a broken extended header"):
        restore(tmp_path / "slow", new)
    assert left(new) == []
