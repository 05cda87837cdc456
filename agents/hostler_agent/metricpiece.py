"""A piece of a metrics file as the answer to one request: whole lines, on from an offset."""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple

from hostler_agent.folders import Refusal

SIZE = 1024 * 1024
Read = Callable[[int], bytes]
"""Bytes of the file from an offset on: all there are, or `SIZE + 1` at least."""


class Wanted(NamedTuple):
    """Where to go on."""

    offset: int
    rest: bool
    """Nothing more will be written: a last line without an end belongs to it."""
    within: bool
    """The last piece ended within a line."""


def wanted(payload: Dict[str, Any]) -> Wanted:
    """From a request. Raises Refusal."""
    offset = payload.get("offset", 0)
    if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
        raise Refusal("an offset should be a number, not negative", "InputError")
    return Wanted(offset, payload.get("rest") is True, payload.get("within") is True)


def nothing(ask: Wanted) -> Dict[str, Any]:
    """The answer where there is no such file."""
    return {"text": "", "next": ask.offset, "mtime": 0.0, "size": 0}


def piece(ask: Wanted, size: int, mtime: float, read: Read) -> Dict[str, Any]:
    """`text` from the offset on and where the `next` piece begins. That is 0 where the file is not
    the one that was read so far: it is shorter, or no line ends just before the offset."""
    answer = {"text": "", "next": ask.offset, "mtime": mtime, "size": size}
    if size == ask.offset:
        return answer
    data = b"" if size < ask.offset else read(max(0, ask.offset - 1))
    if ask.offset:
        if not data or (data[:1] != b"\n" and not ask.within):
            return {**answer, "next": 0}
        data = data[1:]
    data = _lines(data[:SIZE], ask.rest)
    return {**answer, "text": data.decode("utf-8", "replace"), "next": ask.offset + len(data)}


def _lines(data: bytes, rest: bool) -> bytes:
    """As much as ends with a line; a line that is larger than a piece comes in parts."""
    end = data.rfind(b"\n") + 1
    if len(data) < SIZE:
        return data if rest else data[:end]
    return data[:end] or data
