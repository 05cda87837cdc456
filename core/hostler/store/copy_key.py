"""The signing key of run copies on hosts, and the ids of ended runs; both are files beside the
database."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from hostler.base.errors import StateError
from hostler.store.faults import disk_faults
from hostler.store.files import write_durable

KEY_FILE, ENDED_FILE = "copies.key", "ended-runs"
_KEY_BYTES = 32


def read_copy_key(folder: Path) -> bytes | None:
    """The key in the state folder; None if there is none. Raises StateError if another user could
    have written or read it."""
    path = folder / KEY_FILE
    with disk_faults(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            is_private = stat.S_ISREG(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
            text = file.read(1024) if is_private and found.st_uid == os.geteuid() else b""
    try:
        key = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise StateError(
            f"{path} is not a key of this user alone (64 hex digits, mode 0600)",
            remedy="move it away: the next start makes a new one and signs the copies of all runs "
            "in the database anew; `hostler daemon recover` then shows others as unsigned",
        )
    return key


def ensure_copy_key(folder: Path) -> bytes:
    """The key; a missing one is made and synced."""
    key = read_copy_key(folder)
    if key is None:
        key = secrets.token_bytes(_KEY_BYTES)
        with disk_faults(folder / KEY_FILE):
            write_durable(folder / KEY_FILE, key.hex().encode() + b"\n")
    return key


def note_ended(folder: Path, run_id: str) -> None:
    """Store that a run has ended, so that a copy that a host did not remove cannot restore the run.
    Raises StateError."""
    path = folder / ENDED_FILE
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    with disk_faults(path):
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, run_id.encode() + b"\n")
        finally:
            os.close(descriptor)


def ended_runs(folder: Path) -> frozenset[str]:
    """The runs that are stored as ended. Raises StateError."""
    path = folder / ENDED_FILE
    with disk_faults(path):
        try:
            return frozenset(path.read_text(errors="replace").split())
        except FileNotFoundError:
            return frozenset()
