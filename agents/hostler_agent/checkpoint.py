"""When an ended attempt last wrote to its checkpoint: which times count, how many files and seconds
the check may take, and why it cannot be checked.

For a process, the ctime of files counts: the kernel sets it at each change, and no program can.
Docker reports only mtimes, which a program can set. So mtimes after the end of the container do not
count: otherwise one file with a future time would count as a new checkpoint again and again.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from typing import Iterable, Optional

from hostler_agent import journal, mounts
from hostler_agent.boxed import Boxed, Member, TooMuch
from hostler_agent.fields import optional_text, text
from hostler_agent.folders import Folders, Refusal, check_attempt
from hostler_agent.http import HttpError
from hostler_agent.json_values import Message, Outgoing, number
from hostler_agent.source import ArchiveSource

SLACK = 2.0
"""Seconds by which the times of files and the time of the end may differ."""
_MOST_FILES = 500_000
_MOST_SECONDS = 40.0
"""Less than the requester's timeout."""
_FEW_SECONDS = 10.0
"""For a container's checkpoint whose folder has changed: it usually contains a new file."""
_TOO_MANY = "it has too many files"
_NO_ANSWER = "its folder does not answer"
_TOO_LARGE = "it is too large to be read"


class Cannot(Exception):
    """The checkpoint cannot be checked; the message gives the reason, for people."""


class Span:
    """The time in which the attempt ran. One file from that time is enough."""

    def __init__(self, since: float, until: float) -> None:
        self.since, self.until = since, until
        self.newest: Optional[float] = None

    def take(self, at: float) -> bool:
        """Note a file that was written at `at`. True: no other file needs to be checked."""
        if at <= self.until and (self.newest is None or at > self.newest):
            self.newest = at
        return self.is_new

    @property
    def is_new(self) -> bool:
        """Whether a file written since the start was seen."""
        return self.newest is not None and self.newest >= self.since

    def answer(self, problem: str = "") -> Outgoing:
        """The result so far."""
        return {"newest": self.newest, "problem": problem}


def job(folders: Folders, payload: Message) -> Outgoing:
    """Answer for a job: its kept checkpoint folder, and the folder `beside` if its code runs in
    place."""
    found = journal.load(folders.job(check_attempt(payload.get("attempt_id"))))
    if found is None:
        raise Refusal("its job is gone", "NotFoundError")
    span = Span(_since(payload), time.time() + SLACK)
    beside, key = optional_text(payload, "beside"), found.created.checkpoint_key
    until = time.monotonic() + _MOST_SECONDS
    try:
        if key and _read(os.path.join(folders.checkpoints, check_attempt(key)), span, until):
            return span.answer()
        if beside:
            _read_beside(beside, span, until)
    except (Cannot, OSError) as why:
        return span.answer(str(why))
    return span.answer()


_beside = threading.Lock()


def _read_beside(folder: str, span: Span, until: float) -> None:
    """Like `_read`, for a folder on a file server that may hang. A thread reads it; while that
    thread hangs, no other starts."""
    if not _beside.acquire(blocking=False):
        raise Cannot(_NO_ANSWER)
    own, failed = Span(span.since, span.until), []

    def read() -> None:
        try:
            _read(folder, own, until)
        except (Cannot, OSError) as why:
            failed.append(str(why))
        finally:
            _beside.release()

    reader = threading.Thread(target=read, daemon=True, name="checkpoint")
    reader.start()
    reader.join(max(0.0, until - time.monotonic()))
    if failed or reader.is_alive():
        raise Cannot(failed[0] if failed else _NO_ANSWER)
    if own.newest is not None:
        span.take(own.newest)


def _since(payload: Message) -> float:
    since = number(payload.get("since"))
    return float("inf") if since is None else since


def _read(folder: str, span: Span, until: float) -> bool:
    """Whether a plain file in the folder was written in the span; no link is followed."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return _walk(folder, span, until)
    return False


def _walk(folder: str, span: Span, until: float) -> bool:
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
                continue  # a process of the login may remove it meanwhile
            if stat.S_ISREG(status.st_mode) and status.st_size and span.take(status.st_ctime):
                return True
    return False


def container(payload: Message) -> Outgoing:
    """Answer for a container: its volume is read by Docker's archive call."""
    path, ended = text(payload, "path"), number(payload.get("until"))
    attempt, ref = check_attempt(payload.get("attempt_id")), text(payload, "ref")
    until = (time.time() if ended is None else ended) + SLACK
    span, folder = Span(_since(payload), until), Span(_since(payload), until)
    try:
        _read_boxed(ArchiveSource(attempt, "docker", ref, path), span, folder)
    except (TooMuch, HttpError, Cannot) as why:
        # A folder's time also changes when files are made, renamed or removed in it, even without
        # progress. So it counts only if not all files can be read.
        if not isinstance(why, HttpError) and folder.is_new:
            return folder.answer()
        return span.answer(_TOO_LARGE if isinstance(why, TooMuch) else str(why))
    return span.answer()


def _read_boxed(source: ArchiveSource, span: Span, folder: Span) -> None:
    patience = _Patience(_MOST_SECONDS)
    boxed = Boxed(source, patience)
    try:
        seen = boxed.look(source.path)
        if seen.folder and folder.take(seen.mtime):
            patience.shorten(_FEW_SECONDS)
        with contextlib.closing(boxed.members(source.path)) as members:
            _take(members, span, folder)
    finally:
        boxed.close()


class _Patience:
    """Raises Cannot if it is called after its deadline."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def shorten(self, seconds: float) -> None:
        """End at most `seconds` from now."""
        self._until = min(self._until, time.monotonic() + seconds)

    def __call__(self) -> None:
        if time.monotonic() > self._until:
            raise Cannot(_TOO_LARGE)


def _take(members: Iterable[Member], span: Span, folder: Span) -> None:
    for count, (_, member, _) in enumerate(members):
        if count > _MOST_FILES:
            raise Cannot(_TOO_MANY)
        at = float(member.mtime)
        if folder.newest is not None and folder.is_new and at == int(span.since):
            at = folder.newest  # Docker sends whole seconds; this time is exact
        if member.isreg() and member.size and span.take(at):
            return
