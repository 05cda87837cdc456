"""Secrets in a backup, if requested: the encrypted files with their key."""

from __future__ import annotations

import base64
import binascii
import json
import re
from pathlib import Path

from hostler.base.errors import ConflictError
from hostler.store.faults import disk_faults
from hostler.store.files import private_folder, write_durable
from hostler.store.secrets import FOLDER, KEY, PEOPLE, RUNS, private_bytes

MEMBER = "secrets"
_NAME = re.compile(rf"{KEY}|{PEOPLE}/\d{{1,10}}|{RUNS}/[0-9a-z]{{1,40}}(?:\.new)?", re.ASCII)


def packed(state: Path) -> bytes:
    """All files of secrets by name. Raises StateError."""
    folder = state / FOLDER
    with disk_faults(folder):
        found = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_new(path))
    files = {}
    for path in found:
        data = private_bytes(path)
        if data is not None:  # None: removed meanwhile
            files[str(path.relative_to(folder))] = base64.b64encode(data).decode()
    return json.dumps(files).encode()


def _is_new(path: Path) -> bool:
    """Whether a file is still being written."""
    return path.name.startswith(".")


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files from a backup. Raises ValueError for invalid data."""
    found = json.loads(data)
    if not isinstance(found, dict) or not all(_NAME.fullmatch(name) for name in found):
        raise ValueError("its secrets are not files of a daemon")
    try:
        return {name: base64.b64decode(text, validate=True) for name, text in found.items()}
    except (binascii.Error, TypeError) as error:
        raise ValueError("its secrets cannot be read") from error


def check_key(files: dict[str, bytes], state: Path) -> None:
    """Raises ConflictError if the folder has secrets that were encrypted with another key."""
    path = state / FOLDER / KEY
    there = private_bytes(path)
    if there is not None and KEY in files and there != files[KEY]:
        raise ConflictError(
            f"{path} is another key than that of the backup",
            remedy=f"move {path.parent} away, or restore into an empty folder",
        )


def put_back(files: dict[str, bytes], state: Path) -> None:
    """Write missing files; existing ones are newer and stay. The key is written first."""
    folder = private_folder(state / FOLDER)
    for name in sorted(files, key=lambda name: (name != KEY, name)):
        path = folder / name
        private_folder(path.parent)
        with disk_faults(path):
            if not path.exists():
                write_durable(path, files[name])
