"""Stored secrets: encrypted files in the state folder, beside their key.

    secrets/key               encrypts the others (Fernet of `cryptography`)
    secrets/people/1000       secrets of a user, by uid: name -> value and time
    secrets/runs/r7f3a2k      secrets of a run: its own, and all that its attempts got
    secrets/runs/r7f3a2k.new  the same for a run that is not in the database yet

The database contains none of this. Methods block: they read and write files.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hostler.base.errors import StateError
from hostler.base.json_types import JsonTable
from hostler.base.secret import Secret
from hostler.store.faults import disk_faults
from hostler.store.files import private_folder, sync_folder, write_durable

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

FOLDER = "secrets"
KEY, PEOPLE, RUNS = "key", "people", "runs"
_BEGUN = ".new"
_RUN_ID = re.compile(r"[0-9a-z]{1,40}")
_MOST = 16 * 1024 * 1024
"""Most bytes of a file that is read."""


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """A secret that a user has set."""

    value: Secret
    set_at: float


@dataclass(frozen=True, slots=True)
class RunSecrets:
    """The stored secrets of one run."""

    own: Mapping[str, Secret] = field(default_factory=dict)
    """Secrets that came with its submission."""
    given: tuple[Secret, ...] = ()
    """All values that its attempts got, under any name."""


class SecretStore:
    """The files. After a crash, each change is complete or absent. All methods raise StateError."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._lock = threading.Lock()
        self._opener: Fernet | None = None
        self._key = self._hmac_key = b""

    def person(self, uid: int) -> dict[str, KeptSecret]:
        """All secrets that a user has set."""
        with self._lock:
            return self._person(uid)

    def put(self, uid: int, name: str, value: Secret, at: float) -> None:
        """Store a secret, or replace its value."""
        with self._lock:
            self._write_person(uid, {**self._person(uid), name: KeptSecret(value, at)})

    def remove(self, uid: int, name: str) -> bool:
        """Remove a secret; returns whether it existed."""
        with self._lock:
            known = self._person(uid)
            if known.pop(name, None) is None:
                return False
            self._write_person(uid, known)
            return True

    def begin_run(self, run_id: str, own: Mapping[str, Secret]) -> None:
        """Store the secrets of a submission, before its run is in the database."""
        with self._lock:
            self._write(RUNS, _checked(run_id) + _BEGUN, _run_to_json(RunSecrets(own)))

    def confirm_run(self, run_id: str) -> None:
        """Called when the run is in the database."""
        path = self._folder / RUNS / _checked(run_id)
        begun = path.with_name(path.name + _BEGUN)
        with self._lock, disk_faults(path):
            if path.exists():  # more secrets were added meanwhile
                begun.unlink(missing_ok=True)
            elif begun.exists():
                begun.replace(path)
                sync_folder(path.parent)

    def abandon_run(self, run_id: str) -> None:
        """Remove the secrets of a run that was not stored under this id."""
        path = self._folder / RUNS / (_checked(run_id) + _BEGUN)
        with self._lock, disk_faults(path):
            path.unlink(missing_ok=True)

    def run(self, run_id: str) -> RunSecrets:
        """The stored secrets of a run that is in the database."""
        with self._lock:
            found = self._read(RUNS, _checked(run_id))
        try:
            return _run_of(found)
        except ValueError:
            raise _unreadable(self._folder / RUNS / run_id) from None

    def write_run(self, run_id: str, known: RunSecrets) -> None:
        """Store all secrets of a run that is in the database."""
        with self._lock:
            self._write(RUNS, _checked(run_id), _run_to_json(known))

    def drop_run(self, run_id: str) -> None:
        """Remove the secrets of a run."""
        path = self._folder / RUNS / _checked(run_id)
        with self._lock, disk_faults(path):
            path.unlink(missing_ok=True)
            path.with_name(path.name + _BEGUN).unlink(missing_ok=True)

    def runs(self) -> dict[str, float]:
        """The runs with stored secrets, and when each file was written."""
        return {name: at for name, at in self._names().items() if not name.endswith(_BEGUN)}

    def begun_runs(self) -> list[str]:
        """Runs that were not confirmed to be in the database."""
        return [name.removesuffix(_BEGUN) for name in self._names() if name.endswith(_BEGUN)]

    def fingerprint(self, value: Secret) -> str:
        """A digest, equal for equal values; it reveals nothing without the key."""
        with self._lock:
            self._open_key(make=True)
            text = value.reveal().encode("utf-8", "surrogateescape")
            return hmac.new(self._hmac_key, text, hashlib.sha256).hexdigest()

    def _names(self) -> dict[str, float]:
        folder = self._folder / RUNS
        with disk_faults(folder):
            if not folder.exists():
                return {}
            found = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(folder)}
        return {
            name: told.st_mtime
            for name, told in found.items()
            if stat.S_ISREG(told.st_mode) and _RUN_ID.fullmatch(name.removesuffix(_BEGUN))
        }

    def _person(self, uid: int) -> dict[str, KeptSecret]:
        found = self._read(PEOPLE, str(uid)) or {}
        path = self._folder / PEOPLE / str(uid)
        try:
            return {name: _kept(one) for name, one in found.items()}
        except (LookupError, TypeError, ValueError):
            raise _unreadable(path) from None

    def _write_person(self, uid: int, known: Mapping[str, KeptSecret]) -> None:
        told: JsonTable = {
            name: {"value": kept.value.reveal(), "set_at": kept.set_at}
            for name, kept in known.items()
        }
        self._write(PEOPLE, str(uid), told)

    def _read(self, kind: str, name: str) -> JsonTable | None:
        """The content of a file; None if there is none."""
        path = self._folder / kind / name
        sealed = private_bytes(path)
        if sealed is None:
            return None
        from cryptography.fernet import InvalidToken

        opener = self._open_key(make=False)
        try:
            found = json.loads(opener.decrypt(sealed))
        except (InvalidToken, ValueError):
            raise _unreadable(path) from None
        if not isinstance(found, dict):
            raise _unreadable(path)
        return found

    def _write(self, kind: str, name: str, value: JsonTable) -> None:
        private_folder(self._folder)
        folder = private_folder(self._folder / kind)
        opener = self._open_key(make=True)
        self._keep_key()
        with disk_faults(folder / name):
            write_durable(folder / name, opener.encrypt(json.dumps(value).encode()))

    def _open_key(self, *, make: bool) -> Fernet:
        """The object that encrypts and decrypts. The key is made if nothing was ever encrypted."""
        if self._opener is None:
            from cryptography.fernet import Fernet

            path = self._folder / KEY
            key = private_bytes(path)
            if key is None:
                key = self._new_key(path, make=make)
            try:
                self._opener = Fernet(key.strip())
            except ValueError:
                raise _wrong_key(path, "is no key") from None
            self._key = key.strip()
            self._hmac_key = hmac.new(self._key, b"hostler submission", hashlib.sha256).digest()
        return self._opener

    def _keep_key(self) -> None:
        """Write the key again if its file was removed: without it, new data could never be
        decrypted."""
        path = self._folder / KEY
        with disk_faults(path):
            if not path.exists():
                write_durable(path, self._key + b"\n")

    def _new_key(self, path: Path, *, make: bool) -> bytes:
        from cryptography.fernet import Fernet

        if not make or any(_has_files(self._folder / kind) for kind in (PEOPLE, RUNS)):
            raise _wrong_key(path, "is gone")
        private_folder(self._folder)
        key = Fernet.generate_key()
        with disk_faults(path):
            write_durable(path, key + b"\n")
        return key


def _checked(run_id: str) -> str:
    """The id, if it is a safe file name."""
    if not _RUN_ID.fullmatch(run_id):
        raise StateError(f"{run_id!r} is no id of a run")
    return run_id


def _has_files(folder: Path) -> bool:
    with disk_faults(folder):
        return folder.is_dir() and any(folder.iterdir())


def private_bytes(path: Path) -> bytes | None:
    """The content of a private file of this user; None: it does not exist. Raises StateError if it
    is a link, or if another user could have written or read it."""
    with disk_faults(path):
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if is_ours and not stat.S_IMODE(found.st_mode) & 0o077:
                return file.read(_MOST)
    raise StateError(
        f"{path} is not a file of this user alone (mode 0600)",
        remedy=f"Other users may have read it: replace these secrets at their issuers, move the "
        f"file away and set them again. If you are sure that nobody read it: chmod 600 {path}",
    )


def _unreadable(path: Path) -> StateError:
    return StateError(
        f"{path} cannot be opened: it is damaged, or was sealed with another key",
        remedy=f"Restore it and {path.parent.parent / KEY} (`hostler daemon backup --secrets` "
        "contains both), or move it away and set the secrets again: hostler secret set",
    )


def _wrong_key(path: Path, what: str) -> StateError:
    return StateError(
        f"the key of the secrets, {path}, {what}",
        remedy=f"Restore it (`hostler daemon backup --secrets` contains it), or start over: "
        f"mv {path.parent} {path.parent}.old; all users then set their secrets again",
    )


def _run_to_json(known: RunSecrets) -> JsonTable:
    return {
        "own": {name: value.reveal() for name, value in known.own.items()},
        "given": [value.reveal() for value in known.given],
    }


def _run_of(found: JsonTable | None) -> RunSecrets:
    if found is None:
        return RunSecrets()
    own, given = found.get("own"), found.get("given")
    if not isinstance(own, dict) or not isinstance(given, list):
        raise ValueError("not of a run")
    return RunSecrets(
        {name: Secret(_text(value)) for name, value in own.items()},
        tuple(Secret(_text(value)) for value in given),
    )


def _kept(told: object) -> KeptSecret:
    if not isinstance(told, dict):
        raise ValueError("no table")
    return KeptSecret(Secret(_text(told["value"])), float(told["set_at"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value
