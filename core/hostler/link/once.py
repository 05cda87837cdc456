"""Observes hosts once, without a daemon: connects, runs one command, reads two lines, disconnects;
hosts that miss the deadline count as unreachable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from hostler.base.errors import AgentError, HostlerError, Unreachable
from hostler.link.agent_start import AgentProgram, Started, read_hello, start_agent
from hostler.link.answers import LookReader
from hostler.link.lines import Hostile, parse_object
from hostler.model.hosts import Look
from hostler.ports import Door, Hello

_CLEAN_UP = 0.2


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one look at a host."""

    hello: Hello
    look: Look


async def look_once(door: Door, program: AgentProgram) -> Seen:
    """Connect, look and hang up. Raises Unreachable, Refused or AgentError."""
    started: Started | None = None
    try:
        await door.connect()
        asked_at = time.time()
        started = await start_agent(door, program)
        await started.begin({"mode": "once"})
        hello = await read_hello(door.host, started, program)
        return Seen(hello, await _read_look(started, asked_at))
    except Hostile as error:
        raise AgentError(door.host, f"the agent sent {error}") from error
    finally:
        # The connection first: over SSH nothing has to be waited for after that.
        await door.close()
        if started is not None:
            await started.stream.close()


async def _read_look(started: Started, asked_at: float) -> Look:
    line = await started.reader.line()
    if line is None:
        raise Hostile("no look")
    message = parse_object(line)
    sections = message.get("ok", message.get("look"))
    if not isinstance(sections, dict):
        raise Hostile("no look")
    return LookReader().read(sections, asked_at)


async def look_all(
    doors: Iterable[Door], program: AgentProgram, deadline: float = 3.0
) -> dict[str, Seen | HostlerError]:
    """Look at many hosts at once; by name, in the order given. Hosts that have not answered after
    `deadline` seconds are Unreachable: they never delay other hosts."""
    tasks = {
        door.host: asyncio.create_task(look_once(door, program), name=f"look {door.host}")
        for door in doors
    }
    if not tasks:
        return {}
    _, late = await asyncio.wait(tasks.values(), timeout=deadline)
    for _ in range(2):  # the second time out of their hanging up
        if late:
            for task in late:
                task.cancel()
            _, late = await asyncio.wait(late, timeout=_CLEAN_UP)
    return {host: _outcome(host, task, deadline) for host, task in tasks.items()}


def _outcome(host: str, task: asyncio.Task[Seen], deadline: float) -> Seen | HostlerError:
    if not task.done() or task.cancelled():
        return Unreachable(host, f"no answer within {deadline:g} s")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, HostlerError):
        return error
    raise error
