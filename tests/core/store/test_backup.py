"""One file that a daemon can go on from, made beside its work."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ConflictError, InputError, SchemaTooNew, StateError
from hostler.base.secret import Secret
from hostler.model.events import EventKind
from hostler.model.records import NewEvent
from hostler.model.runs import Outcome
from hostler.store import backup as backup_module
from hostler.store.backup import back_up_to, copy_database
from hostler.store.content import ContentStore
from hostler.store.copy_key import ended_runs, ensure_copy_key, note_ended, read_copy_key
from hostler.store.database import Store
from hostler.store.restoring import Restored, restore_from
from hostler.store.secrets import SecretStore
from tests.support.values import planning
from tests.support.values.planning import stage

AT = 1_790_000_000.0


def quiet(_what: str, _done: int, _total: int) -> None:
    """No progress is told."""


async def make(state: Path, *run_ids: str) -> Store:
    store = await Store.open(state)
    ensure_copy_key(state)
    for run_id in run_ids:
        event = NewEvent(at=1.0, kind=EventKind.RUN_SUBMITTED, message="", run_id=run_id)
        await store.create_run(planning.run(run_id, stage("a")), "text", [event])
    return store


def put_blob(state: Path, data: bytes) -> str:
    content = ContentStore(state)
    file = state / "new"
    file.write_bytes(data)
    return content.adopt(file)


def back_up(state: Path, target: Path, *, overwrite: bool = False) -> backup_module.Backup:
    return back_up_to(target, state, overwrite=overwrite, progress=quiet)


def restore(source: Path, state: Path, at: float = AT) -> Restored:
    state.mkdir(mode=0o700, exist_ok=True)
    return restore_from(source, state, at, quiet)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_restored_daemon_has_runs_id_and_keys_and_is_the_next_generation(
    tmp_path: Path,
) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "b" / "hostler.backup"
    file.parent.mkdir()
    store = await make(old, "r1", "r2")
    await store.end_run("r1", Outcome.SUCCEEDED, 2.0)
    note_ended(old, "r1")
    one, two = put_blob(old, b"one"), put_blob(old, b"two two")
    made = back_up(old, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert left(file.parent) == ["hostler.backup"]
    assert (made.runs, made.blobs, made.blob_bytes, made.generation) == (2, 2, 10, 1)
    assert made.size == file.stat().st_size
    new.mkdir(mode=0o700)
    put_blob(new, b"one")
    told = restore(file, new)
    assert (told.open_runs, told.blobs, told.missing, told.missing_bytes) == (1, 2, 1, 7)
    assert one != two
    again = await Store.open(new)
    assert again.daemon_id == store.daemon_id
    assert read_copy_key(new) == read_copy_key(old)
    assert ended_runs(new) == {"r1"}
    life = await again.generations.life()
    assert (life.number, life.restored_at) == (int(AT * 1000), AT)
    assert await again.generations.restored_runs() == {"r2"}
    assert (await again.get_run("r1")).outcome is Outcome.SUCCEEDED
    for name in ("hostler.db", "metrics.db", "id", "copies.key", "ended-runs"):
        assert stat.S_IMODE((new / name).stat().st_mode) == 0o600, name
    await store.close()
    await again.close()


async def test_each_restore_of_a_backup_is_a_generation_of_its_own(tmp_path: Path) -> None:
    """Also where the clock of the second machine is behind."""
    store = await make(tmp_path / "old")
    back_up(tmp_path / "old", tmp_path / "file")
    await store.close()
    first = restore(tmp_path / "file", tmp_path / "a", AT)
    assert restore(tmp_path / "file", tmp_path / "b", AT + 1).generation > first.generation
    back_up(tmp_path / "a", tmp_path / "again")
    again = {restore(tmp_path / "again", tmp_path / f"c{n}", 1.0).generation for n in range(3)}
    assert len(again) > 1
    assert min(again) > first.generation


async def test_a_copy_is_of_one_moment_while_the_daemon_writes(tmp_path: Path) -> None:
    """Each change of another connection would begin the copy anew."""
    store = await make(tmp_path, "r1")
    for number in range(400):
        await store.add_event(
            NewEvent(at=float(number), kind=EventKind.CONFIG_LOADED, message="x" * 4000)
        )
    steps: list[int] = []
    other = sqlite3.connect(tmp_path / "hostler.db", isolation_level=None)

    def told(_what: str, done: int, _total: int) -> None:
        steps.append(done)
        other.execute(
            "INSERT INTO events (at, kind, message, severity) VALUES (1, 'late', 'y', 'info')"
        )

    before = await store.last_seq()
    monkey = pytest.MonkeyPatch()
    monkey.setattr(backup_module, "_PAGES", 16)
    try:
        copy_database(tmp_path / "hostler.db", tmp_path / "copy.db", told)
    finally:
        monkey.undo()
        other.close()
    assert len(steps) > 10
    assert steps == sorted(steps)
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT max(seq) FROM events").fetchone()[0] == before
    assert await store.last_seq() == before + len(steps)
    copy.close()
    await store.close()


async def test_writers_wait_for_no_backup(tmp_path: Path) -> None:
    store = await make(tmp_path / "old", "r1")
    inside, go_on = threading.Event(), threading.Event()

    def told(what: str, _done: int, _total: int) -> None:
        if what == "copying hostler.db":
            inside.set()
            assert go_on.wait(60)

    file = tmp_path / "file"
    made = asyncio.create_task(
        asyncio.to_thread(back_up_to, file, tmp_path / "old", overwrite=False, progress=told)
    )
    assert await asyncio.to_thread(inside.wait, 20)
    await store.add_event(NewEvent(at=1.0, kind=EventKind.CONFIG_REFUSED, message=""))
    go_on.set()
    await made
    await store.close()
    restore(file, tmp_path / "new")
    again = await Store.open(tmp_path / "new")
    assert EventKind.CONFIG_REFUSED not in {event.kind for event in await again.events()}
    await again.close()


async def test_a_backup_is_never_written_over_another_unasked(tmp_path: Path) -> None:
    store = await make(tmp_path / "old")
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ConflictError, match="already exists"):
        back_up(tmp_path / "old", file)
    assert file.read_text() == "mine"
    back_up(tmp_path / "old", file, overwrite=True)
    assert file.read_bytes()[:13] == b"manifest.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await store.close()


async def test_nor_over_one_that_came_meanwhile(tmp_path: Path) -> None:
    store = await make(tmp_path / "old")
    file = tmp_path / "files" / "file"
    file.parent.mkdir()

    def told(what: str, _done: int, _total: int) -> None:
        if what == "writing":
            file.write_text("mine")

    with pytest.raises(ConflictError, match="already exists"):
        back_up_to(file, tmp_path / "old", overwrite=False, progress=told)
    assert left(file.parent) == ["file"]
    assert file.read_text() == "mine"
    await store.close()


@pytest.mark.parametrize(
    ("target", "said"), [("folder", "is a folder"), ("none/file", "there is no folder")]
)
async def test_a_target_that_cannot_be_is_told(tmp_path: Path, target: str, said: str) -> None:
    store = await make(tmp_path / "old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=said):
        back_up(tmp_path / "old", tmp_path / target)
    await store.close()
    with pytest.raises(StateError, match="there is no database"):
        back_up(tmp_path / "folder", tmp_path / "file")
    assert left(tmp_path) == ["folder", "old"]


async def test_a_folder_with_a_database_or_another_daemon_is_refused(tmp_path: Path) -> None:
    for name in ("old", "other"):
        await (await make(tmp_path / name)).close()
    file = tmp_path / "file"
    back_up(tmp_path / "old", file)
    before = {path: path.read_bytes() for path in (tmp_path / "other").iterdir() if path.is_file()}
    with pytest.raises(ConflictError, match="already contains a database"):
        restore(file, tmp_path / "other")
    for name in ("hostler.db", "metrics.db"):
        (tmp_path / "other" / name).unlink()
    with pytest.raises(ConflictError, match="belongs to another daemon"):
        restore(file, tmp_path / "other")
    kept = {path: path.read_bytes() for path in (tmp_path / "other").iterdir() if path.is_file()}
    assert kept == {path: data for path, data in before.items() if path.suffix != ".db"}
    (tmp_path / "other" / "id").unlink()
    with pytest.raises(ConflictError, match=r"copies\.key differs"):
        restore(file, tmp_path / "other")


async def test_a_lost_database_is_restored_beside_what_is_left(tmp_path: Path) -> None:
    """Its own list of ended runs is newer than that of the backup."""
    state, file = tmp_path / "state", tmp_path / "file"
    await (await make(state, "r1")).close()
    back_up(state, file)
    note_ended(state, "r1")
    for path in state.glob("*.db*"):
        path.unlink()
    restore(file, state)
    assert ended_runs(state) == {"r1"}


def packed(change: Callable[[dict[str, bytes]], None], source: Path, target: Path) -> Path:
    """A backup with something changed in it."""
    with tarfile.open(source) as tar:
        parts = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    change(parts)
    with tarfile.open(target, "w") as tar:
        for name, data in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target


def listed(parts: dict[str, bytes], **changes: Any) -> None:
    parts["manifest.json"] = json.dumps(json.loads(parts["manifest.json"]) | changes).encode()


def relisted(parts: dict[str, bytes], name: str, data: bytes) -> None:
    """Somebody makes a part up and knows how to list it."""
    files = json.loads(parts["manifest.json"])["files"]
    files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    parts[name] = data
    listed(parts, files=files)


DAMAGES: dict[str, Callable[[dict[str, bytes]], Any]] = {
    "a changed byte": lambda p: p.update(id=p["id"][:-2] + bytes([p["id"][-2] ^ 1]) + b"\n"),
    "a part less": lambda p: p.pop("copies.key"),
    "a part more": lambda p: p.update(evil=b"x"),
    "a part elsewhere": lambda p: p.update({"../evil": b"x"}),
    "no list": lambda p: p.pop("manifest.json"),
    "a list of others": lambda p: listed(p, schema="tar/1"),
    "a list without parts": lambda p: listed(p, files={}),
    "a list of nonsense": lambda p: listed(p, files=7),
    "no time": lambda p: listed(p, at="yesterday"),
    "an id that is none": lambda p: relisted(p, "id", b"../../x\n"),
    "a key that is none": lambda p: relisted(p, "copies.key", b"00\n"),
    "another id": lambda p: relisted(p, "id", b"0" * 32 + b"\n"),
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_what_is_no_whole_backup_changes_nothing(tmp_path: Path, what: str) -> None:
    await (await make(tmp_path / "old")).close()
    file, state = tmp_path / "file", tmp_path / "new"
    back_up(tmp_path / "old", file)
    damaged = packed(DAMAGES[what], file, tmp_path / "damaged")
    with pytest.raises(InputError, match="is not a valid Hostler backup"):
        restore(damaged, state)
    assert left(state) == []
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kept", [0, 100, 700, 5000, 30_000])
async def test_nor_does_one_that_was_cut_short(tmp_path: Path, kept: int) -> None:
    await (await make(tmp_path / "old")).close()
    file, state = tmp_path / "file", tmp_path / "new"
    back_up(tmp_path / "old", file)
    os.truncate(file, kept)
    with pytest.raises(InputError, match="is not a valid Hostler backup"):
        restore(file, state)
    assert left(state) == []


async def test_newer_forms_and_databases_are_refused_by_name(tmp_path: Path) -> None:
    store = await make(tmp_path / "old")
    file = tmp_path / "file"
    back_up(tmp_path / "old", file)
    newer = packed(lambda p: listed(p, schema="hostler.backup/3"), file, tmp_path / "newer")
    with pytest.raises(InputError, match="uses a newer backup format"):
        restore(newer, tmp_path / "new")
    await store.close()
    with sqlite3.connect(tmp_path / "old" / "hostler.db") as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('hostler', 'm9999_later', '2030-01-01')"
        )
    connection.close()
    back_up(tmp_path / "old", tmp_path / "later")
    with pytest.raises(SchemaTooNew, match="was written by a newer Hostler"):
        restore(tmp_path / "later", tmp_path / "new")
    assert left(tmp_path / "new") == []


async def test_what_was_interrupted_is_done_again(tmp_path: Path) -> None:
    """Cut off between its files: the database, which a daemon begins with, comes last."""
    await (await make(tmp_path / "old", "r1")).close()
    file, state = tmp_path / "file", tmp_path / "new"
    back_up(tmp_path / "old", file)
    restore(file, state)
    for name in ("hostler.db", "metrics.db", "copies.key"):
        (state / name).unlink()
    (state / "restoring").mkdir()
    (state / "restoring" / "hostler.db").write_text("half")
    restore(file, state)
    (state / "hostler.db").unlink()  # and between the two databases
    (state / "restoring").mkdir()
    (state / "restoring" / "hostler.db").write_text("whole")
    restore(file, state)
    assert "restoring" not in left(state)
    await (await Store.open(state)).close()


async def test_an_older_database_that_is_put_back_by_hand_is_another_generation(
    tmp_path: Path,
) -> None:
    """Hosts have heard of the newer one; what they have noted since has to be merged."""
    await (await make(tmp_path / "old", "r1")).close()
    file, state = tmp_path / "file", tmp_path / "new"
    back_up(tmp_path / "old", file)
    number = restore(file, state).generation
    store = await Store.open(state)
    assert (await store.generations.life()).number == number  # and no other one at each start
    await store.close()
    for path in state.glob("hostler.db*"):
        path.unlink()
    (state / "hostler.db").write_bytes((tmp_path / "old" / "hostler.db").read_bytes())
    store = await Store.open(state)
    life = await store.generations.life()
    assert life.number > number
    assert life.restored_at is not None
    assert await store.generations.restored_runs() == {"r1"}
    await store.close()
    store = await Store.open(state)
    assert (await store.generations.life()).number == life.number
    await store.close()


async def test_a_database_made_anew_for_an_id_of_before_is_another_generation(
    tmp_path: Path,
) -> None:
    store = await make(tmp_path / "state")
    assert (await store.generations.life()).number == 1
    assert not (tmp_path / "state" / "generation").exists()
    await store.close()
    for path in (tmp_path / "state").glob("*.db*"):
        path.unlink()
    store = await Store.open(tmp_path / "state")
    life = await store.generations.life()
    assert life.number > 1
    assert life.restored_at is None
    await store.close()
    (tmp_path / "state" / "generation").write_text("many\n")
    with pytest.raises(StateError, match="contains no number"):
        await Store.open(tmp_path / "state")


async def test_secrets_are_in_a_backup_only_where_they_are_asked_for(tmp_path: Path) -> None:
    old, value = tmp_path / "old", Secret("hf_sesame_open")
    await (await make(old, "r1")).close()
    SecretStore(old).put(1000, "HF_TOKEN", value, 5.0)
    key = (old / "secrets/key").read_bytes().strip()
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    assert not back_up(old, plain).secrets
    assert key not in plain.read_bytes()
    assert not restore(plain, tmp_path / "without").secrets
    assert not (tmp_path / "without/secrets").exists()
    assert back_up_to(whole, old, overwrite=False, progress=quiet, secrets=True).secrets
    assert stat.S_IMODE(whole.stat().st_mode) == 0o600
    with tarfile.open(whole) as tar:
        manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    assert manifest["schema"] == "hostler.backup/2"  # versions that know none refuse it by name
    new = tmp_path / "new"
    assert restore(whole, new).secrets
    assert SecretStore(new).person(1000)["HF_TOKEN"].value == value
    # What is there already is newer; another key's are not mixed with it.
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    SecretStore(kept).put(7, "OTHER", value, 5.0)
    with pytest.raises(ConflictError, match="is another key than that of the backup"):
        restore(whole, kept)
    assert not (kept / "hostler.db").exists()
    assert left(kept) == ["secrets"]
