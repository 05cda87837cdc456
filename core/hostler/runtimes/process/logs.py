"""Decides how the output of a process is copied into a log: by short requests in its first second,
then by a transfer.

It is read by short requests at first. A transfer needs a session and a Python of its own on the
host, which costs more than many a stage. So the first second, and the rest of a job that has ended,
come as answers to requests; only what goes on for longer, or is large, is worth a transfer.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping

from hostler.base.errors import AgentError
from hostler.base.units import GIB, MIB
from hostler.ports import HostLink, LogSink
from hostler_agent.json_values import Json, Message

_SHORT_S = 1.0
_SHORT_BYTES = MIB
_MOST_PRESENT = 2 * GIB
"""More than a host keeps of a log: the copy must end even if the job writes without end."""
_TIMEOUT_S = 15.0


async def follow_shortly(link: HostLink, attempt_id: str, sink: LogSink) -> bool:
    """Copy output by requests for about a second; True when that was all of it."""
    loop = asyncio.get_running_loop()
    began, taken = loop.time(), 0
    while True:
        wait = max(0.0, _SHORT_S - (loop.time() - began))
        payload = {"attempt_id": attempt_id, "offset": offset_of(sink.position), "wait": wait}
        answer = await link.call("job.log", payload, _TIMEOUT_S)
        at, data = _piece(link.host, answer)
        take(sink, at, data)
        taken += len(data)
        if answer.get("end") is True:
            return True
        if wait == 0.0 or taken >= _SHORT_BYTES:
            return False


async def copy_present(link: HostLink, attempt_id: str, sink: LogSink) -> None:
    """Copy the present output, without waiting for more."""
    taken = 0
    while taken < _MOST_PRESENT:
        payload = {"attempt_id": attempt_id, "offset": offset_of(sink.position), "wait": 0.0}
        at, data = _piece(link.host, await link.call("job.log", payload, _TIMEOUT_S))
        take(sink, at, data)
        taken += len(data)
        if not data:
            return


def take(sink: LogSink, at: int, data: bytes) -> None:
    """Append output that begins at `at`, with a note where some before it is missing."""
    missing = at - offset_of(sink.position)
    if missing > 0:
        note = f"[hostler: {missing} bytes are missing: over the log's limit]\n"
        sink.append(note.encode(), {"offset": at})
    if data:
        sink.append(data, {"offset": at + len(data)})


def take_rest(sink: LogSink, whole: bytes) -> None:
    """Append the part of a process's whole output that the sink lacks."""
    offset = offset_of(sink.position)
    if offset < len(whole):
        take(sink, offset, whole[offset:])


def offset_of(position: Mapping[str, Json]) -> int:
    """The byte offset of a sink."""
    offset = position.get("offset", 0)
    return offset if isinstance(offset, int) and offset >= 0 else 0


def _piece(host: str, answer: Message) -> tuple[int, bytes]:
    at, text = answer.get("offset"), answer.get("data")
    try:
        if not isinstance(at, int) or at < 0 or not isinstance(text, str):
            raise ValueError("no offset or no data")
        return at, base64.b64decode(text, validate=True)
    except ValueError as error:
        raise AgentError(host, f"the agent sent invalid log data: {error}") from error
