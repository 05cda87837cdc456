"""When an attempt that has ended has last written to its checkpoint.

Of a process's files the ctime counts, which the kernel sets at each change and no program can set.
Docker tells only mtimes, which a program may set: those after the end of the container do not
count, so that one file from the future does not pass for a new checkpoint again and again.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
import time
from typing import IO, Iterator, Optional, cast

from hostler_agent import inside, journal, mounts
from hostler_agent.fields import optional_text, text
from hostler_agent.folders import Folders, Refusal, check_attempt
from hostler_agent.http import Connection, HttpError
from hostler_agent.json_values import Message, Outgoing, number

SLACK = 2.0
"""Seconds by which the clocks of files and of the end may differ."""
_MOST_FILES = 500_000
_MOST_SECONDS = 40.0
"""Less than the time that who asks waits for the answer."""
_MOST_BYTES = 8 * 1024**3
_TIMEOUT = 20.0
_TOO_MANY = "it has too many files"
_TOO_LARGE = "it is too large to be read"


class Cannot(Exception):
    """It cannot be checked; why, for people."""


class Span:
    """The time in which the attempt ran; what was written then is enough."""

    def __init__(self, since: float, until: float) -> None:
        self.since, self._until = since, until
        self.newest: Optional[float] = None

    def take(self, at: float) -> bool:
        """A file that was written then; True: no other needs to be looked at."""
        if at <= self._until and (self.newest is None or at > self.newest):
            self.newest = at
        return self.newest is not None and self.newest >= self.since

    def answer(self, problem: str = "") -> Outgoing:
        """What is known."""
        return {"newest": self.newest, "problem": problem}


def job(folders: Folders, payload: Message) -> Outgoing:
    """Of a job: its kept folder, and one beside it, where the code is run in place."""
    found = journal.load(folders.job(check_attempt(payload.get("attempt_id"))))
    if found is None:
        raise Refusal("its job is gone", "NotFoundError")
    span = Span(_since(payload), time.time() + SLACK)
    places = [optional_text(payload, "beside")]
    if found.created.checkpoint_key:
        kept = check_attempt(found.created.checkpoint_key)
        places.insert(0, os.path.join(folders.checkpoints, kept))
    until = time.monotonic() + _MOST_SECONDS
    try:
        for place in filter(None, places):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if _read(str(place), span, until):
                    break
    except (Cannot, OSError) as why:
        return span.answer(str(why))
    return span.answer()


def _since(payload: Message) -> float:
    since = number(payload.get("since"))
    return float("inf") if since is None else since


def _read(folder: str, span: Span, until: float) -> bool:
    """Whether a plain file in the folder was written in the span; no link is followed."""
    if mounts.any_in(folder):
        raise Cannot("something is mounted in it")
    count = 0
    for _, _, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        for name in names:
            count += 1
            if count > _MOST_FILES or time.monotonic() > until:
                raise Cannot(_TOO_MANY)
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue  # a process of the login may still remove it
            if stat.S_ISREG(status.st_mode) and status.st_size and span.take(status.st_ctime):
                return True
    return False


def container(path: Optional[str], payload: Message) -> Outgoing:
    """Of a container: its volume, by Docker's archive call."""
    attempt, where = check_attempt(payload.get("attempt_id")), inside.place(text(payload, "path"))
    ended = number(payload.get("until"))
    span = Span(_since(payload), (time.time() if ended is None else ended) + SLACK)
    try:
        connection, found = inside.opened(path, text(payload, "ref"), attempt, _TIMEOUT)
        try:
            _container(connection, found, text(payload, "ref"), where, span)
        finally:
            connection.close()
    except (HttpError, tarfile.TarError) as error:
        return span.answer(str(error))
    except Cannot as why:
        return span.answer(str(why))
    return span.answer()


def _container(connection: Connection, found: Message, ref: str, where: str, span: Span) -> None:
    if inside.is_alive(found):
        raise Refusal("the container still runs", "ConflictError")
    inside.check_binds(connection, ref, found)
    inside.check_way(connection, ref, where)
    inside.check_unshared(connection, found, where)
    seen = inside.look(connection, ref, where)
    if seen.link or not seen.folder:
        raise Cannot("it is no folder")
    # The folder itself changes with each file that is made, renamed or removed in it. What only
    # overwrites its files is read, as far as the first new one.
    if not span.take(seen.mtime):
        _tar(_Stream(connection.stream("GET", inside.archive(ref, where))), span)


def _tar(stream: _Stream, span: Span) -> None:
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as archive:
        for member in archive:
            if member.isreg() and member.size and span.take(float(member.mtime)):
                return


class _Stream:
    """What `tarfile` reads, up to a limit."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held, self._came = pieces, b"", 0
        self._until = time.monotonic() + _MOST_SECONDS

    def read(self, size: int) -> bytes:
        """So many bytes, fewer only at the end."""
        parts = [self._held]
        have = len(self._held)
        while have < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            parts.append(piece)
            have += len(piece)
            self._came += len(piece)
            if self._came > _MOST_BYTES or time.monotonic() > self._until:
                raise Cannot(_TOO_LARGE)
        data = b"".join(parts)
        self._held = data[size:]
        return data[:size]
