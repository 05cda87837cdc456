"""Transfers bytes to and from a host in separate sessions, so that looks never wait: resumes blobs,
checks hashes, ends a silent one (`model/timings`)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

from hostler.base.errors import AgentError, AgentGone, Unreachable
from hostler.base.text import clean_line
from hostler.link.agent_start import AgentProgram, Complaining, Started, start_agent
from hostler.link.answers import answer_error
from hostler.link.lines import CutShort, Hostile, parse_object
from hostler.model.timings import DEFAULT
from hostler.ports import ArchiveSource, Door
from hostler_agent import wire
from hostler_agent.json_values import Message, Outgoing

CHUNK = 256 * 1024
_SILENCE = DEFAULT.link.transfer_silence
_JSON_BIT = 0x80000000
_NAMED = 512 * 1024
"""Bytes of a frame that names paths, about."""


class BulkAgent:
    """One transfer: frames out and in."""

    def __init__(self, host: str, started: Started) -> None:
        self._host, self._started = host, started

    async def send(self, data: bytes) -> None:
        """A frame of data."""
        await self._write(len(data).to_bytes(4, "big") + data)

    async def send_json(self, value: Outgoing) -> None:
        """A frame with an object."""
        await self._write(wire.json_frame(value))

    async def send_only(self, value: Outgoing) -> None:
        """An object, and that nothing follows, in one write: an agent that needs no more may answer
        and end before a second write, which would then fail."""
        await self._write(wire.json_frame(value) + wire.END)

    async def send_end(self) -> None:
        """No more data will come."""
        await self._write(bytes(4))

    async def _write(self, data: bytes) -> None:
        """Send. An agent that has ended reported why, if it could."""
        try:
            async with asyncio.timeout(_SILENCE):
                await self._started.stream.write(data)
        except Unreachable as cut:
            await self._raise_reported(cut)

    async def frame(self, patience: float | None = _SILENCE) -> wire.Frame:
        """The next frame; errors that the agent reports are raised."""
        async with asyncio.timeout(patience):
            head = int.from_bytes(await self._started.reader.exactly(4), "big")
            size = head & ~_JSON_BIT
            if size > wire.MAX_FRAME:
                raise Hostile(f"a frame of {size} bytes")
            if head & _JSON_BIT:
                return self._object(await self._started.reader.exactly(size))
            return await self._started.reader.exactly(size) if size else None

    async def data(self) -> wire.Frame:
        """The next frame, without signs of life."""
        while True:
            frame = await self.frame()
            if not isinstance(frame, dict) or frame.get("busy") is not True:
                return frame

    async def result(self) -> Message:
        """The JSON object that is due now."""
        frame = await self.frame()
        if not isinstance(frame, dict):
            raise Hostile("bytes where a result was due")
        return frame

    async def _raise_reported(self, cut: Unreachable) -> NoReturn:
        """Raise why a stream was cut: the agent's last error, else `cut` itself."""
        try:
            while await self.frame(patience=1.0) is not None:
                continue
        except (Hostile, TimeoutError, Unreachable):
            pass
        raise cut

    def last_words(self) -> str:
        """The agent's stderr, for people."""
        stream = self._started.stream
        return stream.complaint if isinstance(stream, Complaining) else ""

    def _object(self, data: bytes) -> Message:
        value = parse_object(data)
        if "error" in value:
            raise answer_error(self._host, value["error"], may_refuse=True)
        return value


@asynccontextmanager
async def bulk_agent(
    door: Door, program: AgentProgram, fields: Outgoing
) -> AsyncIterator[BulkAgent]:
    """An agent that does one transfer. Raises Unreachable or AgentError, also from the body."""
    started = await start_agent(door, program)
    agent = BulkAgent(door.host, started)
    what = str(fields.get("op"))
    try:
        await started.begin({"mode": "bulk", **fields})
        yield agent
    except Hostile as error:
        said = agent.last_words()
        kind = AgentGone if isinstance(error, CutShort) else AgentError
        raise kind(
            door.host, f"{what} failed: {error}" + (f" ({clean_line(said, 300)})" if said else "")
        ) from error
    except TimeoutError as error:
        raise Unreachable(door.host, f"{what}: no data for {_SILENCE:g} s") from error
    finally:
        await started.stream.close()


async def put_blob(
    door: Door, program: AgentProgram, digest: str, path: Path,
    sent: Callable[[int], None] = lambda _there: None,
) -> None:  # fmt: skip
    """Send the bytes of a file that the host's cache does not have yet. `sent` is called with the
    number of bytes that the host has."""
    size = (await asyncio.to_thread(path.stat)).st_size
    fields = {"op": "blob.put", "digest": digest, "size": size}
    async with bulk_agent(door, program, fields) as agent:
        await send_blob(agent, path, size, sent)


async def send_blob(agent: BulkAgent, path: Path, size: int, sent: Callable[[int], None]) -> None:
    """Send the part of a file that the agent does not have, and wait for the agent's check."""
    offset = (await agent.result()).get("offset")
    if not isinstance(offset, int) or not 0 <= offset <= size:
        raise Hostile("an offset outside the file")
    with path.open("rb") as file:
        file.seek(offset)
        while data := await asyncio.to_thread(file.read, CHUNK):
            await agent.send(data)
            sent(file.tell())
    await agent.send_end()
    _expect_ok(await agent.result())


async def place_blob(door: Door, program: AgentProgram, digest: str, source: ArchiveSource) -> None:
    """Have a cached blob unpacked into a workload that has not started."""
    fields = {"op": "place", "digest": digest, **source_fields(source)}
    async with bulk_agent(door, program, fields) as agent:
        _expect_ok(await agent.result())


class ArchiveStream:
    """The tar of a workload's folder. `size` and `sha256`, of all its bytes, are known at the end,
    when both have been compared with the received data (the hash only from byte 0 on)."""

    def __init__(
        self, door: Door, program: AgentProgram, source: ArchiveSource, offset: int,
        slots: asyncio.Semaphore, paths: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self.sha256: str | None = None
        self.size: int | None = None
        self._door, self._program, self._source = door, program, source
        self._offset, self._slots, self._paths = offset, slots, paths
        self._chunks = self._read()

    def __aiter__(self) -> ArchiveStream:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """Stop before the end."""
        await self._chunks.aclose()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        fields = {"op": "archive", "offset": self._offset, **source_fields(self._source)}
        if self._paths is not None:
            fields["chosen"] = True
        came, hashed = self._offset, hashlib.sha256()
        async with self._slots, bulk_agent(self._door, self._program, fields) as agent:
            if self._paths is not None:
                await send_paths(agent, self._paths)
            while isinstance(frame := await agent.data(), bytes):
                came += len(frame)
                hashed.update(frame)
                yield frame
            end = frame if frame is not None else await agent.result()
            sha256, size = end.get("sha256"), end.get("size")
            if not isinstance(sha256, str) or size != came:
                raise Hostile(f"an archive of {size} bytes as {came}")
            if self._offset == 0 and hashed.hexdigest() != sha256:
                raise Hostile("an archive whose bytes do not fit its hash")
            self.sha256, self.size = sha256, came


def source_fields(source: ArchiveSource) -> Outgoing:
    """An `ArchiveSource` in the agent's form."""
    more = {"here": source.here, "snapshot": source.snapshot}
    return {
        "attempt_id": source.attempt_id,
        "runtime": source.runtime,
        "ref": source.ref,
        "path": source.path,
        **{name: value for name, value in more.items() if value is not None},
    }


async def send_paths(agent: BulkAgent, paths: Sequence[str]) -> None:
    """Send the names of files, in as many frames as needed; then the end frame."""
    piece: list[str] = []
    size = 0
    for path in paths:
        piece.append(path)
        size += 6 * len(path) + 3  # at most, as JSON
        if size > _NAMED:
            await agent.send_json({"paths": piece})
            piece, size = [], 0
    if piece:
        await agent.send_json({"paths": piece})
    await agent.send_end()


def _expect_ok(result: Message) -> None:
    if result.get("ok") is not True:
        raise Hostile("a result without ok")
