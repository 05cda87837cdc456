"""Copies a container's output by Docker's time stamps, without gaps or duplicates after
interruptions.

Docker has no byte offsets. It puts a time stamp in nanoseconds on each part of a line (16 KiB at
most). With `since`, it starts at the first part that is not older than that time, and sends all
following parts in the order of the log file. Stamps can go back slightly, since two threads make
those of stdout and stderr. So a position is the highest stamp, and the number of parts from the
first one with that stamp: after a request from that stamp, this many parts are already known.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime

from hostler.base.errors import EngineError
from hostler.ports import HostLink, LogSink
from hostler.runtimes.docker.http import request
from hostler.runtimes.docker.workload import epoch_ns
from hostler_agent.json_values import Json, integer

_HEAD = struct.Struct(">BxxxI")
_SYSTEM_ERROR = 3
_PART_CAP = 16 * 1024 * 1024
_PIECE = 32 * 1024
_GATHER_S = 0.005
_BUSY_S = 0.05
_STAMP = 30
"""Length of `2026-11-24T14:16:36.316143319Z`; text of this form sorts by time."""


class BadLog(ValueError):
    """The stream does not have Docker's format, or Docker reports that it cannot read the log."""


class LogParser:
    """Splits Docker's frames. Accepts pieces of any size; it has no side effects."""

    def __init__(self, position: Mapping[str, Json]) -> None:
        stamp, parts = position.get("stamp"), position.get("parts")
        self._top, self._skip = b"", 0
        if isinstance(stamp, str) and isinstance(parts, int) and epoch_ns(stamp) is not None:
            self._top, self._skip = stamp.encode(), parts
        self._parts = 0
        self._rest = b""

    @property
    def position(self) -> dict[str, Json]:
        """The position after the last output of `feed`; a new parser continues from it."""
        parts = self._parts + self._skip
        return {"stamp": self._top.decode("ascii", "replace"), "parts": parts} if self._top else {}

    @property
    def since(self) -> str | None:
        """The `since` parameter for the position from which the parser started."""
        nanoseconds = epoch_ns(self._top.decode("ascii", "replace")) if self._top else None
        if nanoseconds is None:
            return None
        return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"

    def feed(self, data: bytes) -> bytes:
        """The output that is complete with `data`, without frames and stamps.

        Raises BadLog.
        """
        if self._rest:
            data = self._rest + data
        at, end, taken = 0, len(data), []
        top, parts = self._top, self._parts
        while end - at >= 8:
            kind, size = _HEAD.unpack_from(data, at)
            if kind >= _SYSTEM_ERROR or size > _PART_CAP:
                raise BadLog(_complaint(kind, data[at + 8 : at + 8 + min(size, 500)]))
            begin, stop = at + 8, at + 8 + size
            if stop > end:
                break
            gap = data.find(b" ", begin, stop)
            stamp = data[begin:gap] if gap - begin == _STAMP else _canonical(data[begin:gap], gap)
            at = stop
            if stamp > top:
                top, parts, self._skip = stamp, 1, 0
            else:
                parts += 1
                if self._skip:
                    self._skip -= 1
                    continue
            taken.append(data[gap + 1 : stop])
        self._top, self._parts, self._rest = top, parts, data[at:]
        return b"".join(taken)


async def copy_log(link: HostLink, ref: str, sink: LogSink, follow: bool) -> None:
    """Copy output from the sink's position: existing output, and with `follow` also new output.

    Raises Unreachable when cut, EngineError if Docker cannot read the log.
    """
    parser = LogParser(sink.position)
    query: dict[str, int | str] = {"follow": int(follow)}
    if parser.since is not None:
        query["since"] = parser.since
    async for output in _read(link, ref, query, parser):
        sink.append(output, parser.position)


async def is_complete(link: HostLink, ref: str, sink: LogSink) -> bool:
    """Whether the sink has the last part of an ended container's log.

    It reads only the end of the log, since reading from the position on could take as long as
    reading all of it.
    """
    known = LogParser(sink.position).position
    parser = LogParser({})
    async for _ in _read(link, ref, {"tail": (integer(known.get("parts")) or 0) + 1}, parser):
        pass
    return parser.position == known


async def _read(
    link: HostLink, ref: str, query: Mapping[str, int | str], parser: LogParser
) -> AsyncGenerator[bytes, None]:
    everything = {"stdout": 1, "stderr": 1, "timestamps": 1, **query}
    async with request(link, "GET", f"/containers/{ref}/logs", everything) as response:
        clock, before = asyncio.get_running_loop().time, 0.0
        try:
            async for data in response.body():
                if output := parser.feed(data):
                    yield output
                now = clock()
                if len(data) < _PIECE and now - before < _BUSY_S:
                    # Docker sends each line separately. Several lines are collected for five
                    # milliseconds, because handling each one alone would take longer, and people do
                    # not notice the delay. A single line is not delayed.
                    await asyncio.sleep(_GATHER_S)
                    now = clock()
                before = now
        except BadLog as error:
            message = f"the log of {ref[:12]} cannot be read: {error}"
            raise EngineError(link.host, message) from error


def _canonical(stamp: bytes, gap: int) -> bytes:
    """A stamp of another form (fewer digits, a time zone) in the form that sorts by time."""
    nanoseconds = epoch_ns(stamp.decode("ascii", "replace")) if gap >= 0 else None
    if nanoseconds is None:
        raise BadLog("a part carries no time")
    return _format(nanoseconds)


def _format(nanoseconds: int) -> bytes:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".encode()


def _complaint(kind: int, text: bytes) -> str:
    if kind == _SYSTEM_ERROR:
        return text.decode("utf-8", "replace")
    return "it is not in Docker's format"
