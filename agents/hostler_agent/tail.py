"""Answers requests for parts of a job's log: how much at once, how long to wait for more, and how
much is sent with a job's end."""

from __future__ import annotations

import base64
import os
import time
from typing import Callable, List, Optional, Tuple, TypedDict

from hostler_agent import journal
from hostler_agent.folders import Refusal
from hostler_agent.joblog import Reader, parts
from hostler_agent.look_sections import Left
from hostler_agent.processes import Proc

CAP = 256 * 1024
LITTLE = 8 * 1024
"""Limit of output that is sent with the exit, in bytes; the daemon then needs no request for it."""
MAX_WAIT = 5.0
_FIRST_PAUSE = 0.001
_LAST_PAUSE = 0.02
_LOOK_AGAIN = 0.5
"""Seconds after which the agent checks a job again although neither its journal nor its log has
changed: a job that was killed together with its supervisor has not recorded its end."""


class Tail(TypedDict):
    """A piece of output, in base64."""

    offset: int
    data: str
    end: bool


def tail(
    folder: str, boot: str, offset: int, wait: float, clock: Callable[[], float] = time.monotonic
) -> Tail:
    """Return output from `offset` on. Waits up to `wait` seconds for output or for the job's end.

    In the answer, `offset` is the start of its data (later than requested if rotation removed a
    part), and `end` is true if the job has ended and this is its last output.
    """
    proc, until, pause = Proc(), clock() + min(wait, MAX_WAIT), _FIRST_PAUSE
    while True:
        files = _files(folder)
        seen = _marks(files)  # before the rest is read, so that later changes are read next
        job = journal.load(folder)
        if job is None:
            raise Refusal("there is no such job here", "NotFoundError")
        # Read before the output: if the job is over, the output is then complete.
        over = job.is_over(proc, boot)
        at, data, everything = _read(folder, offset)
        now = clock()
        if data or over or now >= until:
            return {"offset": at, "data": _text(data), "end": over and everything}
        again = min(until, now + _LOOK_AGAIN)
        while clock() < again and _marks(files) == seen:
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_PAUSE)


def _files(folder: str) -> List[str]:
    """The files that change when there is new output: a new part of the log changes the folder."""
    newest = ["log.%d" % first for first, _ in parts(folder)[-1:]]
    return [folder, *(os.path.join(folder, name) for name in (journal.NAME, *newest))]


def _marks(files: List[str]) -> List[Tuple[int, int]]:
    """Values that differ after a change: reading and parsing everything would take twenty times as
    long."""
    marks = []
    for file in files:
        try:
            found = os.stat(file)
            marks.append((found.st_size, found.st_mtime_ns))
        except OSError:
            marks.append((-1, 0))
    return marks


def left(folder: str, metrics: str) -> Optional[Left]:
    """The remaining data of an ended job: all its output, if small, and whether it wrote the file
    `metrics`. None: the daemon must request the output."""
    there = parts(folder)
    if there and (len(there) > 1 or there[0][0] > 0 or there[0][1] > LITTLE):
        return None
    return {"log": _text(_read(folder, 0)[1]), "metrics": os.path.lexists(metrics)}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _read(folder: str, offset: int) -> Tuple[int, bytes, bool]:
    """Return the offset where the output begins, the output, and whether it is all of it."""
    reader, data, at = Reader(folder, offset), b"", offset
    everything = True
    try:
        for start, piece in reader.pieces():
            if data and (start != at + len(data) or len(data) + len(piece) > CAP):
                everything = False
                break
            at = at if data else start
            data += piece
    finally:
        reader.close()
    return at, data, everything
