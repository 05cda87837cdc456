"""Files of runs that lie on hosts: in folders of running stages, and what ended ones left there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from hostler.base.errors import HostError, NotFoundError
from hostler.daemon.context import Context
from hostler.daemon.file_readers import FileReader, HostFileReader, HostTurns
from hostler.daemon.shelves import Shelf, source_of
from hostler.model.files import FileEntry, FileList, Select
from hostler.model.run_files import RunFile, Where
from hostler.model.runs import Run
from hostler.ports import ArchiveSource, HostLink

Hold = Callable[[str], AbstractContextManager[None]]
"""Keeps what an attempt left on its host from being removed for as long as that is entered."""
_ALL = Select()


class HostFiles:
    """Lists and opens files on hosts."""

    def __init__(self, context: Context, hold: Hold) -> None:
        self._context = context
        self._hold = hold
        self._turns = HostTurns(context)

    async def folder(self, run: Run, shelf: Shelf, path: str) -> FileList:
        """What lies in a folder. Raises NotFoundError, or a HostError."""
        async with self._turns.of(shelf.attempt.host, run.uid):
            return await self._link(shelf).list_files(self._source(run, shelf, path), False)

    async def all_of(
        self, run: Run, shelf: Shelf, saved: Collection[str]
    ) -> tuple[list[RunFile], bool]:
        """All files of a running stage, or what an ended one left beside what was `saved` of it;
        and whether there are more. Raises a HostError of a running one."""
        if shelf.remainder is None:
            async with self._turns.of(shelf.attempt.host, run.uid):
                found = await self._link(shelf).list_files(self._source(run, shelf, ""), True)
            return [_file(shelf, entry) for entry in found.entries if entry.kind == "file"], (
                found.truncated
            )
        try:
            with self._hold(shelf.attempt.attempt_id):
                async with self._turns.of(shelf.attempt.host, run.uid):
                    entries, truncated = await self._left(run, shelf)
        except (HostError, NotFoundError):
            return _told(shelf), True  # what was written down of it
        left = [e for e in entries if e.kind == "file" and e.path not in saved]
        return [_file(shelf, entry) for entry in left], truncated

    async def open(self, run: Run, shelf: Shelf, path: str) -> FileReader:
        """One file. Raises NotFoundError, InputError, or a HostError."""
        hold = None
        if shelf.where is not Where.RUNNING:
            hold = self._hold(shelf.attempt.attempt_id)
        source = self._source(run, shelf, path)
        reader = HostFileReader(self._link(shelf), source, shelf.where, self._turns, run.uid, hold)
        try:
            await reader.open()
        except BaseException:
            await reader.close()
            raise
        return reader

    async def _left(self, run: Run, shelf: Shelf) -> tuple[tuple[FileEntry, ...], bool]:
        """New and changed files of an ended stage: those that came with its source are at hand."""
        link, source = self._link(shelf), self._source(run, shelf, "")
        try:
            found = await link.changed_files(source, _ALL, beside=True)
        except NotFoundError:
            if source.snapshot is None or not self._context.content.has(source.snapshot):
                raise
            await link.put_blob(source.snapshot, self._context.content.path(source.snapshot))
            found = await link.changed_files(source, _ALL, beside=True)
        return found.files, found.truncated

    def _link(self, shelf: Shelf) -> HostLink:
        return self._context.link(shelf.attempt.host)

    def _source(self, run: Run, shelf: Shelf, path: str) -> ArchiveSource:
        return source_of(run, shelf, path)


def _file(shelf: Shelf, entry: FileEntry) -> RunFile:
    return shelf.file(entry.path, size=entry.size, mtime=entry.mtime)


def _told(shelf: Shelf) -> list[RunFile]:
    """The first files that an ended stage left, by what was written down then."""
    left = shelf.remainder
    assert left is not None
    size = left.size if left.files == 1 else 0
    return [shelf.file(name, size=size) for name in left.names]
