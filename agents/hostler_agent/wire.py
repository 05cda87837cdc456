"""The protocol between agent and daemon: its version, the longest line and frame, seconds of
silence, frames, differences of looks.

Both sides import this module (docs/protocol.md section 1 describes it in words). The daemon reads
data from hosts that may be hostile: `hostler.model.host_reports` checks it.
"""

from __future__ import annotations

import json
import struct
from typing import List, NoReturn, Union

from hostler_agent.json_values import Json, Message, Outgoing

Frame = Union[bytes, Message, None]
"""The content of a frame: data, an object, or None at the end of the stream."""

PROTOCOL = 1
MAX_LINE = 8 * 1024 * 1024
"""Longest line in bytes, including the newline."""
MAX_FRAME = 1024 * 1024
"""Longest content of one frame in bulk streams, in bytes."""
SILENCE = 30.0
"""Seconds without a line after which an agent ends."""
SECTIONS = (
    "boot", "names", "g", "slow", "procs", "work", "foreign", "leases", "machine", "trouble",
    "clock", "kept",
)  # fmt: skip
END = b"\x00\x00\x00\x00"
"""The frame that ends a stream."""

_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_JSON_BIT = 0x80000000


def encode(message: Outgoing) -> bytes:
    """Return an object as a line with its newline. Raises ValueError if it is longer than
    `MAX_LINE`."""
    line = _encoder.encode(message).encode("ascii") + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError("a line of %d bytes is longer than the protocol allows" % len(line))
    return line


def decode_line(line: bytes) -> Message:
    """Return the object on a line. Raises ValueError if there is none."""
    if len(line) > MAX_LINE:
        raise ValueError("a line of %d bytes is longer than the protocol allows" % len(line))
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("a line is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("a line should hold an object, it holds a %s" % type(value).__name__)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError("%s is not JSON" % name)


class LineReader:
    """Cuts a byte stream into lines; keeps an incomplete line, up to `MAX_LINE`."""

    def __init__(self) -> None:
        self._parts: List[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> List[bytes]:
        """The lines that `data` completes, without newlines. Raises ValueError on a long one."""
        if b"\n" not in data:
            self._hold(data)
            return []
        lines = data.split(b"\n")
        if self._parts:
            lines[0] = b"".join(self._parts) + lines[0]
            self._parts, self._held = [], 0
        rest = lines.pop()
        if rest:
            self._hold(rest)
        if max(map(len, lines)) >= MAX_LINE:
            raise ValueError("a line is longer than the protocol allows")
        return lines

    def _hold(self, data: bytes) -> None:
        self._held += len(data)
        if self._held >= MAX_LINE:
            raise ValueError("a line is longer than the protocol allows")
        self._parts.append(data)


def frame(data: bytes) -> bytes:
    """Return `data` as a frame. It may not be empty (that is `END`) nor longer than `MAX_FRAME`."""
    if not 0 < len(data) <= MAX_FRAME:
        raise ValueError("a frame holds 1 to %d bytes, not %d" % (MAX_FRAME, len(data)))
    return struct.pack(">I", len(data)) + data


def json_frame(message: Outgoing) -> bytes:
    """Return an object as a frame."""
    data = _encoder.encode(message).encode("ascii")
    if len(data) > MAX_FRAME:
        raise ValueError("an object of %d bytes does not fit a frame" % len(data))
    return struct.pack(">I", len(data) | _JSON_BIT) + data


class FrameReader:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> List[Frame]:
        """The frames that `data` completes: bytes, an object, or None for the end of the stream.

        Raises ValueError when a frame is longer than `MAX_FRAME` or holds no object.
        """
        self._data += data
        found: List[Frame] = []
        at = 0
        while len(self._data) - at >= 4:
            (head,) = struct.unpack_from(">I", self._data, at)
            size = head & ~_JSON_BIT
            if size > MAX_FRAME:
                raise ValueError("a frame of %d bytes is longer than the protocol allows" % size)
            if len(self._data) - at - 4 < size:
                break
            content = bytes(self._data[at + 4 : at + 4 + size])
            at += 4 + size
            if head & _JSON_BIT:
                found.append(decode_line(content))
            else:
                found.append(content if size else None)
        del self._data[:at]
        return found


class LookEncoder:
    """Leaves out of each look the parts that the other side already knows. Each connection has
    one."""

    def __init__(self) -> None:
        self._sent: Outgoing = {}

    def changes(self, sections: Outgoing) -> Outgoing:
        """The sections to send: those that differ from the last look, and always `g`.

        `names` changes the meaning of `g` and `slow`, so `slow` goes with it.
        """
        sent = self._sent
        changed = {
            name: value
            for name, value in sections.items()
            if name == "g" or name not in sent or (sent[name] is not value and sent[name] != value)
        }
        self._sent = {**sent, **sections}
        if "names" in changed and "slow" in sections:
            changed["slow"] = sections["slow"]
        return changed

    def line(self, request: Json, sections: Outgoing) -> bytes:
        """The answer to the look request with this id, as a line."""
        return encode({"id": request, "ok": self.changes(sections)})
