"""Reads the folder of an ended container through Docker's archive call, without following links; at
most 256 GiB a transfer.

Docker reads as root, and always whole folders. This module picks the wanted files out of the tar.
The tree of the container's changes shows which folders exist.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tarfile
import time
from typing import Callable, Dict, Generator, Iterator, List, Optional, Set, Tuple

from hostler_agent import inside
from hostler_agent.beneath import shown
from hostler_agent.folders import Refusal
from hostler_agent.http import Connection, HttpError, socket_path
from hostler_agent.json_values import Message, tables
from hostler_agent.source import ArchiveSource
from hostler_agent.walk import MOST_DEEP

MOST_BYTES = 256 * 1024**3
"""Limit of the bytes that Docker sends for one transfer."""
_TIMEOUT = 600.0
_BLOCK = 256 * 1024
_MOST_TOLD = 32 * 1024 * 1024
"""Limit of Docker's list of changes, in bytes."""
_PULSE = 5.0
LOST = "\ufffd"
"""Replaces a byte of a name that is not UTF-8."""
Tree = Dict[str, "Tree"]
"""Name of each entry in a folder -> the tree of that entry. The tree of a file is empty."""
Member = Tuple[str, tarfile.TarInfo, Callable[[], Iterator[bytes]]]
"""Path relative to the working folder; tar header; function that yields the content, to be called
once. The owner's name is not needed: `uname` of the header holds the path with its original
bytes."""


class TooMuch(Exception):
    """Docker has sent more than the limit of a transfer."""


class Boxed:
    """An ended container that is open for reading. Raises Refusal, HttpError."""

    def __init__(self, source: ArchiveSource, pulse: Callable[[], None]) -> None:
        self._socket = socket_path()
        self.ref, self._attempt = source.ref, source.attempt_id
        self._pulse, self._told = pulse, time.monotonic()
        self._connection, self.found = self._open()
        self._came = 0
        self._safe: Set[str] = set()
        try:
            inside.check_binds(self._connection, self.ref, self.found)
        except BaseException:
            self.close()
            raise

    def _open(self) -> Tuple[Connection, Message]:
        connection, found = inside.opened(self._socket, self.ref, self._attempt, _TIMEOUT)
        if inside.is_alive(found):
            connection.close()
            raise Refusal("the container still runs", "ConflictError")
        return connection, found

    def close(self) -> None:
        """Close the connection to Docker."""
        self._connection.close()

    def mounts(self) -> List[str]:
        """Paths in the working folder where something else is mounted."""
        return inside.mounts_below(self.found, inside.WORK)

    def tree(self) -> Tree:
        """The paths that the container has added or changed in its working folder."""
        found: Tree = {}
        for item in self._changes():
            path = str(item.get("Path"))
            if path.startswith(inside.WORK + "/") and item.get("Kind") != 2:
                at = found
                for part in path[len(inside.WORK) + 1 :].split("/")[:MOST_DEEP]:
                    at = at.setdefault(part, {})
        return found

    def _changes(self) -> List[Message]:
        """The container's changes as Docker lists them. Raises TooMuch."""
        data = bytearray()
        for piece in self._connection.stream("GET", "/containers/%s/changes" % self.ref):
            data += piece
            if len(data) > _MOST_TOLD:
                raise TooMuch
        try:
            told = json.loads(data)
        except ValueError as error:
            raise HttpError("Docker's changes are not JSON") from error
        return tables(told)

    def look(self, path: str) -> inside.Seen:
        """The entry at a path relative to the working folder. Raises Refusal ("NotFoundError")."""
        full = self._checked(path)
        try:
            return inside.look(self._connection, self.ref, full)
        except HttpError as error:
            raise self._missing(error, path) from error

    def members(self, path: str) -> Generator[Member, None, None]:
        """Yield all entries at a path as they arrive. Raises Refusal, TooMuch, HttpError."""
        full = self._checked(path)
        inside.check_unshared(self._connection, self.found, full)
        try:
            pieces = self._connection.stream("GET", inside.archive(self.ref, full))
        except HttpError as error:
            raise self._missing(error, path) from error
        above, counted = os.path.dirname(path), self._counted(pieces)
        whole = False
        try:
            with contextlib.closing(_Tar(counted)) as tar:
                for member, content in tar.members():
                    member.uname = os.path.normpath(os.path.join(above, member.uname))
                    yield os.path.normpath(os.path.join(above, member.name)), member, content
            whole = next(counted, None) is None
        except tarfile.TarError as error:
            raise Refusal("Docker's archive cannot be read: %s" % error, "EngineError") from error
        finally:
            if not whole:  # the rest of the answer would mix with the next answer
                self._connection.close()
                self._connection, self.found = self._open()
        inside.check_unshared(self._connection, self.found, full)

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._came += len(piece)
            if self._came > MOST_BYTES:
                raise TooMuch
            now = time.monotonic()
            if now - self._told > _PULSE:
                self._told = now
                self._pulse()
            yield piece

    def _checked(self, path: str) -> str:
        """Return the path in the container, after a check that no folder above it is a link."""
        full = inside.place(path)
        above = os.path.dirname(full)
        if above not in self._safe:
            try:
                inside.check_way(self._connection, self.ref, full)
            except HttpError as error:
                raise self._missing(error, path) from error
            self._safe.add(above)
        return full

    def _missing(self, error: HttpError, path: str) -> Exception:
        if error.status == 404 and "No such container" not in str(error):
            return Refusal("there is no %s in the folder" % path, "NotFoundError")
        return error


class _Tar:
    """Reads a tar as it arrives, and keeps none of it."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._tar = tarfile.open(
            fileobj=self, mode="r|", bufsize=_BLOCK, encoding="utf-8",
            errors="surrogateescape",
        )  # type: ignore[call-overload]  # fmt: skip

    def read(self, size: int = -1) -> bytes:
        """The next piece, of any size; b"" at the end. tarfile calls this."""
        return next(self._pieces, b"")

    def close(self) -> None:
        """Close the tar."""
        self._tar.close()

    def members(self) -> Iterator[Tuple[tarfile.TarInfo, Callable[[], Iterator[bytes]]]]:
        """Yield each member, and a function that yields its content."""
        while True:
            member = self._tar.next()
            if member is None:
                return
            self._tar.members.clear()
            # The name as it is shown: bytes that are not UTF-8 must not break later output.
            member.uname = member.name
            member.name = shown(member.name.encode("utf-8", "surrogateescape"))
            yield member, functools.partial(self._content, member)

    def _content(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        file = self._tar.extractfile(member)
        left = member.size
        while left and file is not None:
            piece = file.read(min(left, _BLOCK))
            if not piece:
                raise tarfile.ReadError("it ends in the middle of %s" % member.name)
            left -= len(piece)
            yield piece


def kind(member: tarfile.TarInfo) -> Optional[str]:
    """One of "folder", "link" and "file"; None for a special file."""
    if member.isdir():
        return "folder"
    if member.issym():
        return "link"
    return "file" if member.isreg() or member.islnk() else None
