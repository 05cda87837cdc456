"""Sends a job's log from an offset, and what is written meanwhile until the job has ended."""

from __future__ import annotations

import os
import select

from hostler_agent import journal, wire
from hostler_agent.fields import text, whole
from hostler_agent.folders import Folders, Refusal
from hostler_agent.joblog import Reader
from hostler_agent.json_values import Message
from hostler_agent.machine import boot_id
from hostler_agent.processes import Proc
from hostler_agent.sending import send, send_data

_POLL = 0.05


def log(mode: Message, folders: Folders) -> None:
    """From an offset to its end; with "follow" until the job has ended. Raises Refusal."""
    attempt = text(mode, "attempt_id")
    folder = folders.job(attempt)
    offset, follow = whole(mode, "offset"), bool(mode.get("follow"))
    boot, proc = boot_id(), Proc()
    reader = Reader(folder, offset)
    expected = -1
    try:
        while True:
            job = journal.load(folder)
            if job is None:
                raise Refusal("there is no job %s here" % attempt, "NotFoundError")
            # Whether it is over is seen first: what is read after that is all of it.
            over = not follow or job.is_over(proc, boot)
            for at, data in reader.pieces():
                if at != expected:
                    send(wire.json_frame({"offset": at}))
                send_data(data)
                expected = at + len(data)
            if over:
                break
            if _gone(_POLL):
                return
    finally:
        reader.close()
    send(wire.json_frame({"end": True, "offset": reader.offset}))
    send(wire.END)


def _gone(seconds: float) -> bool:
    """Wait; True when the other side has closed or sent anything (it should send nothing)."""
    readable, _, _ = select.select([0], [], [], seconds)
    return bool(readable) and not os.read(0, 4096)
