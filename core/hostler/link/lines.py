"""Splits a byte stream into lines and frames, and parses JSON, with limits: 8 MiB a line, 16 levels
of nesting."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import NoReturn

from hostler.ports import ByteStream
from hostler_agent.json_values import Json, Message, Outgoing

MAX_LINE = 8 * 1024 * 1024
MAX_DEPTH = 16


class Hostile(Exception):
    """The other side breaks the protocol. Stays inside this package: it becomes AgentError."""


class CutShort(Hostile):
    """The stream ended too early."""


class LineReader:
    """Reads a `ByteStream` by lines or by counts. Both may be mixed."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._searched = 0
        self._at_end = False

    async def line(self, cap: int = MAX_LINE) -> bytes | None:
        """The next line without its newline; None at the end, also if the stream ends in the middle
        of a line. Raises Hostile above `cap` bytes."""
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._searched = 0
                if len(line) > cap:
                    raise Hostile(f"a line of more than {cap} bytes")
                return line
            self._searched = len(self._buffer)
            if self._searched > cap:
                raise Hostile(f"a line of more than {cap} bytes")
            if not await self._fill():
                return None

    async def exactly(self, count: int) -> bytes:
        """So many bytes. Raises CutShort when the stream ends before."""
        while len(self._buffer) < count:
            if not await self._fill():
                raise CutShort("the stream ended in the middle")
        with memoryview(self._buffer) as whole:
            data = bytes(whole[:count])  # one copy: this may be a megabyte, hundreds of times
        del self._buffer[:count]
        self._searched = 0
        return data

    async def _fill(self) -> bool:
        if self._at_end:
            return False
        data = await self._stream.read(262144)
        if not data:
            self._at_end = True
            return False
        self._buffer += data
        return True


def parse_object(line: bytes) -> Message:
    """The JSON object in a line. Raises Hostile for anything else: other values, NaN and infinite
    numbers, nesting deeper than `MAX_DEPTH`."""
    try:
        value = json.loads(line, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Hostile(f"a line that is not JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise Hostile("a line that is not a JSON object")
    _check_depth(value, MAX_DEPTH)
    return value


def check_values(message: Message, most: int) -> None:
    """Raises Hostile if a message has more than so many values, at any depth."""
    left: list[Json] = [message]
    found = 0
    while left:
        inner = _children(left.pop())
        found += len(inner)
        if found > most:
            raise Hostile(f"a message of more than {most} values")
        left += [child for child in inner if isinstance(child, dict | list)]


def to_line(value: Outgoing) -> bytes:
    """A JSON object as one line, with its newline."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _check_depth(value: Json, left: int) -> None:
    if left == 0:
        raise Hostile(f"JSON nested deeper than {MAX_DEPTH}")
    for child in _children(value):
        if isinstance(child, dict | list):
            _check_depth(child, left - 1)


def _children(value: Json) -> Collection[Json]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number out of range")
    return value
