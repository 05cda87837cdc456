"""Answers a request for new lines of a metrics file from an offset: how many bytes at once, and
when the file counts as replaced and is read from its beginning."""

from __future__ import annotations

from typing import Callable, NamedTuple, TypedDict

from hostler_agent.fields import whole
from hostler_agent.json_values import Message, string

SIZE = 1024 * 1024
BACK = 4096
"""Bytes before an offset. They show whether the file is still the same."""
READ = SIZE + BACK
Read = Callable[[int], bytes]
"""Returns bytes of the file from an offset on: the whole rest, or at least `READ`."""


class Wanted(NamedTuple):
    """The place in the file from which the requester continues."""

    offset: int
    rest: bool
    """Whether no more lines will be written: then a last line without a line end counts."""
    within: bool
    """Whether the last piece ended within a line."""
    mark: str = ""
    """The mark of the last piece, which the requester sends back; "": none."""


class Piece(TypedDict):
    """An answer."""

    text: str
    next: int
    mtime: float
    size: int
    mark: str


def wanted(payload: Message) -> Wanted:
    """Parse a request. Raises Refusal."""
    return Wanted(
        whole(payload, "offset"), payload.get("rest") is True, payload.get("within") is True,
        string(payload.get("mark")) or "",
    )  # fmt: skip


def nothing(ask: Wanted) -> Piece:
    """The answer if there is no such file."""
    return {"text": "", "next": ask.offset, "mtime": 0.0, "size": 0, "mark": ask.mark}


def piece(ask: Wanted, size: int, mtime: float, read: Read) -> Piece:
    """Return `text` from the offset on, and the offset of the `next` piece. `next` is 0 if the file
    has been replaced: it is shorter, or the bytes before the offset differ."""
    answer: Piece = {"text": "", "next": ask.offset, "mtime": mtime, "size": size, "mark": ask.mark}
    when, _, digest = ask.mark.partition(" ")
    # Rewritten lines may have the same length as the old ones.
    if size == ask.offset and when in ("", repr(mtime)):
        return answer
    begin = max(0, ask.offset - BACK)
    data = b"" if size < ask.offset else read(begin)
    before, data = data[: ask.offset - begin], data[ask.offset - begin :]
    if ask.offset and not _goes_on(before, digest, ask.within):
        return {**answer, "next": 0}
    data = _lines(data[:SIZE], ask.rest)
    mark = "%r %s" % (mtime, _digest((before + data)[-BACK:]))
    text = data.decode("utf-8", "replace")
    return {**answer, "text": text, "next": ask.offset + len(data), "mark": mark}


def _goes_on(before: bytes, digest: str, within: bool) -> bool:
    """Whether the bytes before the offset are still the same, by their digest if that is known."""
    if digest:
        return _digest(before) == digest
    return bool(before) and (before[-1:] == b"\n" or within)


def _digest(data: bytes) -> str:
    import hashlib  # OpenSSL takes milliseconds to load, and few agents read metrics

    return hashlib.sha256(data).hexdigest()


def _lines(data: bytes, rest: bool) -> bytes:
    """All complete lines. A line that is longer than a piece is sent in parts."""
    end = data.rfind(b"\n") + 1
    if len(data) < SIZE:
        return data if rest else data[:end]
    return data[:end] or data
