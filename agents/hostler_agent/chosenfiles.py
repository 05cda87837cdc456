"""A tar of chosen files and links of a folder; `files` finds what is there.

A separate module, because tarfile takes as long to load as everything else that lists need.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from typing import Iterator, List, Optional, Tuple

from hostler_agent import beneath
from hostler_agent.beneath import Root, shown
from hostler_agent.files import pieces, unreadable


def chosen_tar(root: Root, below: bytes, paths: List[bytes]) -> Iterator[bytes]:
    """A tar of these files and links of a folder; no link is followed on the way to one. Missing or
    unreadable files are left out."""
    names = beneath.Names()
    for path in paths:
        found = _step_to(root, below + b"/" + path if below else path, names)
        if found is None:
            continue
        folder, name = found
        try:
            yield from _member(folder, name, path)
        finally:
            os.close(folder)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _step_to(root: Root, path: bytes, names: beneath.Names) -> Optional[Tuple[int, bytes]]:
    """Open the folder of a path; return its descriptor and the entry's name. None if the folder
    does not exist."""
    *above, name = [part for part in path.split(b"/") if part not in (b"", b".")] or [b""]
    if not name or b".." in (*above, name):
        return None
    folder = os.dup(root.descriptor)
    try:
        for part in above:
            inner = beneath.enter(folder, names.real(folder, part))
            os.close(folder)
            folder = inner
        return folder, names.real(folder, name)
    except OSError as error:
        os.close(folder)
        _check_gone(error, path)
        return None


def _check_gone(error: OSError, path: bytes) -> None:
    """Raise Refusal, except for a file that is gone or unreadable: it stays on the host, and the
    other files are still sent."""
    gone = isinstance(error, (FileNotFoundError, NotADirectoryError, beneath.Elsewhere))
    if not gone and error.errno not in (errno.ELOOP, errno.EACCES, errno.EPERM):
        raise unreadable(error, path) from error


def _member(folder: int, name: bytes, path: bytes) -> Iterator[bytes]:
    descriptor = None
    try:
        status = beneath.status_of(folder, name)
        info = header(path, status)
        if stat.S_ISLNK(status.st_mode):
            info.type = tarfile.SYMTYPE
            info.linkname = os.fsdecode(os.readlink(name, dir_fd=folder))
        else:
            descriptor = beneath.open_plain(folder, name)
            if descriptor is None:
                return
            status = os.fstat(descriptor)
            info = header(path, status)
    except OSError as error:
        _check_gone(error, path)
        return
    try:
        yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        if descriptor is not None:
            yield from pieces(descriptor, info.size, path)
            yield bytes(-info.size % tarfile.BLOCKSIZE)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def header(path: bytes, status: os.stat_result) -> tarfile.TarInfo:
    """The tar header of a file: without an owner, times in whole seconds."""
    info = tarfile.TarInfo(shown(path))
    info.mode = status.st_mode & 0o777
    info.mtime = int(status.st_mtime)
    info.size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    return info
