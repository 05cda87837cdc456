"""Notes about omitted files of a folder: shown once, not at every run.

Which were told is a small file in the person's own state folder, which is theirs alone: somebody
else who could write there could keep a warning from them. Where it cannot be kept, each run tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from hostler.base.errors import HostlerError
from hostler.base.paths import state_folder
from hostler.base.private import make_private

NAME = "told.json"
_MOST = 2000
"""Notes that are remembered, the newest."""
_LARGEST = 1024 * 1024
Say = Callable[[str], object]


def tell_once(folder: Path, notes: Iterable[str], say: Say) -> None:
    """Tell those notes that this folder has not had yet. Who hears nothing was told nothing."""
    lines = list(notes)
    if not lines or say is silent:
        return
    place = own_place()
    known = _read(place) if place is not None else []
    seen = set(known)
    fresh = [(line, key) for line in lines if (key := _key(folder, line)) not in seen]
    for line, _ in fresh:
        say(line)
    if fresh and place is not None:
        _write(place, [*known, *(key for _, key in fresh)][-_MOST:])


def _key(folder: Path, line: str) -> str:
    text = f"{os.path.realpath(folder)}\0{line}".encode("utf-8", "surrogateescape")
    return hashlib.blake2s(text, digest_size=12).hexdigest()


def own_place() -> Path | None:
    """The person's state folder, made or checked: nobody else can write there, or swap it."""
    try:
        folder = state_folder()
        make_private(folder)
    except (OSError, HostlerError):
        return None
    return Path(folder)


def _read(place: Path) -> list[str]:
    """What was told; nothing where the file is none of ours."""
    try:
        handle = os.open(place / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return []
            found = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return []
    return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []


def _write(place: Path, keys: list[str]) -> None:
    """In one step; of two commands at once one may be forgotten, and is told once more."""
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=".told-", dir=place)
        with os.fdopen(handle, "w") as file:
            json.dump(keys, file)
        Path(name).replace(place / NAME)
    except OSError:
        if name:
            Path(name).unlink(missing_ok=True)


def silent(text: str) -> None:
    """Says nothing."""
