"""Remembers notes that this user has seen and what they sent to daemons of other users, in the
state folder; how many, and what a rerun may send.

Notes about omitted files of a folder are shown once, not at every run: another user who could write
there could suppress a warning. If that cannot be stored, each run shows them.

A rerun, and a retry with new code, pack the folder that the daemon names for the run. A hostile
daemon of another user could name any: it gets only what was sent to it before, from which folder,
with what of it. A line for each says nothing of what it stands for.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from hostler.base.errors import HostlerError, InputError
from hostler.base.json_types import JsonTable
from hostler.base.paths import state_folder
from hostler.base.private import make_private
from hostler_agent.json_values import strings, table

if TYPE_CHECKING:
    from hostler.quick.socket import Found


TOLD = "told.json"
_MOST = 2000
"""The number of newest notes to remember."""
_LARGEST = 1024 * 1024
Say = Callable[[str], object]

SENT = "sent"


def tell_once(folder: Path, notes: Iterable[str], say: Say) -> None:
    """Show those notes that were not shown for this folder yet. Without an output, none count as
    shown."""
    lines = list(notes)
    if not lines or say is silent:
        return
    place = own_place()
    known = _read_told(place) if place is not None else []
    seen = set(known)
    fresh = [(line, key) for line in lines if (key := _key(folder, line)) not in seen]
    for line, _ in fresh:
        say(line)
    if fresh and place is not None:
        _write_told(place, [*known, *(key for _, key in fresh)][-_MOST:])


def _key(folder: Path, line: str) -> str:
    import hashlib  # takes time to load

    text = f"{os.path.realpath(folder)}\0{line}".encode("utf-8", "surrogateescape")
    return hashlib.blake2s(text, digest_size=12).hexdigest()


def own_place() -> Path | None:
    """The user's state folder, created or checked: no other user can write there or replace it."""
    try:
        folder = state_folder()
        make_private(folder)
    except (OSError, HostlerError):
        return None
    return Path(folder)


def _read_told(place: Path) -> list[str]:
    """The notes that were shown; none if the file is not ours."""
    try:
        handle = os.open(place / TOLD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return []
            found = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return []
    return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []


def _write_told(place: Path, keys: list[str]) -> None:
    """Written in one step. If two commands write at once, one may be lost, and its notes are shown
    again."""
    import tempfile  # takes time to load

    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=".told-", dir=place)
        with os.fdopen(handle, "w") as file:
            json.dump(keys, file)
        Path(name).replace(place / TOLD)
    except OSError:
        if name:
            Path(name).unlink(missing_ok=True)


def silent(text: str) -> None:
    """Prints nothing."""


def remember(found: Found, body: JsonTable) -> None:
    """Record that this submission is sent to a daemon of another user. Raises nothing: if the
    record cannot be written, a rerun is refused."""
    if found.is_own:
        return
    source, place = table(body.get("source")), own_place()
    folder, include = str(source.get("path") or ""), strings(source.get("include"))
    line = _line(found, folder, include, PurePath(str(body.get("file") or "")).name)
    if place is None or line in _read_sent(place):
        return
    try:
        _append(place, line)
    except OSError:
        return


def check_sent(found: Found, folder: Path, include: Sequence[str], file: str, else_: str) -> None:
    """Raise InputError if the daemon belongs to another user, and this was never sent to it."""
    if found.is_own:
        return
    place = own_place()
    if place is not None and _line(found, str(folder), include, file) in _read_sent(place):
        return
    what = [*([file] if file else []), *(f"--include {shlex.quote(path)}" for path in include)]
    told = f" ({', '.join(what)})" if what else ""
    raise InputError(
        f"the daemon at {found.path} belongs to another user and asks for {folder}{told}, which "
        "you have never sent to it from this machine",
        remedy=f"If you want to send it: cd {shlex.quote(str(folder))} and use hostler run. "
        f"Otherwise {else_}",
    )


def _line(found: Found, folder: str, include: Sequence[str], file: str) -> str:
    import hashlib  # takes time to load

    what = json.dumps([os.path.realpath(found.path), folder, list(include), file])
    return hashlib.blake2s(what.encode(), digest_size=16).hexdigest()


def _read_sent(place: Path) -> list[str]:
    """All lines; none if the file is not ours."""
    try:
        handle = os.open(place / SENT, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return []
            return file.read(2 * _LARGEST).decode("ascii", "replace").split()
    except OSError:
        return []


def _append(place: Path, line: str) -> None:
    """Written at once, so that several commands lose no line."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(place / SENT, flags, 0o600)
    try:
        if os.fstat(handle).st_size > _LARGEST:  # tens of thousands of folders: the oldest go
            os.ftruncate(handle, 0)
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)
