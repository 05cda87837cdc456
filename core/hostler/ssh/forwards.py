"""Forwarded sockets on this machine that lead to the Docker engines of hosts: makes private folders
for them, and removes leftovers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

_PREFIX = "hostler-"


class Forward:
    """A private folder of this user for one socket. Remove it after use."""

    def __init__(self) -> None:
        place = _short_folder()
        sweep(Path(place))
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
        self.socket = self._folder / "docker.sock"

    def remove(self) -> None:
        """Remove the folder with its socket; may be called twice."""
        shutil.rmtree(self._folder, ignore_errors=True)


def sweep(place: Path) -> None:
    """Remove folders of killed processes, which would otherwise stay forever."""
    for folder in place.glob(f"{_PREFIX}[0-9]*-*"):
        number = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not _runs(int(number)) and _is_ours(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _is_ours(folder: Path) -> bool:
    """Whether this is a folder of this user, not a link, that contains only a socket."""
    try:
        found = folder.lstat()
        return (
            folder.is_dir()
            and not folder.is_symlink()
            and found.st_uid == os.getuid()
            and {path.name for path in folder.iterdir()} <= {"docker.sock"}
        )
    except OSError:
        return False


def _short_folder(candidates: Sequence[str] = ("/tmp", "/var/tmp")) -> str:
    """A folder with a short path: a socket's path may have about 100 bytes, and TMPDIR may be
    long."""
    folder = tempfile.gettempdir()
    if len(folder) < 60:
        return folder
    return next((c for c in candidates if Path(c).is_dir()), folder)
