"""Loads an image on a host through a bulk agent: sends the blobs that its cache lacks, and reads
what Docker said (at most 4 MiB)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hostler.base.text import Lines
from hostler.link.agent_start import AgentProgram
from hostler.link.bulk import bulk_agent, send_blob
from hostler.link.lines import Hostile
from hostler.ports import Door, SentBlob
from hostler_agent.json_values import Message, Outgoing, string

_MOST_SAID = 4 * 1024 * 1024
_OF_A_FRAME = 64
"""Bytes that even an empty frame counts as."""


async def load_image(
    door: Door, program: AgentProgram, entries: Sequence[Outgoing], blobs: Sequence[SentBlob]
) -> list[Message]:
    """Send the blobs that the host's cache lacks, then have an archive of these files loaded by the
    host's Docker; Docker's output, line by line. Raises EngineError if Docker refuses it,
    Unreachable if a blob is not in the cache."""
    named = [{"digest": blob.digest, "size": blob.size} for blob in blobs]
    async with bulk_agent(door, program, {"op": "image.load", "blobs": named}) as agent:
        for blob in blobs:
            await send_blob(agent, blob.path, blob.size, blob.sent)
            blob.done()
        for entry in entries:
            await agent.send_json(entry)
        await agent.send_end()
        said: list[str] = []
        size = 0
        while isinstance(frame := await agent.data(), dict) and frame.get("ok") is not True:
            said.append(string(frame.get("said")) or "")
            size += len(said[-1]) + _OF_A_FRAME
            if size > _MOST_SAID:
                raise Hostile("an endless answer of Docker")
        if not isinstance(frame, dict):
            raise Hostile("bytes where a result was due")
    return _objects("".join(said))


def _objects(text: str) -> list[Message]:
    lines = Lines()
    found = [*lines.feed(text.encode()), lines.rest()]
    values = [_object(line) for line in found]
    return [value for value in values if value is not None]


def _object(line: bytes) -> Message | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
