"""The request folder of stages that may submit other runs: how large requests and answers may be,
how many are read at once, when old folders are removed.

The stage may write anything into its folder: names, links, large files. Everything except small
plain files with the right names is ignored.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import stat
import time
from itertools import islice
from typing import Collection, Dict, Iterator, List, Optional, Sequence

from hostler_agent.folders import Folders, Refusal, check_attempt, remove_deep

VARIABLE = "HOSTLER_NESTED"
"""The variable that gives the stage's commands this folder."""
LARGEST = 96 * 1024
"""Longest request, in bytes."""
_MOST = 4
"""Limit of requests of one attempt in an answer; the limit for all attempts together is ten times
as high."""
_MOST_ANSWER = 256 * 1024
_OLD = 3600.0
"""Seconds for which a new folder is never removed: its container may be created soon."""
_NAMES = 1000
"""Limit of names that are read in a folder."""
_REQUEST = re.compile(r"([A-Za-z0-9][A-Za-z0-9.]{0,39})\.request")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.]{0,39}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make(folders: Folders, attempt: str) -> str:
    """Make the folder of an attempt if it is missing; return its path."""
    path = _path(folders, attempt)
    os.makedirs(path, 0o700, exist_ok=True)
    return path


def drop(folders: Folders, attempt: str) -> None:
    """Remove the folder of an attempt. No error if there is none."""
    path = _path(folders, attempt)
    if os.path.lexists(path):
        import shutil

        with contextlib.suppress(RecursionError):
            shutil.rmtree(path, ignore_errors=True)  # a stage may have removed permissions
        with contextlib.suppress(OSError):
            remove_deep(path)


def sweep(folders: Folders, alive: Collection[str]) -> None:
    """Remove leftover folders of attempts that no longer run, such as containers that people
    removed by hand."""
    base = os.path.join(folders.base, "nested")
    with contextlib.suppress(OSError):
        for name in os.listdir(base):
            with contextlib.suppress(OSError, Refusal):
                made = os.lstat(os.path.join(base, name)).st_mtime
                if name not in alive and abs(time.time() - made) > _OLD:
                    drop(folders, name)


def requests(folders: Folders, attempts: Sequence[str]) -> List[Dict[str, str]]:
    """Unanswered requests of these stages, a few of each stage."""
    found: List[Dict[str, str]] = []
    for attempt in attempts:
        with _opened(folders, attempt) as folder:
            if folder is not None:
                found += islice(_asked(folder, attempt), _MOST)
        if len(found) >= _MOST * 10:
            break
    return found


def answer(folders: Folders, attempt: str, request: str, code: int, text: str) -> None:
    """Answer a request, once. No error if the stage has ended, or has withdrawn the request."""
    if not _ID.fullmatch(request):
        raise Refusal("%r is no id of a request" % request, "InputError")
    data = ("%d\n%s" % (code, text)).encode("utf-8", "replace")[:_MOST_ANSWER]
    with _opened(folders, attempt) as folder:
        if folder is None:
            return
        new = request + ".new"
        with contextlib.suppress(OSError):
            os.unlink(new, dir_fd=folder)
        try:
            os.unlink(request + ".request", dir_fd=folder)
        except OSError:
            return
        with contextlib.suppress(OSError):  # the stage has put another file there
            descriptor = os.open(new, _NEW, 0o600, dir_fd=folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.rename(new, request + ".answer", src_dir_fd=folder, dst_dir_fd=folder)


def _path(folders: Folders, attempt: str) -> str:
    return os.path.join(folders.base, "nested", check_attempt(attempt))


@contextlib.contextmanager
def _opened(folders: Folders, attempt: str) -> Iterator[Optional[int]]:
    try:
        folder = os.open(_path(folders, attempt), _FOLDER)
    except OSError:
        yield None
        return
    try:
        yield folder
    finally:
        os.close(folder)


def _asked(folder: int, attempt: str) -> Iterator[Dict[str, str]]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, _NAMES)]
    for name in names:
        match = _REQUEST.fullmatch(name)
        data = _read(folder, name) if match is not None else None
        if match is not None and data is not None:
            text = base64.b64encode(data).decode("ascii")
            yield {"attempt_id": attempt, "id": match.group(1), "data": text}


def _read(folder: int, name: str) -> Optional[bytes]:
    """The content of a small plain file; None for anything else. A larger file is cut, and the
    daemon then refuses it."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            return file.read(LARGEST + 1)
        except OSError:
            return None
