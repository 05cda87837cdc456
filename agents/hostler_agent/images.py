"""Loads an image into Docker: an archive of cached blobs and small files, with limits of their
number, sizes and names.

The blobs were verified when they were received. The daemon chooses the blobs of the archive. Their
names in it are made from their digests, so no text from a host or person becomes a path.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from typing import Iterable, Iterator, List, NamedTuple, Optional

from hostler_agent import wire
from hostler_agent.fields import text, whole
from hostler_agent.folders import Folders, Refusal
from hostler_agent.http import Connection, HttpError, socket_path
from hostler_agent.json_values import Message
from hostler_agent.sending import Pulse, send

_BLOCK = 512
_PIECE = 256 * 1024
_MOST_ENTRIES = 512
_MOST_INLINE = 24 * 1024 * 1024
_NAME = re.compile(r"oci-layout|(index|manifest)\.json|blobs/sha256/[0-9a-f]{64}")
_TARGET = "/images/load?quiet=1"


class Entry(NamedTuple):
    """A file of the archive."""

    name: str
    size: int
    data: bytes
    path: Optional[str]
    """Path of the cached blob; None: `data` is the whole file."""


def socket_to_use() -> str:
    """Docker's socket. Raises HttpError."""
    path = socket_path()
    if path is None:
        raise HttpError("Docker has no socket here")
    return path


def load(frames: Iterable[wire.Frame], folders: Folders, connection: Connection) -> None:
    """Read the list of files, let Docker load them, and forward Docker's output."""
    try:
        entries = _entries(frames, folders)
        size = sum(_BLOCK + _padded(entry.size) for entry in entries) + 2 * _BLOCK
        for piece in connection.stream("POST", _TARGET, size, _archive(entries)):
            send(wire.json_frame({"said": piece.decode("utf-8", "replace")}))
    finally:
        connection.close()
    send(wire.json_frame({"ok": True}))


def _entries(frames: Iterable[wire.Frame], folders: Folders) -> List[Entry]:
    found: List[Entry] = []
    inline = 0
    for frame in frames:
        if frame is None:
            return found
        if isinstance(frame, bytes):
            raise Refusal("a file of the image should be an object", "InputError")
        entry = _entry(frame, folders)
        inline += len(entry.data)
        found.append(entry)
        if len(found) > _MOST_ENTRIES or inline > _MOST_INLINE:
            raise Refusal("the archive of the image has too many files", "InputError")
    raise Refusal("the list of files was cut", "Unreachable")


def _entry(message: Message, folders: Folders) -> Entry:
    name = text(message, "name")
    if not _NAME.fullmatch(name):
        raise Refusal("%r is no file of an image" % name, "InputError")
    if "digest" not in message:
        try:
            data = base64.b64decode(text(message, "data"), validate=True)
        except binascii.Error as error:
            raise Refusal("%s is not in base64" % name, "InputError") from error
        return Entry(name, len(data), data, None)
    path, size = folders.blob(text(message, "digest")), whole(message, "size")
    try:
        there = os.stat(path).st_size
    except FileNotFoundError as error:
        # The daemon sends it again: a cleaner, or an agent with another limit, may have removed it.
        raise Refusal("a layer is no longer in the cache", "Unreachable") from error
    if there != size:
        raise Refusal("a cached layer has %d bytes, not %d" % (there, size))
    os.utime(path)
    return Entry(name, size, b"", path)


def _archive(entries: Iterable[Entry]) -> Iterator[bytes]:
    pulse = Pulse()
    for entry in entries:
        yield _header(entry)
        left = entry.size
        for piece in _content(entry):
            left -= len(piece)
            if left < 0:
                raise Refusal("a cached layer has grown")
            yield piece
            pulse()
        if left:
            raise Refusal("a cached layer is shorter than it was")
        yield bytes(_padded(entry.size) - entry.size)
    yield bytes(2 * _BLOCK)


def _content(entry: Entry) -> Iterator[bytes]:
    if entry.path is None:
        yield entry.data
        return
    with open(entry.path, "rb") as file:
        while True:
            piece = file.read(_PIECE)
            if not piece:
                return
            yield piece


def _header(entry: Entry) -> bytes:
    """The tar header of a plain file in ustar format; a size of 8 GiB or more is in GNU's binary
    form."""
    size = b"%011o\0" % entry.size
    if entry.size >= 8**11:
        size = b"\x80" + entry.size.to_bytes(11, "big")
    fields = [
        entry.name.encode("ascii").ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0",
        size, b"00000000000\0", b" " * 8, b"0", bytes(100), b"ustar\x0000",
    ]  # fmt: skip
    head = b"".join(fields).ljust(_BLOCK, b"\0")
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
