"""Lists the folder of wheels on the daemon's machine (`wheels` under [packages]), and refuses one
that other users could change."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from hostler.base.errors import InputError, NotFoundError


def listing(folder: str) -> str:
    """The contents of a folder of wheels. Raises InputError if it does not exist, or if another
    user of the machine could put wheels into it."""
    remedy = "correct `wheels` under [packages] in config.toml"
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise NotFoundError(
            f"{folder} on the daemon's machine: {error.strerror}", remedy=remedy
        ) from error
    _check_owner(folder)
    lines = []
    for entry in entries:
        with contextlib.suppress(OSError):
            status = entry.stat()
            lines.append(f"{entry.name} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(lines)


def _check_owner(folder: str) -> None:
    """Raise InputError if another user could change the contents of a folder, or replace it."""
    place = Path(folder).resolve()
    for path in (place, *place.parents):
        found = path.lstat()
        is_open = found.st_mode & stat.S_IWOTH and (
            path == place or not found.st_mode & stat.S_ISVTX
        )
        if is_open or found.st_uid not in (0, os.geteuid()):
            raise InputError(
                f"{path} on the daemon's machine belongs to another user or is writable for all, "
                "who could replace the packages that the hosts install",
                remedy=f"chown it to root or the daemon's login, and chmod o-w {path}",
            )
