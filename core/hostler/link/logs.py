"""A process workload's log, followed over few sessions, however many logs are followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from hostler.link.bulk import BulkAgent, bulk_agent
from hostler.link.lines import Hostile
from hostler.link.program import AgentProgram
from hostler.ports import Door

_TURN = 2.0
"""Seconds that a follower keeps its session while others wait for one."""


class LogSlots:
    """The sessions that followers share: each has one for a while, then hands it on."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._waiting = 0

    @property
    def wanted(self) -> bool:
        """Somebody waits for a session."""
        return self._waiting > 0

    async def acquire(self) -> None:
        """Wait for a session; first come, first served."""
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def release(self) -> None:
        """Hand it on."""
        self._free.release()


async def read_log(
    door: Door, program: AgentProgram, slots: LogSlots, attempt_id: str, offset: int, follow: bool
) -> AsyncGenerator[tuple[int, bytes], None]:
    """The log from a byte offset: (offset, bytes). Ends with the log, or when it has caught up."""
    at, over = offset, False
    while not over:
        await slots.acquire()
        try:
            fields = {"op": "log", "attempt_id": attempt_id, "offset": at, "follow": follow}
            async with bulk_agent(door, program, fields) as agent:
                turn_ends = asyncio.get_running_loop().time() + _TURN
                while not over:
                    frame = await _next(agent, slots, turn_ends)
                    if frame is _HAND_ON:
                        break
                    if isinstance(frame, bytes):
                        yield at, frame
                        at += len(frame)
                    elif isinstance(frame, dict) and frame.get("end") is not True:
                        at = _offset(frame)
                    else:
                        over = True
        finally:
            slots.release()


_HAND_ON = object()


async def _next(agent: BulkAgent, slots: LogSlots, turn_ends: float) -> object:
    """The next frame, or `_HAND_ON` when the turn is over and somebody waits.

    A frame that is being read is always read to its end: the reader is cancelled only between
    polls of its own task, and then the session is given up as a whole.
    """
    reading = asyncio.ensure_future(agent.frame(patience=None))
    try:
        while True:
            done, _ = await asyncio.wait({reading}, timeout=_TURN / 2)
            if done:
                return reading.result()
            if slots.wanted and asyncio.get_running_loop().time() >= turn_ends:
                return _HAND_ON
    finally:
        if not reading.done():
            reading.cancel()


def _offset(frame: dict[str, object]) -> int:
    value = frame.get("offset")
    if type(value) is not int or value < 0:
        raise Hostile("a log offset that is none")
    return value
