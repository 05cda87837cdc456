"""What this person has sent to daemons of other users: from which folder, with what of it.

A rerun, and a retry with new code, pack the folder that the daemon names for the run. A hostile
daemon could name any: it gets only what was sent to it before. The record is a small file in the
person's own state folder, a line for each that says nothing of what it stands for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from hostler.base.errors import InputError
from hostler.base.json_types import JsonTable
from hostler.submit.told import own_place
from hostler_agent.json_values import strings, table

if TYPE_CHECKING:
    from hostler.quick.socket import Found

NAME = "sent"
_LARGEST = 1024 * 1024


def remember(found: Found, body: JsonTable) -> None:
    """Note that this submission goes to a daemon, where that is another user's. Raises nothing:
    where it cannot be kept, a rerun is refused."""
    if found.is_own:
        return
    source, place = table(body.get("source")), own_place()
    folder, include = str(source.get("path") or ""), strings(source.get("include"))
    line = _line(found, folder, include, PurePath(str(body.get("file") or "")).name)
    if place is None or line in _read(place):
        return
    try:
        _append(place, line)
    except OSError:
        return


def check_sent(found: Found, folder: Path, include: Sequence[str], file: str, else_: str) -> None:
    """Raise InputError where the daemon is another user's, and this was never sent to it."""
    if found.is_own:
        return
    place = own_place()
    if place is not None and _line(found, str(folder), include, file) in _read(place):
        return
    what = [*([file] if file else []), *(f"--include {shlex.quote(path)}" for path in include)]
    told = f" ({', '.join(what)})" if what else ""
    raise InputError(
        f"the daemon at {found.path} is another user's and names {folder}{told}; you have not sent "
        "that to it from this machine",
        remedy=f"If you want to send it: cd {shlex.quote(str(folder))} and use hostler run. "
        f"Otherwise {else_}",
    )


def _line(found: Found, folder: str, include: Sequence[str], file: str) -> str:
    what = json.dumps([os.path.realpath(found.path), folder, list(include), file])
    return hashlib.blake2s(what.encode(), digest_size=16).hexdigest()


def _read(place: Path) -> list[str]:
    """All lines; none where the file is none of ours."""
    try:
        handle = os.open(place / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return []
            return file.read(2 * _LARGEST).decode("ascii", "replace").split()
    except OSError:
        return []


def _append(place: Path, line: str) -> None:
    """In one write, so that of several commands at once none is forgotten."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(place / NAME, flags, 0o600)
    try:
        if os.fstat(handle).st_size > _LARGEST:  # tens of thousands of folders: the oldest go
            os.ftruncate(handle, 0)
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)
