"""Sends a job's log from an offset to its present end."""

from __future__ import annotations

from hostler_agent import journal, wire
from hostler_agent.fields import text, whole
from hostler_agent.folders import Folders, Refusal
from hostler_agent.joblog import Reader
from hostler_agent.json_values import Message
from hostler_agent.sending import send, send_data


def log(mode: Message, folders: Folders) -> None:
    """Send the log from an offset to its present end. Raises Refusal."""
    attempt = text(mode, "attempt_id")
    folder = folders.job(attempt)
    if journal.load(folder) is None:
        raise Refusal("there is no job %s here" % attempt, "NotFoundError")
    reader = Reader(folder, whole(mode, "offset"))
    expected = -1
    try:
        for at, data in reader.pieces():
            if at != expected:
                send(wire.json_frame({"offset": at}))
            send_data(data)
            expected = at + len(data)
    finally:
        reader.close()
    send(wire.json_frame({"end": True, "offset": reader.offset}))
    send(wire.END)
