"""Files of workloads on a host: lists, changes, and the bytes of one file, with the checks of what
a host says of them (paths, order, sizes, hashes).

A host may say anything: paths, numbers and how much there is are checked here, for all who read it.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import AsyncGenerator
from typing import TypeGuard

from hostler.base.checks import boolean, count, listed, number, one_of, optional, text
from hostler.base.text import clean_line
from hostler.link.agent_start import AgentProgram
from hostler.link.answers import UNFIT
from hostler.link.bulk import BulkAgent, bulk_agent, source_fields
from hostler.link.lines import Hostile
from hostler.model.files import (
    MOST_ENTRIES,
    MOST_NAMES,
    ChangedFiles,
    FileEntry,
    FileList,
    Kept,
    Select,
)
from hostler.ports import ArchiveSource, Door
from hostler_agent.json_values import Json, Message

_LONGEST = 4095
_MOST_WHYS = 32

_kind = one_of("file", "folder", "link")


def _is_sha256(value: Json) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _sha256(value: Json, where: str) -> str:
    if not _is_sha256(value):
        raise ValueError(f"{where}: is no SHA-256")
    return value


def _path(value: Json, where: str) -> str:
    """A relative, plain path that is valid text."""
    found = text(value, where)
    if len(found) > _LONGEST or "\0" in found or found != posixpath.normpath(found):
        raise ValueError(f"{where}: is no path")
    if found.startswith(("/", "../")) or found in ("", ".", ".."):
        raise ValueError(f"{where}: leads out of its folder")
    return found


def _entry(value: Json, where: str) -> FileEntry:
    if not isinstance(value, list) or len(value) != 5:
        raise ValueError(f"{where}: should be a row of 5")
    path, kind, size, mtime, sha256 = value
    return FileEntry(
        _path(path, where), _kind(kind, where), count(size, where), number(mtime, where),
        optional(_sha256)(sha256, where),
    )  # fmt: skip


_entries_of = listed(_entry, MOST_ENTRIES)


class _Entries:
    """Entries as they arrive: within the limits of a list, and in order, so none occurs twice."""

    def __init__(self) -> None:
        self.found: list[FileEntry] = []
        self._names = 0

    def take(self, told: Json) -> None:
        """Raises Hostile."""
        try:
            for entry in _entries_of(told, "entries"):
                if self.found and entry.path <= self.found[-1].path:
                    raise ValueError("entries out of order")
                self.found.append(entry)
                self._names += len(entry.path)
        except UNFIT as error:
            raise Hostile(f"a list that cannot be read ({clean_line(str(error), 200)})") from error
        if len(self.found) > MOST_ENTRIES or self._names > MOST_NAMES:
            raise Hostile("a list that is too long")


async def _listed(agent: BulkAgent) -> tuple[tuple[FileEntry, ...], Message]:
    """All entries, and the data of the end."""
    entries = _Entries()
    while True:
        told = await agent.result()
        if told.get("end") is True:
            return tuple(entries.found), told
        if "entries" in told:  # else it only says that it is still at work
            entries.take(told["entries"])


async def list_files(
    door: Door, program: AgentProgram, source: ArchiveSource, recursive: bool
) -> FileList:
    """The present content of a workload's folder."""
    fields = {"op": "list", "recursive": recursive, **source_fields(source)}
    async with bulk_agent(door, program, fields) as agent:
        entries, end = await _listed(agent)
        return FileList(entries, _truncated(end))


async def changed_files(
    door: Door, program: AgentProgram, source: ArchiveSource, select: Select
) -> ChangedFiles:
    """New and changed files of a workload that has ended."""
    fields = {"op": "changes", "since": select.since, **source_fields(source)}
    async with bulk_agent(door, program, fields) as agent:
        globs = None if select.globs is None else list(select.globs)
        await agent.send_only({"globs": globs, "skip": list(select.skip)})
        entries, end = await _listed(agent)
        return ChangedFiles(entries, _left_out(end.get("left_out")), _truncated(end))


async def keep_files(
    door: Door, program: AgentProgram, source: ArchiveSource, until: float
) -> Kept:
    """Mark a workload that has ended to stay."""
    fields = {"op": "keep", "until": until, **source_fields(source)}
    async with bulk_agent(door, program, fields) as agent:
        told = await agent.result()
        while "files" not in told:
            told = await agent.result()
        try:
            return Kept(
                count(told["files"], "files"), count(told["bytes"], "bytes"),
                text(told["path"], "path"),
            )  # fmt: skip
        except UNFIT as error:
            raise Hostile("an answer that cannot be read") from error


def _truncated(end: Message) -> bool:
    try:
        return boolean(end.get("truncated", False), "truncated")
    except UNFIT as error:
        raise Hostile("a list that cannot be read") from error


def _left_out(told: Json) -> dict[str, int]:
    try:
        if not isinstance(told, dict) or len(told) > _MOST_WHYS:
            raise ValueError("left_out: should be a short object")
        return {clean_line(why, 200): count(size, why) for why, size in told.items()}
    except UNFIT as error:
        raise Hostile("a list that cannot be read") from error


class RemoteFile:
    """`ports.FileStream`: the bytes of one plain file on a host."""

    def __init__(
        self, door: Door, program: AgentProgram, source: ArchiveSource, offset: int,
        slots: asyncio.Semaphore,
    ) -> None:  # fmt: skip
        self.size: int | None = None
        self.mtime: float | None = None
        self.sha256: str | None = None
        self._door, self._program, self._source = door, program, source
        self._offset, self._slots = offset, slots
        self._pieces = self._read()
        self._begun = False

    async def begin(self) -> None:
        """Open it; size and mtime are known then."""
        if not self._begun:
            self._begun = True
            await anext(self._pieces)

    def __aiter__(self) -> RemoteFile:
        return self

    async def __anext__(self) -> bytes:
        await self.begin()
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """Stop before the end."""
        await self._pieces.aclose()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        """One empty piece when it is open, then its bytes."""
        fields = {"op": "read", "offset": self._offset, **source_fields(self._source)}
        async with self._slots, bulk_agent(self._door, self._program, fields) as agent:
            self.size, self.mtime = _opened(await agent.result())
            yield b""
            left, hashed = max(0, self.size - self._offset), hashlib.sha256()
            while isinstance(frame := await agent.data(), bytes):
                left -= len(frame)
                if left < 0:
                    raise Hostile("a file of more bytes than it has")
                hashed.update(frame)
                yield frame
            sha256 = frame.get("sha256") if frame is not None else None
            if left or not _is_sha256(sha256):
                raise Hostile("a file of fewer bytes than it has")
            if self._offset == 0 and hashed.hexdigest() != sha256:
                raise Hostile("a file whose bytes do not fit its hash")
            self.sha256 = sha256


def _opened(told: Message) -> tuple[int, float]:
    try:
        return count(told["size"], "size"), number(told["mtime"], "mtime")
    except UNFIT as error:
        raise Hostile("a file that cannot be read") from error
