"""A process workload's log over the link: the existing part by a transfer, later parts by requests;
`runtimes/process/logs` tries short requests first.

Requests need no session of their own, and sshd allows few: all jobs of a host can be followed.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable

from hostler.base.errors import AgentError
from hostler.link.agent_start import AgentProgram
from hostler.link.bulk import bulk_agent
from hostler.link.lines import Hostile
from hostler.model.timings import DEFAULT, LinkTimings
from hostler.ports import Door
from hostler_agent.json_values import Message, Outgoing

Call = Callable[[str, Outgoing, float], Awaitable[Message]]


async def read_log(
    door: Door, program: AgentProgram, slots: asyncio.Semaphore, attempt_id: str, offset: int
) -> AsyncGenerator[tuple[int, bytes], None]:
    """The present content of the log, from a byte offset: (offset, bytes)."""
    at = offset
    fields = {"op": "log", "attempt_id": attempt_id, "offset": offset}
    async with slots, bulk_agent(door, program, fields) as agent:
        while (frame := await agent.frame()) is not None:
            if isinstance(frame, bytes):
                yield at, frame
                at += len(frame)
            elif frame.get("end") is True:
                return
            else:
                at = _offset(frame)


async def follow_log(
    host: str, call: Call, attempt_id: str, offset: int, timings: LinkTimings = DEFAULT.link
) -> AsyncGenerator[tuple[int, bytes], None]:
    """The log from a byte offset to the end of the workload: (offset, bytes), as it is written."""
    at, over = offset, False
    while not over:
        asked: Outgoing = {"attempt_id": attempt_id, "offset": at, "wait": timings.log_wait}
        answer = await call("job.log", asked, timings.log_answer)
        try:
            at, data, over = _offset(answer), _bytes(answer), answer.get("end") is True
        except Hostile as error:
            raise AgentError(host, f"the agent sent {error}") from error
        if data:
            yield at, data
            at += len(data)


def _offset(value: Message) -> int:
    offset = value.get("offset")
    if type(offset) is not int or offset < 0:
        raise Hostile("an invalid log offset")
    return offset


def _bytes(value: Message) -> bytes:
    data = value.get("data")
    try:
        return base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except ValueError as error:
        raise Hostile("log data that is not base64") from error
