"""Restores a backup into an empty state folder (`hostler daemon restore`). The whole backup is
checked before any file is put in place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tarfile import TarInfo
from typing import BinaryIO

from hostler.base.checks import count, made, mapping, number, text
from hostler.base.errors import ConflictError, InputError, SchemaTooNew
from hostler.store.backup import (
    BLOBS,
    DATABASES,
    MANIFEST,
    SCHEMA,
    SCHEMA_WITH_SECRETS,
    SMALL,
    Progress,
    listed_blobs,
)
from hostler.store.content import CONTENT, blobs_in
from hostler.store.copy_key import ENDED_FILE, KEY_FILE, ended_runs, read_copy_key
from hostler.store.faults import CorruptError, database_faults, disk_faults
from hostler.store.files import private_folder, sync_folder, write_durable
from hostler.store.generations import begin_life, highest_number, note_number, noted_number
from hostler.store.migrations import STATE
from hostler.store.opening import open_for_writing
from hostler.store.secret_backup import MEMBER, check_key, put_back, unpacked
from hostler_agent.tarcheck import UNREADABLE, RangeReader, members

_MOST_MANIFEST = 1024 * 1024
_PIECE = 1024 * 1024
_HEX = re.compile(r"[0-9a-f]+")
_NONSENSE = (*UNREADABLE, TypeError, AttributeError)
_LATEST = 1e11
"""Latest valid time in seconds since 1970, in the year 5138."""
_MOST_GENERATION = 2**53
"""Hosts have the same limit."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored state folder that a daemon can use."""

    state: Path
    daemon_id: str
    made_at: float
    generation: int
    open_runs: int
    blobs: int
    """Number of files in the content store when the backup was made."""
    missing: int
    """Number of these files that this folder does not have."""
    missing_bytes: int
    secrets: bool = False
    """Whether the backup contained the secrets of users and runs."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A file in a backup, as the backup's list describes it."""

    size: int
    sha256: str


_part = made(_Part, {"size": count, "sha256": text}, {})


@dataclass(frozen=True, slots=True)
class _Manifest:
    """The list at the start of a backup."""

    at: float
    files: Mapping[str, _Part]


def restore_from(source: Path, state: Path, at: float, progress: Progress) -> Restored:
    """Put a backup into a folder without a database, whose lock is held. The state database is
    moved last, so an interrupted restore may be repeated.

    Raises InputError for an incomplete backup, ConflictError if the folder has a database or
    belongs to another daemon, StateError.
    """
    work = state / "restoring"
    _check_empty(state, work)
    shutil.rmtree(work, ignore_errors=True)
    private_folder(work)
    try:
        with disk_faults(source), source.open("rb") as file:
            manifest = _unpack(file, source, work, progress)
        daemon_id = _check_identity(work, state, source)
        generation, open_runs = _next_generation(work / DATABASES[0], daemon_id, source, at)
        blobs = _read_blobs(work / BLOBS, source)
        secrets = _read_secrets(work / MEMBER, source)
        if secrets is not None:
            check_key(secrets, state)
            put_back(secrets, state)
        note_number(state, generation)
        _move(work, state)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    here = blobs_in(state / CONTENT)
    missing = [size for digest, size in blobs.items() if digest not in here]
    counts = (generation, open_runs, len(blobs), len(missing), sum(missing))
    return Restored(state, daemon_id, manifest.at, *counts, secrets is not None)


def _check_empty(state: Path, work: Path) -> None:
    with disk_faults(state):
        # If a restore was killed between the last two moves, the metrics database here is its own.
        was_cut = not (work / DATABASES[1]).exists() and (work / DATABASES[0]).exists()
        names = DATABASES[:1] if was_cut else DATABASES
        there = sorted(path for name in names for path in state.glob(f"{name}*"))
    if there:
        raise ConflictError(
            f"{state} already contains a database ({there[0].name})",
            remedy="restore into an empty folder (HOSTLER_STATE=FOLDER), or move this one away",
        )


def _unpack(file: BinaryIO, source: Path, work: Path, progress: Progress) -> _Manifest:
    """Unpack all members; size and digest of each are checked."""
    try:
        found = members(file)
        manifest = _read_manifest(file, next(found, None), source)
        files = dict(manifest.files)
        total = sum(one.size for one in files.values())
        done = 0
        for member in found:
            wanted = files.pop(member.name, None)
            if wanted is None or not _is_plain(member) or member.size != wanted.size:
                raise _no_backup(source, f"{member.name!r} in it is not as its list says")
            part = RangeReader(file, member.offset_data, member.size)
            if _write(part, work / member.name) != wanted.sha256:
                raise _no_backup(source, f"{member.name} in it is damaged")
            done += member.size
            progress("reading", done, total)
    except _NONSENSE as error:
        raise _no_backup(source, str(error) or type(error).__name__) from error
    if files:
        raise _no_backup(source, f"{min(files)} is missing in it")
    return manifest


def _is_plain(member: TarInfo) -> bool:
    return member.isreg() and not member.issparse()


def _read_manifest(file: BinaryIO, first: TarInfo | None, source: Path) -> _Manifest:
    is_list = first is not None and first.name == MANIFEST and _is_plain(first)
    if first is None or not is_list or first.size > _MOST_MANIFEST:
        raise _no_backup(source, "it does not begin with its list of contents")
    part = RangeReader(file, first.offset_data, first.size)
    told = mapping(json.loads(part.read()), "list")
    schema = told.get("schema")
    if schema not in (SCHEMA, SCHEMA_WITH_SECRETS):
        if isinstance(schema, str) and schema.startswith(SCHEMA.partition("/")[0] + "/"):
            raise InputError(
                f"{source} uses a newer backup format ({schema}), of Hostler {told.get('version')}",
                remedy="restore it with that version",
            )
        raise _no_backup(source, "its list is of another program")
    files = mapping(told["files"], "files")
    more = {MEMBER} if schema == SCHEMA_WITH_SECRETS else set()
    if set(files) != {*SMALL, BLOBS, *DATABASES, *more}:
        raise _no_backup(source, "its list does not name the parts of a backup")
    at = number(told["at"], "at")
    if not 0 <= at < _LATEST:
        raise _no_backup(source, "its list has no time of the backup")
    return _Manifest(at, {name: _part(one, name) for name, one in files.items()})


def _read_blobs(path: Path, source: Path) -> Mapping[str, int]:
    try:
        return dict(listed_blobs(path))
    except ValueError as error:
        raise _no_backup(source, f"its {BLOBS} cannot be read") from error


def _read_secrets(path: Path, source: Path) -> dict[str, bytes] | None:
    """The secrets by file name; None: the backup was made without them."""
    if not path.exists():
        return None
    try:
        return unpacked(path.read_bytes())
    except ValueError as error:
        raise _no_backup(source, str(error)) from error


def _no_backup(source: Path, why: str) -> InputError:
    return InputError(
        f"{source} is not a valid Hostler backup: {why}",
        remedy="nothing was changed; use another copy of it",
    )


def _write(part: RangeReader, target: Path) -> str:
    """Write and sync a file; returns its SHA-256."""
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with disk_faults(target), os.fdopen(os.open(target, flags, 0o600), "wb") as file:
        while piece := part.read(_PIECE):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _check_identity(work: Path, state: Path, source: Path) -> str:
    """The daemon's id. Raises ConflictError if the folder belongs to another daemon."""
    texts = {name: (work / name).read_text(errors="replace").strip() for name in SMALL[:2]}
    for name, digits in zip(SMALL[:2], (32, 64), strict=True):
        if len(texts[name]) != digits or not _HEX.fullmatch(texts[name]):
            raise _no_backup(source, f"{name} in it is not {digits} hex digits")
    there = state / "id"
    key = read_copy_key(state)
    same_id = not there.exists() or there.read_text(errors="replace").strip() == texts["id"]
    if not same_id or (key is not None and key.hex() != texts[KEY_FILE]):
        differs = KEY_FILE if same_id else "id"
        raise ConflictError(
            f"{state} belongs to another daemon ({differs} differs)",
            remedy="restore into an empty folder: HOSTLER_STATE=FOLDER",
        )
    return texts["id"]


def _next_generation(path: Path, daemon_id: str, source: Path, at: float) -> tuple[int, int]:
    """Migrate the copy to this version's schema and make it the next generation. Returns the
    generation and the number of open runs."""
    try:
        connection = open_for_writing(path, STATE, synchronous="FULL", backups=False)
    except SchemaTooNew as error:
        raise SchemaTooNew(
            f"{source} was written by a newer Hostler; nothing was changed",
            remedy="restore it with that version",
        ) from error
    except CorruptError as error:
        raise _no_backup(source, f"{path.name} in it is damaged") from error
    with database_faults(path), contextlib.closing(connection):
        stored = connection.execute("SELECT daemon_id FROM identity").fetchone()
        if stored is None or stored[0] != daemon_id:
            raise _no_backup(source, "its id and its database belong to different daemons")
        if highest_number(connection) >= _MOST_GENERATION:
            raise _no_backup(source, "its database names a generation that cannot be")
        begun = begin_life(connection, at, noted_number(path.parent.parent))
        if begun.restored_at != at:
            raise _no_backup(source, "its database does not accept a new generation")
        open_runs = connection.execute("SELECT count(*) FROM restored_runs").fetchone()[0]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    return begun.number, open_runs


def _move(work: Path, state: Path) -> None:
    """Move all files into place; those that a daemon needs to start come last."""
    with disk_faults(state):
        ended = ended_runs(work) | ended_runs(state)  # the list of a lost database is newer
        write_durable(state / ENDED_FILE, "".join(f"{one}\n" for one in sorted(ended)).encode())
        for name in (*SMALL[:2], *reversed(DATABASES)):
            (work / name).replace(state / name)
            sync_folder(state)
