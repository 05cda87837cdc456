"""Turns errors of SQLite and the disk (corrupt, full, locked, read-only) into a StateError with
cause and remedy."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from hostler.base.errors import StateError

_FULL = "free some space (`hostler gc` shows which files can be removed), then try again"
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_FORBIDDEN = {sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}


class CorruptError(StateError):
    """The database file is damaged. Hostler does not change it."""


def database_error(error: sqlite3.Error, path: Path) -> StateError:
    """A StateError for an error of SQLite, with a remedy for the administrator of the daemon."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StateError(f"the disk that holds {path} is full", remedy=_FULL)
    if code == sqlite3.SQLITE_READONLY:
        return StateError(
            f"{path} cannot be written",
            remedy="make its folder writable (is the disk mounted read-only?), then try again",
        )
    if code in _LOCKED:
        return StateError(
            f"{path} is locked by another program",
            remedy=f"end the program that has it open (fuser {path}), then try again",
        )
    if code in _CORRUPT:
        return corrupt_error(path, str(error))
    if code in _FORBIDDEN:
        return StateError(
            f"{path} cannot be opened ({error})",
            remedy="check that it and its folder belong to you and are readable and writable",
        )
    if code == sqlite3.SQLITE_IOERR:
        return StateError(
            f"the disk failed under {path} ({error})",
            remedy="check the disk (dmesg); nothing that was acknowledged is lost by this alone",
        )
    return StateError(f"{path}: {error}", remedy="this is likely a bug in Hostler: report it")


def corrupt_error(path: Path, found: str) -> CorruptError:
    """The error for a damaged database. The file is kept; the remedy says how to restore a
    backup."""
    backups = sorted((path.parent / "backups").glob(f"{path.stem}-*.db"))
    if backups:
        remedy = (
            "stop the daemon, keep the damaged files and restore the newest backup: mkdir "
            f"{path.parent}/damaged && mv {path}* {path.parent}/damaged/ && "
            f"cp {backups[-1]} {path}; then recover later runs from the hosts: hostler daemon "
            "recover"
        )
    else:
        remedy = (
            f"stop the daemon and move {path}* away (keep them); then recover the runs from the "
            "hosts: hostler daemon recover"
        )
    return CorruptError(f"{path} is damaged ({found}); the file was kept unchanged", remedy=remedy)


def disk_error(error: OSError, path: Path) -> StateError:
    """A StateError for an error of the file system, with a remedy for the administrator of the
    daemon."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StateError(f"the disk that holds {path} is full", remedy=_FULL)
    if error.errno == errno.EROFS:
        return StateError(
            f"{path} is on a disk that is mounted read-only", remedy="mount it writable"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return StateError(
            f"{path} cannot be used ({error.strerror})",
            remedy="check that it and its folder belong to you and are readable and writable",
        )
    return StateError(f"{path}: {error.strerror or error}", remedy="check the disk")


@contextlib.contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into a StateError about `path`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


@contextlib.contextmanager
def database_faults(path: Path) -> Iterator[None]:
    """Turn an error of SQLite in the block into a StateError about `path`."""
    try:
        yield
    except sqlite3.Error as error:
        raise database_error(error, path) from error
