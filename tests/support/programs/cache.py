"""Folders that outlive a run of the tests, for what takes long to make. Only this user's own count:
what lies there is loaded and run."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import stat
import tempfile
from pathlib import Path


def cache(name: str) -> Path:
    """This user's folder of that name; where somebody else has put anything there, one for the time
    of this process."""
    return _cache(Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}")


@functools.cache
def _cache(path: Path) -> Path:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if is_own(path):
        return path
    private = Path(tempfile.mkdtemp(prefix=f"{path.name}-"))
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return private


def is_own(path: Path) -> bool:
    """A folder, no link, of this user, in which nobody else can have put anything."""
    status = path.lstat()
    own = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return own and stat.S_ISDIR(status.st_mode)
