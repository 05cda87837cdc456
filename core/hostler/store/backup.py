"""Writes a backup (`hostler daemon backup`): databases, identity and keys in one file; `opening`
makes the daily copies.

The file is an uncompressed tar. The first member, `manifest.json`, lists the names, sizes and
SHA-256 of the others. `blobs` lists the files of the content store, which are not included.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hostler.base.errors import ConflictError, ForbiddenError, InputError, StateError
from hostler.base.private import make_private
from hostler.base.version import __version__
from hostler.store.connections import open_for_reading
from hostler.store.content import CONTENT, blobs_in
from hostler.store.copy_key import ENDED_FILE, KEY_FILE
from hostler.store.faults import (
    corrupt_error,
    database_error,
    database_faults,
    disk_error,
    disk_faults,
)
from hostler.store.files import sync_folder
from hostler.store.generations import life
from hostler.store.secret_backup import MEMBER, packed

SCHEMA = "hostler.backup/1"
SCHEMA_WITH_SECRETS = "hostler.backup/2"
"""Versions that know no secrets refuse a backup with this schema name."""
MANIFEST, BLOBS = "manifest.json", "blobs"
DATABASES = ("hostler.db", "metrics.db")
SMALL = ("id", KEY_FILE, ENDED_FILE)
"""Copied before the databases, so that no run that is open in the copied database is listed as
ended."""
_NEW = ".new"
_ELSEWHERE = "backup"
_LEFT_S = 24 * 3600.0
"""Parts younger than this (seconds) may belong to a backup in progress."""
_PAGES = 1024
_CHECK_UP_TO = 256 * 1024 * 1024
_PIECE = 1024 * 1024

Progress = Callable[[str, int, int], None]
"""Called with the current work, the finished amount, and the total."""


@dataclass(frozen=True, slots=True)
class Backup:
    """The result of a backup."""

    path: Path
    size: int
    generation: int
    runs: int
    blobs: int
    """Number of files of the content store, which are not in the backup."""
    blob_bytes: int
    secrets: bool = False
    """Whether it contains the secrets of users and runs, and their key."""


def back_up_to(
    target: Path, state: Path, *, overwrite: bool, progress: Progress, secrets: bool = False
) -> Backup:
    """Write a backup of a state folder, with or without a running daemon; `secrets`: include
    secrets. The file (0600) gets its name once it is complete. Raises ConflictError if the file
    exists and `overwrite` is not set, InputError, StateError."""
    if not _has_database(state):
        raise StateError(
            f"there is no database in {state}",
            remedy="name the folder of the right daemon: HOSTLER_STATE, or --socket",
        )
    with disk_faults(target):
        _check_target(target, state, overwrite=overwrite)
    work = _work_folder(target, state)
    try:
        for name in SMALL:
            _copy_small(state / name, work / name)
        for name in DATABASES:
            copy_database(state / name, work / name, progress)
        blobs = {d: size for d, (size, _) in blobs_in(state / CONTENT).items()}
        lines = "".join(f"{digest} {size}\n" for digest, size in sorted(blobs.items()))
        (work / BLOBS).write_text(lines)
        if secrets:
            (work / MEMBER).write_bytes(packed(state))
        generation, runs = _counts(work / DATABASES[0])
        about = {"daemon_id": (work / "id").read_text().strip(), "generation": generation}
        with disk_faults(target):
            size = _write_whole(target, work, about, progress, overwrite=overwrite)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Backup(target, size, generation, runs, len(blobs), sum(blobs.values()), secrets)


def _has_database(state: Path) -> bool:
    try:
        return (state / DATABASES[0]).exists()
    except PermissionError:
        raise ForbiddenError(
            f"the state of this daemon, {state}, may only be read by root and the daemon's login",
            remedy="as its administrator: sudo hostler daemon backup FILE",
        ) from None
    except OSError as error:
        raise disk_error(error, state) from error


def _work_folder(target: Path, state: Path) -> Path:
    """A private folder for the parts. It lies beside the backup, where there is enough space. If
    another user could replace it there, and so read the keys or redirect files by links, it lies in
    the state folder."""
    with disk_faults(target.parent):
        probe = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_NEW, dir=target.parent))
        try:
            make_private(str(probe))
        except StateError:
            with contextlib.suppress(OSError):
                probe.rmdir()
        else:
            _remove_left(target.parent, target.name)
            return probe
    with disk_faults(state):
        _remove_left(state, _ELSEWHERE)
        return Path(tempfile.mkdtemp(prefix=f".{_ELSEWHERE}.", suffix=_NEW, dir=state))


def _remove_left(folder: Path, name: str) -> None:
    """Remove old parts of killed backups with this name."""
    for left in folder.glob(f".{glob.escape(name)}.*{_NEW}"):
        found = left.lstat()
        if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _LEFT_S:
            continue
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _write_whole(
    target: Path, work: Path, about: dict[str, object], progress: Progress, *, overwrite: bool
) -> int:
    """Pack the parts into a file beside the target, then rename it to the target; returns its
    size."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=_NEW, dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _pack(file, work, about, progress)
            file.flush()
            written = os.fstat(file.fileno())
            _put_in_place(Path(name), target, overwrite=overwrite)
            # Our file is still open, so no other file can have its inode number.
            if not os.path.samestat(written, target.lstat()):
                raise StateError(
                    f"another user replaced {target}",
                    remedy="write it into a folder in which only you may write",
                )
    finally:
        with contextlib.suppress(OSError):
            Path(name).unlink(missing_ok=True)
    return written.st_size


def copy_database(path: Path, target: Path, progress: Progress) -> None:
    """Copy one consistent state of a database, even during writes. Raises StateError."""
    with _copy_faults(path, target), disk_faults(target), contextlib.ExitStack() as stack:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        source = stack.enter_context(contextlib.closing(open_for_reading(path)))
        copy = stack.enter_context(contextlib.closing(sqlite3.connect(target)))
        # In a transaction, the copy shows the state at its start. Without one, each change by the
        # daemon would restart the copy, which might then never end.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchone()

        def told(_status: int, left: int, total: int) -> None:
            progress(f"copying {path.name}", total - left, total)

        source.backup(copy, pages=_PAGES, progress=told, sleep=0.0)
        copy.execute("PRAGMA journal_mode = DELETE")
        if target.stat().st_size <= _CHECK_UP_TO:
            found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise corrupt_error(path, str(found).splitlines()[-1])


@contextlib.contextmanager
def _copy_faults(path: Path, target: Path) -> Iterator[None]:
    """Report a full disk as an error of the disk with the copy."""
    try:
        yield
    except sqlite3.Error as error:
        is_full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        raise database_error(error, target if is_full else path) from error


def _check_target(target: Path, state: Path, *, overwrite: bool) -> None:
    if target.is_dir():
        raise InputError(f"{target} is a folder", remedy="name a file: hostler daemon backup FILE")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}", remedy="create it first")
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise _is_there(target)
    if not target.is_file():
        raise InputError(f"{target} is not a file", remedy="name another one")
    if state.resolve() in target.resolve().parents:
        raise InputError(
            f"{target} is one of the daemon's own files", remedy="name a file outside its folder"
        )


def _is_there(target: Path) -> ConflictError:
    return ConflictError(f"{target} already exists", remedy="name another file, or add --force")


def _copy_small(path: Path, target: Path) -> None:
    """Copy a file of the state folder if it exists; links are not followed."""
    with disk_faults(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            if path.name != ENDED_FILE:
                raise StateError(
                    f"{path} is missing: a daemon cannot use this database without it",
                    remedy="start the daemon once to create it: hostler daemon start",
                ) from None
            target.touch(0o600, exist_ok=False)
            return
        with os.fdopen(descriptor, "rb") as file, target.open("xb") as copy:
            shutil.copyfileobj(file, copy)


def _counts(database: Path) -> tuple[int, int]:
    with database_faults(database), contextlib.closing(open_for_reading(database)) as connection:
        try:
            number = life(connection).number
        except sqlite3.OperationalError:  # an older schema, before a restart of the daemon
            number = 1
        return number, connection.execute("SELECT count(*) FROM runs").fetchone()[0]


def _pack(file: IO[bytes], work: Path, about: dict[str, object], progress: Progress) -> None:
    has_secrets = (work / MEMBER).exists()
    names = [*SMALL, BLOBS, *([MEMBER] if has_secrets else []), *DATABASES]
    sizes = {name: (work / name).stat().st_size for name in names}
    files = {name: {"size": sizes[name], "sha256": _digest(work / name)} for name in names}
    schema = SCHEMA_WITH_SECRETS if has_secrets else SCHEMA
    manifest = {
        "schema": schema, "version": __version__, "at": time.time(), **about, "files": files,
    }  # fmt: skip
    total, done = sum(sizes.values()), 0
    with tarfile.open(fileobj=file, mode="w") as tar:
        text = json.dumps(manifest, indent=1).encode()
        tar.addfile(_member(MANIFEST, len(text)), io.BytesIO(text))
        for name in names:
            with (work / name).open("rb") as part:
                tar.addfile(_member(name, sizes[name]), part)
            done += sizes[name]
            progress("writing", done, total)
    file.flush()
    os.fsync(file.fileno())


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put_in_place(whole: Path, target: Path, *, overwrite: bool) -> None:
    """Rename a file to its final name. Without `overwrite` an existing file is never replaced, even
    if it appeared after the check."""
    if overwrite:
        whole.replace(target)
    else:
        try:
            os.link(whole, target)
        except FileExistsError:
            raise _is_there(target) from None
        except OSError:  # a file system without hard links
            if os.path.lexists(target):
                raise _is_there(target) from None
            whole.rename(target)
    sync_folder(target.parent)


def listed_blobs(path: Path) -> Iterator[tuple[str, int]]:
    """Digest and size of each file in a backup's list of the content store."""
    with path.open() as file:
        for line in file:
            digest, _, size = line.partition(" ")
            yield digest, int(size)
