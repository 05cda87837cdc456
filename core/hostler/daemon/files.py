"""Lists and opens files of runs for download, whether saved or still on hosts: 5000 in an answer at
most.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice

from hostler.base.errors import HostError, InputError, NotFoundError
from hostler.base.text import clean_line, first_of
from hostler.daemon.context import Context
from hostler.daemon.file_readers import FileReader, HostFileReader, HostTurns, SavedFileReader
from hostler.daemon.shelves import (
    Shelf,
    attempts_of,
    has_folder,
    one_stage,
    shelves_of,
    source_of,
    stages_named,
)
from hostler.decide.expiry import goes_at
from hostler.model.files import Artifact, FileEntry, FileList, FilePage, RunFile, Select, Where
from hostler.model.pipelines import Stage
from hostler.model.records import Remainder
from hostler.model.runs import Attempt, Run
from hostler.model.views.files import FolderView
from hostler.ports import ArchiveSource, HostLink
from hostler.runtimes.command import relative
from hostler.store.saved import SavedArchives, SavedFiles

PAGE = 5_000
"""Files in one answer."""
_SHOWN = 20
"""Names in a message."""

Hold = Callable[[str], AbstractContextManager[None]]
"""While entered, prevents the removal of an attempt's files on its host."""
_ALL = Select()


@dataclass(slots=True)
class _Pager:
    """Selects the files of one page, in order."""

    after: int
    seen: int = 0
    files: list[RunFile] = field(default_factory=list)
    truncated: bool = False
    has_more: bool = False

    def part_of(self, count: int) -> tuple[int, int]:
        """Which of the next files belong on the page: from, up to."""
        begin = min(count, max(0, self.after - self.seen))
        end = min(count, begin + PAGE - len(self.files))
        self.has_more = self.has_more or end < count
        self.seen += count
        return begin, end

    def page(self) -> FilePage:
        """The page of selected files."""
        reached = self.after + len(self.files)
        return FilePage(tuple(self.files), self.truncated, reached if self.has_more else None)


class Files:
    """The files of runs, in the content store and on hosts."""

    def __init__(self, context: Context, hold: Hold) -> None:
        self._context = context
        self._saved = SavedArchives(context.content)
        self._hosts = HostFiles(context, hold)

    async def page(self, run: Run, name: str | None, after: int) -> FilePage:
        """Files of a run, or of one of its stages; files of a running stage are listed only if that
        stage is named.

        Raises NotFoundError, and a HostError if the host of a running stage does not answer.
        """
        pager = _Pager(after)
        saved: set[str] = set()
        for shelf in await self._shelves(run, stages_named(run, name)):
            if pager.has_more:
                break
            if shelf.where in (Where.SAVED, Where.HERE):
                await self._add_saved(pager, shelf)
            elif shelf.where is Where.HOST or name is not None:
                saved = await self._saved_paths(run, shelf) if shelf.remainder else set()
                found, truncated = await self._hosts.all_of(run, shelf, saved)
                pager.truncated |= truncated
                begin, end = pager.part_of(len(found))
                pager.files += found[begin:end]
        return pager.page()

    async def open(
        self, run: Run, name: str, path: str, artifact: str | None, number: int | None
    ) -> FileReader:
        """One file, by its path in the working folder, of that attempt or the newest one that has
        it.

        Raises NotFoundError, InputError, and a HostError where its host does not answer.
        """
        stage, inside = one_stage(run, name), _inside(path)
        for shelf in await self._shelves(run, [stage], number):
            if shelf.is_called(artifact):
                reader = await self._open_on(run, shelf, inside)
                if reader is not None:
                    return reader
        raise NotFoundError(
            f"{stage.name} of run {run.run_id} has no file {path}",
            remedy=f"hostler get {run.run_id}/{stage.name} --list names its files",
        )

    async def folder(self, run: Run, name: str, path: str) -> FolderView:
        """One folder of a stage: its current content if the stage runs, else its saved files.

        Raises NotFoundError, and a HostError where its host does not answer.
        """
        stage, inside = one_stage(run, name), _inside(path, folder=True)
        shelves = await self._shelves(run, [stage])
        for shelf in shelves:
            if shelf.where is Where.RUNNING:
                found = await self._hosts.folder(run, shelf, inside)
                return _view(shelf, inside, found.entries, found.truncated)
        known: tuple[FileEntry, ...] = ()
        for shelf in shelves:
            files, truncated = await self._all_of_attempt(run, shelf.attempt, shelves)
            entries = level(files, inside)
            if entries:
                return _view(shelf, inside, entries, truncated)
            known = known or level(files, "")
        nothing = f"no folder {inside}" if inside else "no files"
        raise NotFoundError(
            f"stage {stage.name} of run {run.run_id} has {nothing}",
            remedy=f"It has: {_names(known)}"
            if known
            else f"see how it ended: hostler why {run.run_id}/{stage.name}",
        )

    async def note_fetched(
        self, run: Run, name: str, attempt_id: str, artifact: str | None
    ) -> None:
        """Note that a user has fetched all files of an artifact of an attempt, or all files that it
        left on its host. Raises NotFoundError if it does not exist."""
        store, now = self._context.store, self._context.clock.now()
        for shelf in await self._shelves(run, [one_stage(run, name)]):
            if shelf.attempt.attempt_id != attempt_id or shelf.where is Where.RUNNING:
                continue
            if artifact is None and shelf.remainder is not None:
                await store.mark_remainder_fetched(attempt_id, now)
                return
            if artifact is not None and shelf.artifact and shelf.artifact.name == artifact:
                with contextlib.suppress(NotFoundError):  # its run was removed: nobody waits for it
                    await store.mark_fetched(attempt_id, shelf.artifact.digest, now)
                return
        raise NotFoundError(f"{attempt_id} has no artifact {artifact or 'on its host'}")

    async def _shelves(
        self, run: Run, stages: Sequence[Stage], number: int | None = None
    ) -> list[Shelf]:
        """All files of these stages, of each the newest attempt first."""
        store, now = self._context.store, self._context.clock.now()
        made: dict[str, list[Artifact]] = defaultdict(list)
        left: dict[str, Remainder] = {}
        for run_id in {run.run_id, *(attempt.run_id for attempt in run.kept.values())}:
            for artifact in await store.artifacts(run_id):
                if self._context.content.has(artifact.digest):  # else it is past its time
                    made[artifact.attempt_id].append(artifact)
            left |= {each.attempt_id: each for each in await store.remainders(run_id)}
        for artifact in await store.inherited(run.run_id) if run.kept else ():
            if self._context.content.has(artifact.digest):
                made[artifact.attempt_id].append(artifact)
        shelves: list[Shelf] = []
        for stage in stages:
            for attempt in attempts_of(run, stage, number):
                shelves += shelves_of(run, stage, attempt, made[attempt.attempt_id])
                remainder = left.get(attempt.attempt_id)
                if has_folder(attempt):
                    shelves.append(Shelf(stage, attempt, Where.RUNNING))
                elif remainder is not None:
                    at = remainder.path, goes_at(remainder, now)
                    shelves.append(Shelf(stage, attempt, Where.HOST, None, remainder, *at))
        return shelves

    async def _all_of_attempt(
        self, run: Run, attempt: Attempt, shelves: Sequence[Shelf]
    ) -> tuple[list[RunFile], bool]:
        files: list[RunFile] = []
        truncated = False
        for shelf in shelves:
            if shelf.attempt is attempt and shelf.artifact is not None:
                saved = await self._held(shelf)
                files += _some_of(shelf, saved, 0, len(saved.files) + len(saved.links))
            elif shelf.attempt is attempt:
                paths = {file.path for file in files}
                found, truncated = await self._hosts.all_of(run, shelf, paths)
                files += found
        return files, truncated

    async def _saved_paths(self, run: Run, shelf: Shelf) -> set[str]:
        """Paths of the saved files of the same attempt."""
        shelves = await self._shelves(run, [shelf.stage], shelf.attempt.number)
        found = [await self._held(each) for each in shelves if each.artifact is not None]
        return {path for saved in found for path in (*saved.files, *saved.links)}

    async def _held(self, shelf: Shelf) -> SavedFiles:
        """The files of an artifact; none if it has expired and a gc removed it."""
        assert shelf.artifact is not None
        try:
            return await self._saved.files(shelf.artifact, shelf.declared)
        except NotFoundError:
            return SavedFiles({}, {})

    async def _add_saved(self, pager: _Pager, shelf: Shelf) -> None:
        assert shelf.artifact is not None
        if pager.seen + shelf.artifact.files <= pager.after:  # all of it was on pages before
            pager.seen += shelf.artifact.files
            return
        saved = await self._held(shelf)
        begin, end = pager.part_of(len(saved.files) + len(saved.links))
        pager.files += _some_of(shelf, saved, begin, end)

    async def _open_on(self, run: Run, shelf: Shelf, path: str) -> FileReader | None:
        """Open the file in the place of that shelf."""
        try:
            if shelf.artifact is None:
                return await self._hosts.open(run, shelf, path)
            saved = await self._saved.files(shelf.artifact, shelf.declared)
            if path not in saved.files:
                return None
            if shelf.where is Where.HERE:
                return await self._hosts.open(run, shelf, path)
            return SavedFileReader(await self._saved.open(shelf.artifact, saved, path))
        except NotFoundError:
            return None  # or not any more


def _some_of(shelf: Shelf, saved: SavedFiles, begin: int, end: int) -> list[RunFile]:
    """The files of an artifact, then its links, from one number to another."""
    count = len(saved.files)
    files = islice(saved.files.items(), begin, end)
    links = islice(saved.links.items(), max(0, begin - count), max(0, end - count))
    return [
        *(shelf.file(path, listed) for path, listed in files),
        *(shelf.file(path, link=target) for path, target in links),
    ]


def level(files: list[RunFile], folder: str) -> tuple[FileEntry, ...]:
    """The files directly in a folder; each folder in it once, with the total of its files."""
    found: dict[str, FileEntry] = {}
    for file in files:
        if folder and not file.path.startswith(folder + "/"):
            continue
        name, slash, _ = file.path[len(folder) + bool(folder) :].partition("/")
        kind = "folder" if slash else "link" if file.link is not None else "file"
        held = found[name].size if name in found else 0
        found[name] = FileEntry(name, kind, held + file.size, file.mtime or 0.0, file.sha256)
    return tuple(found[name] for name in sorted(found))


def _names(entries: Sequence[FileEntry]) -> str:
    names = [clean_line(e.path, 100) + "/" * (e.kind == "folder") for e in entries]
    return first_of(names, _SHOWN)


def _view(shelf: Shelf, path: str, entries: tuple[FileEntry, ...], truncated: bool) -> FolderView:
    name, attempt_id = shelf.stage.name, shelf.attempt.attempt_id
    return FolderView(
        stage=name,
        attempt_id=attempt_id,
        where=shelf.where,
        path=path,
        entries=entries,
        truncated=truncated,
    )


def _inside(path: str, *, folder: bool = False) -> str:
    clean = relative(path)
    if not clean and not folder:
        raise InputError("a file needs a name")
    return clean


class HostFiles:
    """Lists and opens files on hosts."""

    def __init__(self, context: Context, hold: Hold) -> None:
        self._context = context
        self._hold = hold
        self._turns = HostTurns(context)

    async def folder(self, run: Run, shelf: Shelf, path: str) -> FileList:
        """The content of a folder. Raises NotFoundError, or a HostError."""
        async with self._turns.of(shelf.attempt.host, run.uid):
            return await self._link(shelf).list_files(self._source(run, shelf, path), False)

    async def all_of(
        self, run: Run, shelf: Shelf, saved: Collection[str]
    ) -> tuple[list[RunFile], bool]:
        """All files of a running stage, or the files that an ended one left besides the `saved`
        ones; and whether there are more. Raises a HostError only for a running one."""
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
        """New and changed files of an ended stage: its source files are available elsewhere."""
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
    """The first files that an ended stage left, as noted at its end."""
    left = shelf.remainder
    assert left is not None
    size = left.size if left.files == 1 else 0
    return [shelf.file(name, size=size) for name in left.names]
