"""Source snapshots: received, checked, and searched for names; a user may use only those that they
sent or have a run of. All of it in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import os
import secrets
import tomllib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from hostler.base.errors import InputError, NotFoundError, StateError
from hostler.base.json_types import Json
from hostler.base.text import clean_line, is_text
from hostler.base.units import MIB, format_size
from hostler.daemon.context import Context
from hostler.model.runs import Source
from hostler.store.archives import ArchiveCaps, inspect_archive, list_archive
from hostler.store.content import Partial, open_partial
from hostler.store.files import require_room

_PIECE = MIB
_MOST_GLOBS = 200
_LONGEST_GLOB = 4096
_MOST_SENT = 1000


@dataclass(frozen=True, slots=True)
class SourceNames:
    """The names of the files in a source."""

    files: frozenset[str]
    links: frozenset[str]
    is_whole: bool = False
    """Whether the names are read from the source itself; else the client sent them, maybe none."""

    def may_hold(self, name: str) -> bool:
        """Whether the source may contain a file: a link may lead to it."""
        if not self.is_whole and not self.files:
            return True
        if name in self.files:
            return True
        parts = name.split("/")
        return any("/".join(parts[:end]) in self.links for end in range(1, len(parts) + 1))


@dataclass(slots=True)
class Globs:
    """The files of one source that match patterns, each found once."""

    names: SourceNames
    _found: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, pattern: str) -> list[str]:
        """The files, sorted. Raises InputError for too many patterns."""
        if pattern not in self._found:
            if len(pattern) > _LONGEST_GLOB or len(self._found) >= _MOST_GLOBS:
                raise InputError(
                    f"a pipeline has at most {_MOST_GLOBS} different globs of "
                    f"{_LONGEST_GLOB} characters",
                    remedy="list the values instead",
                )
            found = sorted(fnmatch.filter(self.names.files, pattern))
            for name in found:
                if not is_text(name):
                    raise InputError(
                        f"the glob {pattern} matches {clean_line(name, 200)}, a name that is not "
                        "UTF-8",
                        remedy="rename that file, or exclude it in .hostlerignore",
                    )
            self._found[pattern] = found
        return self._found[pattern]


class Sources:
    """The daemon's source trees."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sent: dict[int, dict[str, None]] = {}
        """By uid, the last trees that each user sent, and so may use."""

    async def take_in(self, digest: str, pieces: AsyncIterator[bytes], uid: int) -> int:
        """Keep a received tree if its bytes have this digest and it is a plain tar within the
        limits; returns its size. An incomplete tree is not kept: the next try sends all of it.

        Raises InputError, StateError if the disk is full. Clients may send the same tree at the
        same time: each transfer has its own file.
        """
        name = f"source-{uid}-{secrets.token_hex(8)}"
        partial = await open_partial(self._context.content, name)
        try:
            await self._receive(partial, pieces)
            limit = self._context.config.limits.source_size
            await asyncio.to_thread(_keep, partial, digest, limit)
            self.note_sent(digest, uid)
            return partial.size
        finally:
            await asyncio.to_thread(_drop, partial)

    async def _receive(self, partial: Partial, pieces: AsyncIterator[bytes]) -> None:
        limit = self._context.config.limits.source_size
        waiting = bytearray()
        async for piece in pieces:
            waiting += piece
            if partial.size + len(waiting) > limit:
                raise InputError(
                    f"the source is more than {format_size(limit)}",
                    remedy="exclude files in .gitignore or .hostlerignore, or raise "
                    "`source_size` under [limits]",
                )
            if len(waiting) >= _PIECE:
                await asyncio.to_thread(self._append, partial, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(self._append, partial, bytes(waiting))

    def _append(self, partial: Partial, data: bytes) -> None:
        """Raises StateError if the disk is full."""
        require_room(self._context.store.folder, len(data))
        partial.append(data)

    def names(self, source: Source, files: tuple[str, ...], links: tuple[str, ...]) -> SourceNames:
        """The files of a source: read from it if it was uploaded, else from the client's list.
        Blocks. Raises InputError."""
        if source.digest is None:
            return SourceNames(frozenset(files), frozenset(links))
        path = self._context.content.path(source.digest)
        caps = ArchiveCaps(size=self._context.config.limits.source_size)
        entries = list_archive(path, caps)
        return SourceNames(
            frozenset(entry.path for entry in entries if entry.kind == "file"),
            frozenset(entry.path for entry in entries if entry.kind == "link"),
            is_whole=True,
        )

    def note_sent(self, digest: str, uid: int) -> None:
        """Note that this user has all its bytes."""
        sent = self._sent.setdefault(uid, {})
        sent.pop(digest, None)
        sent[digest] = None
        while len(sent) > _MOST_SENT:
            del sent[next(iter(sent))]

    async def may_use(self, digest: str, uid: int) -> bool:
        """Whether the daemon has a tree, and this user has sent it or has a run of it. All users
        see the digests of others' sources and outputs: a user who could name one as a source could
        read it. The daemon's owner and root may read all of them anyway."""
        if not self._context.content.has(digest):
            return False
        if uid in (0, os.getuid()) or digest in self._sent.get(uid, {}):
            return True
        return await self._context.store.has_run_of(digest, uid)

    async def check_is_here(self, source: Source, uid: int) -> None:
        """Raises NotFoundError if this user has not uploaded a tree."""
        if source.digest is not None and not await self.may_use(source.digest, uid):
            raise NotFoundError(
                f"source {source.digest[:12]} was not uploaded",
                remedy="Submit again: the code is then sent",
            )


def _keep(partial: Partial, digest: str, limit: int) -> None:
    if partial.digest == digest:  # else `finish` tells
        inspect_archive(partial.path, ArchiveCaps(size=limit))
    partial.finish(digest)


def _drop(partial: Partial) -> None:
    """Delete the temporary file; a kept tree has been moved out of it."""
    try:
        with contextlib.suppress(StateError):
            partial.discard()
    finally:
        partial.close()


def no_snapshot(what: str) -> InputError:
    """The error for a submission that should copy code, but sent none."""
    return InputError(
        f'{what} has code = "snapshot", but no code was sent',
        remedy="upload a packed folder (PUT /v1/snapshots) and name it as `source.digest`, or set "
        'code = "none"',
    )


def check_snapshot(source: Source, command: Mapping[str, Json] | None, pipeline: str) -> None:
    """Raises InputError if a stage takes a copy of the code, and there is none: it would run in an
    empty folder."""
    if source.digest is not None:
        return
    if command is not None:
        if command.get("code") == "snapshot":
            raise no_snapshot("the command")
        return
    document = tomllib.loads(pipeline)
    defaults, stages = document.get("defaults", {}), document.get("stages", {})
    for name, stage in stages.items():
        if stage.get("code", defaults.get("code")) == "snapshot":
            raise no_snapshot(f"stage {name}")
